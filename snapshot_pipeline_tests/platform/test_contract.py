"""`check_platform` lists everything that a database lacks, before the first nightly run fails."""

from __future__ import annotations

import re
import uuid
from datetime import datetime, timezone
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, create_engine, text

from snapshot_pipeline.platform.contract import check_platform
from snapshot_pipeline.platform.tables import ADVISED_INDEXES, TABLE_NAMES, AdvisedIndex
from snapshot_pipeline.postgres.errors import DatabaseError
from snapshot_pipeline_tests.platform.odd_platforms import Platform, quoted


def test_tables_of_load_and_sample_have_no_findings(platform: Platform) -> None:
    assert platform.check() == []


@pytest.mark.parametrize("name", [name for name in TABLE_NAMES if name != "exercise_submissions"])
def test_a_missing_table_is_an_error(platform: Platform, name: str) -> None:
    platform.run(f"DROP TABLE {name}")
    assert "is missing in the schema" in platform.only("error", name).message


def test_platform_without_exercises_has_no_findings(platform: Platform) -> None:
    platform.run("DROP TABLE exercise_submissions")
    assert platform.check() == []


def test_a_missing_column_is_an_error_that_names_its_type(platform: Platform) -> None:
    platform.run("ALTER TABLE users DROP COLUMN is_active")
    assert platform.only("error", "users").message.startswith("has no column is_active (boolean); add it")


def test_missing_column_that_is_not_read_is_advice(platform: Platform) -> None:
    platform.run("ALTER TABLE quizzes DROP COLUMN title")
    assert "has no column title" in platform.only("advice", "quizzes").message


@pytest.mark.parametrize(
    ("table", "column", "type_name", "using"),
    [
        ("lessons", "id", "uuid", "gen_random_uuid()"),
        ("user_lesson_progress", "started_at", "date", "NULL"),
        ("quiz_attempts", "completed_at", "text", "NULL"),
        ("quiz_attempts", "score", "text", "NULL"),
        ("users", "is_active", "integer", "1"),
        ("users", "role", "jsonb", "'1'"),
        ("lessons", "display_order", "text", "NULL"),
        ("user_lesson_progress", "time_spent_minutes", "interval", "NULL"),
    ],
)
def test_a_wrong_type_is_an_error(platform: Platform, table: str, column: str, type_name: str, using: str) -> None:
    platform.run(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE {type_name} USING {using}")
    message = next(finding.message for finding in platform.check() if finding.severity == "error")
    assert message.startswith(f"the column {column} is {type_name}; expected ")


@pytest.mark.parametrize(
    ("table", "column", "type_name", "using", "what_to_do"),
    [
        ("users", "id", "uuid", "gen_random_uuid()", "number the ids in a view (docs/operations.md"),
        ("quizzes", "lesson_id", "text", "lesson_id", "number the ids in a view (docs/operations.md"),
        ("quiz_attempts", "completed_at", "bigint", "0", "select to_timestamp(completed_at) in a view"),
        ("quiz_attempts", "completed_at", "date", "NULL", "change its type, or create a view"),
    ],
)
def test_a_wrong_type_says_what_to_do(
    platform: Platform, table: str, column: str, type_name: str, using: str, what_to_do: str
) -> None:
    platform.run(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE {type_name} USING {using}")
    assert what_to_do in next(finding.message for finding in platform.check() if finding.severity == "error")


def test_an_untyped_null_of_a_view_is_given_a_type(platform: Platform) -> None:
    platform.run(
        "ALTER TABLE exercise_submissions RENAME TO exercises",
        "CREATE VIEW exercise_submissions AS SELECT id, user_id, NULL AS created_at FROM exercises",
    )
    message = platform.only("error", "exercise_submissions").message
    assert message.endswith("a column that is always NULL needs a type, NULL::timestamptz AS created_at")


def test_views_of_the_docs_serve_a_platform_with_uuids_and_epochs(platform: Platform) -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    section = page.split("## A platform of another shape\n")[1].split("\n## ")[0]
    views = re.search(r"```sql\n(.*?)```", section, re.DOTALL)
    assert views is not None
    name = f"learning_{uuid.uuid4().hex[:8]}"
    platform.run(
        *(f"DROP TABLE {table}" for table in TABLE_NAMES),
        "CREATE TABLE app_users (id uuid, role text, active boolean, track text, level text)",
        "CREATE TABLE app_progress (user_id uuid, lesson_id uuid, started bigint, completed bigint, seconds integer)",
        "CREATE TABLE app_lessons (id uuid, title text, track text, level text, position integer, published boolean)",
        "CREATE TABLE app_quizzes (id uuid, lesson_id uuid, title text)",
        "CREATE TABLE app_attempts (id uuid, user_id uuid, quiz_id uuid, points numeric, submitted bigint)",
        "INSERT INTO app_users SELECT gen_random_uuid(), 'student', true, 'python', 'L'",
        "INSERT INTO app_lessons SELECT gen_random_uuid(), 'Loops', 'python', 'L', 1, true",
        "INSERT INTO app_progress SELECT u.id, l.id, 1700000000000, 0, 600 FROM app_users u, app_lessons l",
    )
    statements = views[1].replace("app.", f"{quoted(platform.schema)}.app_").replace("learning", name)
    platform.run(*(statement for statement in statements.split(";\n") if statement.strip()))
    findings = check_platform(platform.engine, name)
    assert [finding for finding in findings if finding.severity == "error"] == []
    with platform.engine.connect() as connection:
        rows = connection.execute(
            text(
                f"SELECT p.started_at, p.completed_at, p.time_spent_minutes, l.title FROM {name}.user_lesson_progress p"  # noqa: S608
                f" JOIN {name}.users u ON u.id = p.user_id JOIN {name}.lessons l ON l.id = p.lesson_id"
            )
        ).all()
    assert rows == [(datetime(2023, 11, 14, 22, 13, 20, tzinfo=timezone.utc), None, 10, "Loops")]


@pytest.mark.parametrize(
    ("table", "column", "type_name", "using"),
    [
        ("lessons", "id", "integer", "id"),
        ("lessons", "id", "smallint", "id"),
        ("quizzes", "id", "a_domain", "id"),
        ("user_lesson_progress", "started_at", "timestamp(3)", "started_at"),
        ("quiz_attempts", "score", "numeric(5, 2)", "score"),
        ("quiz_attempts", "score", "integer", "score"),
        ("users", "role", "an_enum", "role::an_enum"),
        ("users", "role", "varchar(20)", "role"),
        ("users", "current_level", "uuid", "NULL"),
        ("lessons", "specialization_id", "integer", "NULL"),
    ],
)
def test_accepted_types_are_no_findings(
    platform: Platform, table: str, column: str, type_name: str, using: str
) -> None:
    platform.run("CREATE TYPE an_enum AS ENUM ('student')", "CREATE DOMAIN a_domain AS integer CHECK (VALUE > 0)")
    platform.run(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE {type_name} USING {using}")
    assert platform.check() == []


def test_fractions_of_minutes_are_advised_against(platform: Platform) -> None:
    platform.run("ALTER TABLE user_lesson_progress ALTER COLUMN time_spent_minutes TYPE numeric(6, 1)")
    assert "is numeric(6,1) and is read as whole minutes" in platform.only("advice", "user_lesson_progress").message


# ---- Rows --------------------------------------------------------------------------------------------------------

UNIQUE = "user_lesson_progress_user_id_lesson_id_key"


LESSONS = "INSERT INTO lessons SELECT id, '', '', '', 1, true FROM generate_series(1, 9) AS id"


def test_duplicate_progress_rows_are_a_note_with_an_example(platform: Platform) -> None:
    platform.run(
        f"ALTER TABLE user_lesson_progress DROP CONSTRAINT {UNIQUE}",
        LESSONS,
        "INSERT INTO user_lesson_progress SELECT 1, unnest(ARRAY[7, 8, 8, 9, 9, 9]), now()",
    )
    finding = platform.only("note", "user_lesson_progress")
    assert finding.message.startswith("2 (user_id, lesson_id) are in more than one row: one row counts")
    assert finding.detail == "e.g. user_id 1, lesson_id 8 in 2"


def test_repeated_ids_are_an_error(platform: Platform) -> None:
    platform.run(
        "ALTER TABLE quizzes DROP CONSTRAINT quizzes_pkey",
        "ALTER TABLE quizzes ALTER id SET NOT NULL",
        "INSERT INTO quizzes VALUES (1)",
    )
    finding = platform.only("error", "quizzes")
    assert finding.message == "1 (id) is in more than one row: such rows would count twice; keep one of each"
    assert finding.detail == "e.g. id 1 in 2"


def test_missing_unique_index_is_advice_with_a_statement(platform: Platform) -> None:
    platform.run(f"ALTER TABLE user_lesson_progress DROP CONSTRAINT {UNIQUE}")
    finding = platform.only("advice", "user_lesson_progress")
    assert str(finding.statement).startswith("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS ")
    platform.remediation(finding)


def test_unique_index_in_another_order_is_accepted(platform: Platform) -> None:
    platform.run(
        f"ALTER TABLE user_lesson_progress DROP CONSTRAINT {UNIQUE}",
        "CREATE UNIQUE INDEX ON user_lesson_progress (lesson_id, user_id)",
    )
    assert platform.check() == []


def test_partial_unique_index_is_not_accepted(platform: Platform) -> None:
    platform.run(
        f"ALTER TABLE user_lesson_progress DROP CONSTRAINT {UNIQUE}",
        "CREATE UNIQUE INDEX ON user_lesson_progress (user_id, lesson_id) WHERE completed_at IS NULL",
        LESSONS,
        "INSERT INTO user_lesson_progress VALUES (1, 8, now(), now()), (1, 8, now(), now())",
    )
    assert "in more than one row" in platform.only("note", "user_lesson_progress").message


@pytest.mark.parametrize(
    ("table", "insert", "wanted", "example"),
    [
        (
            "user_lesson_progress",
            "VALUES (5, 1, now()), (4, 1, now()), (1, 1, now())",
            "2 rows have a user_id that is not in users; they are ignored",
            "user_id 4",
        ),
        (
            "user_lesson_progress",
            "VALUES (1, 12, now())",
            "1 row has a lesson_id that is not in lessons",
            "lesson_id 12",
        ),
        ("quizzes", "VALUES (2, 12)", "1 row has a lesson_id that is not in lessons", "lesson_id 12"),
        ("quiz_attempts", "VALUES (1, 4, 1, 9, now())", "1 row has a user_id that is not in users", "user_id 4"),
        ("quiz_attempts", "VALUES (1, 1, 4, 9, now())", "1 row has a quiz_id that is not in quizzes", "quiz_id 4"),
        ("exercise_submissions", "VALUES (1, 4, now())", "1 row has a user_id that is not in users", "user_id 4"),
    ],
)
def test_dangling_references_are_advice(platform: Platform, table: str, insert: str, wanted: str, example: str) -> None:
    platform.run(LESSONS, f"INSERT INTO {table} {insert}")
    finding = platform.only("advice", table)
    assert finding.message.startswith(wanted)
    assert finding.detail == f"e.g. {example}"


def test_few_dangling_references_are_a_note(platform: Platform) -> None:
    attempts = "INSERT INTO quiz_attempts SELECT n, 1, CASE WHEN n > 1 THEN 1 ELSE 4 END, 90, now() FROM "
    platform.run(f"{attempts} generate_series(1, 21) AS n")
    assert platform.only("note", "quiz_attempts").detail == "e.g. quiz_id 4"
    platform.run("DELETE FROM quiz_attempts WHERE id = 21")
    platform.only("advice", "quiz_attempts")


def test_row_query_that_times_out_is_advice(platform: Platform) -> None:
    platform.run(
        "ALTER TABLE users RENAME TO slow",
        "CREATE VIEW users AS SELECT slow.* FROM slow, pg_sleep(5)",
        "INSERT INTO user_lesson_progress VALUES (1, 1, now())",
        LESSONS,
    )
    findings = platform.check(seconds=0.1)
    assert {finding.severity for finding in findings} == {"advice"}
    assert all("was not checked: the query took longer than 0.1 s" in each.message for each in findings)
    assert any("whether there are students was not checked" in each.message for each in findings)


def test_view_that_cannot_be_read_is_an_error(platform: Platform) -> None:
    platform.run(
        "ALTER TABLE users RENAME TO all_users",
        "CREATE VIEW users AS SELECT id, role, 1 / (id - 1) > 0 AS is_active, '' AS current_specialization,"
        " '' AS current_level FROM all_users",
    )
    findings = platform.check()
    assert {(finding.severity, finding.table, finding.message) for finding in findings} == {
        ("error", "users", "cannot be read; fix the table or view")
    }
    assert {finding.detail for finding in findings} == {"division by zero"}


# ---- Indexes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("advised", ADVISED_INDEXES, ids=lambda advised: advised.name)
def test_a_missing_index_is_advice_with_the_statement_to_paste(platform: Platform, advised: AdvisedIndex) -> None:
    platform.run(f"DROP INDEX {advised.name}")
    finding = platform.only("advice", advised.table)
    assert str(finding.statement).startswith(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {advised.name} ON ")
    platform.remediation(finding)


BY_START = "user_lesson_progress_started_at_idx"


@pytest.mark.parametrize(
    ("definition", "serves"),
    [
        ("(started_at, lesson_id)", True),
        ("(started_at DESC) INCLUDE (user_id)", True),
        ("(lesson_id, started_at)", False),
        ("(started_at) WHERE completed_at IS NULL", False),
        ("USING brin (started_at)", False),
        ("(coalesce(started_at, completed_at))", False),
        ("(lesson_id) INCLUDE (started_at)", False),
    ],
)
def test_another_index_serves_when_it_begins_with_the_columns(
    platform: Platform, definition: str, serves: bool
) -> None:
    platform.run(f"DROP INDEX {BY_START}", f"CREATE INDEX {BY_START} ON user_lesson_progress {definition}")
    if serves:
        assert platform.check() == []
    else:
        # The name is taken by the index that does not serve, and the statement must create one all the same.
        platform.remediation(platform.only("advice", "user_lesson_progress"))


def test_invalid_index_is_advice_to_rebuild(platform: Platform) -> None:
    platform.run(
        "UPDATE pg_index SET indisvalid = false FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"  # noqa: S608
        f" WHERE indexrelid = c.oid AND relname = '{BY_START}' AND nspname = current_schema()"
    )
    finding = platform.only("advice", "user_lesson_progress")
    assert f"the index {BY_START} is not valid" in finding.message
    platform.remediation(finding)


def test_views_count_as_tables_and_need_no_index(platform: Platform) -> None:
    for name in TABLE_NAMES:
        platform.run(f"ALTER TABLE {name} RENAME TO the_{name}", f"CREATE VIEW {name} AS TABLE the_{name}")
    assert platform.check() == []
    platform.run("INSERT INTO quiz_attempts VALUES (1, 1, 6, 90, now())")
    assert "1 row has a quiz_id" in platform.only("advice", "quiz_attempts").message


def test_statement_for_a_partitioned_table_is_valid(platform: Platform) -> None:
    platform.run(
        "DROP TABLE exercise_submissions",
        "CREATE TABLE exercise_submissions (id bigint, user_id bigint, created_at timestamptz)"
        " PARTITION BY RANGE (created_at)",
        "CREATE TABLE some_exercises PARTITION OF exercise_submissions DEFAULT",
        "CREATE INDEX ON exercise_submissions (user_id, created_at)",
    )
    finding = platform.only("advice", "exercise_submissions")
    assert "CONCURRENTLY" not in str(finding.statement)
    platform.remediation(finding)


# ---- Rights ------------------------------------------------------------------------------------------------------


def test_role_without_rights_gets_every_grant_and_then_no_findings(platform: Platform, reader: Engine) -> None:
    findings = platform.check(reader)
    assert {finding.severity for finding in findings} == {"error"}
    statements = [str(finding.statement) for finding in findings]
    assert any(statement.startswith("GRANT USAGE ON SCHEMA") for statement in statements)
    assert sum(statement.startswith("GRANT SELECT ON") for statement in statements) == len(TABLE_NAMES)
    platform.run(*statements)
    assert platform.check(reader) == []


def test_unreadable_table_is_skipped_and_others_are_checked(platform: Platform, reader: Engine) -> None:
    platform.run(*(str(finding.statement) for finding in platform.check(reader)))
    platform.run(
        f'REVOKE ALL ON users FROM "{reader.url.username}"', "INSERT INTO quiz_attempts VALUES (1, 9, 6, 90, now())"
    )
    error, advice = platform.check(reader)
    assert (error.severity, error.table) == ("error", "users")
    assert "may not read id, role, is_active" in error.message
    assert advice.message.startswith("1 row has a quiz_id")


def test_rights_on_the_columns_that_are_read_are_enough(platform: Platform, reader: Engine) -> None:
    platform.run(*(str(finding.statement) for finding in platform.check(reader)))
    role = reader.url.username
    platform.run(
        f'REVOKE ALL ON users FROM "{role}"',
        "ALTER TABLE users ADD COLUMN password text",
        f'GRANT SELECT (id, role, is_active, current_specialization, current_level) ON users TO "{role}"',
    )
    assert platform.check(reader) == []


def test_row_level_security_is_advice(platform: Platform, reader: Engine) -> None:
    platform.run(*(str(finding.statement) for finding in platform.check(reader)))
    platform.run("ALTER TABLE quizzes ENABLE ROW LEVEL SECURITY")
    (finding,) = platform.check(reader)
    assert "row-level security applies" in finding.message
    platform.run(str(finding.statement))
    assert platform.check(reader) == []


def test_a_schema_that_does_not_exist_is_one_error(platform: Platform) -> None:
    (finding,) = check_platform(platform.engine, "nowhere")
    assert (
        "has no schema nowhere; set SNAPSHOT_PLATFORM_SCHEMA to the schema of the platform's tables" in finding.message
    )


def test_unreachable_database_is_reported_in_one_line(server_url: URL) -> None:
    engine = create_engine(server_url.set(port=1))
    with pytest.raises(DatabaseError, match="cannot connect to"):
        check_platform(engine, "public")
    engine.dispose()


def test_errors_come_before_advice_and_nothing_is_written(platform: Platform) -> None:
    platform.run(f"DROP INDEX {BY_START}", "DROP TABLE quiz_attempts")
    assert [finding.severity for finding in platform.check()] == ["error", "advice"]
    with platform.engine.connect() as connection:
        count = connection.execute(text("SELECT count(*) FROM pg_tables WHERE schemaname = :s"), {"s": platform.schema})
        assert count.scalar_one() == len(TABLE_NAMES) - 1

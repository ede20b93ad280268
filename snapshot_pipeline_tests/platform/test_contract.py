"""`check_platform` lists everything that a database lacks, before the first nightly run fails."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy import URL, Engine, Index, create_engine, func, select, text

from snapshot_pipeline.platform.contract import Finding, check_platform
from snapshot_pipeline.platform.tables import ADVISED_INDEXES, TABLE_NAMES, AdvisedIndex, platform_metadata
from snapshot_pipeline.postgres.errors import DatabaseError

STORE_RIGHTS = {"our_days": ("SELECT", "INSERT", "UPDATE", "DELETE"), "our_version": ("SELECT",)}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Platform:
    """A schema that holds a whole platform with one student, for a test to spoil."""

    engine: Engine
    schema: str

    def run(self, *statements: str) -> None:
        """Run statements with the schema as the search path."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(select(func.set_config("search_path", _quoted(self.schema), False)))
            for statement in statements:
                connection.execute(text(statement))

    def check(self, engine: Engine | None = None, seconds: float = 60) -> list[Finding]:
        """What `check_platform` finds, the schema also being the store's."""
        return check_platform(engine or self.engine, self.schema, self.schema, STORE_RIGHTS, seconds)

    def only(self, severity: str, table: str | None) -> Finding:
        """The one finding that there is."""
        (finding,) = self.check()
        assert (finding.severity, finding.table) == (severity, table)
        assert "\n" not in finding.message
        return finding

    def remediation(self, finding: Finding) -> None:
        """Paste the statement; afterwards nothing is found any more."""
        assert finding.statement is not None
        assert finding.statement.endswith(";")
        self.run(finding.statement)
        assert self.check() == []


@pytest.fixture
def platform(module_database_url: URL) -> Iterator[Platform]:
    """A schema of its own, in one database for all tests of this file."""
    engine = create_engine(module_database_url)
    schema = f'Odd "{uuid.uuid4().hex[:8]}" 100%'
    metadata = platform_metadata(schema)
    for advised in ADVISED_INDEXES:
        table = metadata.tables[f"{schema}.{advised.table}"]
        Index(advised.name, *(table.columns[name] for name in advised.columns))
    platform = Platform(engine, schema)
    platform.run(f"CREATE SCHEMA {_quoted(schema)}")
    metadata.create_all(engine)
    platform.run("INSERT INTO users VALUES (1, 'student', true)", "INSERT INTO quizzes VALUES (1)")
    yield platform
    engine.dispose()


@pytest.fixture
def reader(platform: Platform) -> Iterator[Engine]:
    """The platform's database as a role without any right of its own."""
    role = f"Reader {uuid.uuid4().hex[:8]}"
    platform.run(f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'reader'")
    engine = create_engine(platform.engine.url.set(username=role, password="reader"))  # noqa: S106
    yield engine
    engine.dispose()
    platform.run(f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"')


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


def test_duplicate_progress_rows_are_an_error_with_an_example(platform: Platform) -> None:
    platform.run(
        f"ALTER TABLE user_lesson_progress DROP CONSTRAINT {UNIQUE}",
        "INSERT INTO user_lesson_progress VALUES (1, 7), (1, 8), (1, 8), (1, 9), (1, 9), (1, 9)",
    )
    message = platform.only("error", "user_lesson_progress").message
    assert message.startswith(
        "2 (user_id, lesson_id) are in more than one row, e.g. user_id 1, lesson_id 8 in 2: such rows"
    )


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
        "INSERT INTO user_lesson_progress VALUES (1, 8, now(), now()), (1, 8, now(), now())",
    )
    assert "in more than one row" in platform.only("error", "user_lesson_progress").message


@pytest.mark.parametrize(
    ("table", "insert", "wanted"),
    [
        ("user_lesson_progress", "VALUES (5, 1), (4, 1), (1, 1)", "2 rows have a user_id that is not in users"),
        ("quiz_attempts", "VALUES (1, 4, 1)", "1 row has a user_id that is not in users"),
        ("quiz_attempts", "VALUES (1, 1, 4)", "1 row has a quiz_id that is not in quizzes"),
        ("exercise_submissions", "VALUES (1, 4, now())", "1 row has a user_id that is not in users"),
    ],
)
def test_dangling_references_are_advice(platform: Platform, table: str, insert: str, wanted: str) -> None:
    platform.run(f"INSERT INTO {table} {insert}")
    assert platform.only("advice", table).message.startswith(f"{wanted}, e.g. 4; ")


def test_platform_without_active_students_is_advice_about_roles(platform: Platform) -> None:
    platform.run("UPDATE users SET role = 'LEARNER'")
    assert "there is no active student" in platform.only("advice", "users").message


def test_row_query_that_times_out_is_advice(platform: Platform) -> None:
    platform.run(
        "ALTER TABLE users RENAME TO slow",
        "CREATE VIEW users AS SELECT slow.* FROM slow, pg_sleep(5)",
        "INSERT INTO user_lesson_progress VALUES (1, 1)",
    )
    findings = platform.check(seconds=0.1)
    assert {finding.severity for finding in findings} == {"advice"}
    assert all("was not checked: the query took longer than 0.1 s" in each.message for each in findings)
    assert "whether there are students was not checked" in findings[0].message


def test_view_that_cannot_be_read_is_an_error(platform: Platform) -> None:
    platform.run(
        "ALTER TABLE users RENAME TO all_users",
        "CREATE VIEW users AS SELECT id, role, 1 / (id - 1) > 0 AS is_active, '' AS current_specialization,"
        " '' AS current_level FROM all_users",
    )
    assert platform.only("error", "users").message.startswith("cannot be read: division by zero")


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
    platform.run("INSERT INTO quiz_attempts VALUES (1, 1, 6)")
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
    assert any(statement.startswith("GRANT USAGE, CREATE ON SCHEMA") for statement in statements)
    platform.run(*statements)
    assert platform.check(reader) == []


def test_unreadable_table_is_skipped_and_others_are_checked(platform: Platform, reader: Engine) -> None:
    platform.run(*(str(finding.statement) for finding in platform.check(reader)))
    platform.run(f'REVOKE ALL ON users FROM "{reader.url.username}"', "INSERT INTO quiz_attempts VALUES (1, 9, 6)")
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


def test_missing_store_schema_is_an_error_without_the_right_to_create(platform: Platform, reader: Engine) -> None:
    platform.run(*(str(finding.statement) for finding in platform.check(reader)))
    missing = f"store {uuid.uuid4().hex[:8]}"
    needs_no_help = check_platform(platform.engine, platform.schema, missing, {})
    assert needs_no_help == [], "a role that may create the schema needs no help"
    (finding,) = check_platform(reader, platform.schema, missing, {})
    assert finding.severity == "error"
    platform.run(str(finding.statement))
    assert check_platform(reader, platform.schema, missing, {}) == []


def test_own_tables_of_another_role_need_every_right_of_a_run(platform: Platform, reader: Engine) -> None:
    """Regression: the tables were created by a superuser, and the nightly role failed only in its first run."""
    platform.run(*(str(finding.statement) for finding in platform.check(reader)))
    role = reader.url.username
    platform.run("CREATE TABLE our_days (day date)", "CREATE TABLE our_version (version text)")
    platform.run(f'GRANT SELECT, UPDATE ON our_days TO "{role}"')
    days, version = platform.check(reader)
    assert [(each.severity, each.table) for each in (days, version)] == [
        ("error", "our_days"),
        ("error", "our_version"),
    ]
    assert f"belongs to {platform.engine.url.username}; the role {role} lacks INSERT, DELETE; let" in days.message
    assert str(version.statement).startswith("GRANT SELECT ON ")
    platform.run(str(days.statement), str(version.statement))
    assert platform.check(reader) == []


def test_a_schema_that_does_not_exist_is_one_error(platform: Platform) -> None:
    (finding,) = check_platform(platform.engine, "nowhere", platform.schema, {})
    assert (
        "has no schema nowhere; set SNAPSHOT_PLATFORM_SCHEMA to the schema of the platform's tables" in finding.message
    )


def test_unreachable_database_is_reported_in_one_line(server_url: URL) -> None:
    engine = create_engine(server_url.set(port=1))
    with pytest.raises(DatabaseError, match="cannot connect to"):
        check_platform(engine, "public", "public", {})
    engine.dispose()


def test_errors_come_before_advice_and_nothing_is_written(platform: Platform) -> None:
    platform.run(f"DROP INDEX {BY_START}", "DROP TABLE quiz_attempts")
    assert [finding.severity for finding in platform.check()] == ["error", "advice"]
    with platform.engine.connect() as connection:
        count = connection.execute(text("SELECT count(*) FROM pg_tables WHERE schemaname = :s"), {"s": platform.schema})
        assert count.scalar_one() == len(TABLE_NAMES) - 1

"""`snapshot-pipeline check`: its lines, the SQL to paste, the exit status and the JSON document."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import URL, Engine, create_engine, text

from snapshot_pipeline.cli import check
from snapshot_pipeline.platform.ownership import replace_platform
from snapshot_pipeline.store.migrate import migrate
from snapshot_pipeline.store.tables import StoreTables

OUR_TABLES = tuple(table.name for table in StoreTables.of("public").metadata.sorted_tables)


@pytest.fixture
def engine(database_url: URL, module_database_url: URL, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A database with a complete platform and one student, and one for Dagster; the settings use them."""
    monkeypatch.setenv("SNAPSHOT_DAGSTER_DATABASE_URL", module_database_url.render_as_string(hide_password=False))
    monkeypatch.setenv("SNAPSHOT_DATABASE_URL", database_url.render_as_string(hide_password=False))
    with replace_platform(database_url, "public"):
        pass
    engine = create_engine(database_url)
    _run(engine, "INSERT INTO users VALUES (1, 'STUDENT', true)")
    yield engine
    engine.dispose()


def _run(engine: Engine, statement: str) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(statement))


def _check(*options: str) -> Result:
    return CliRunner().invoke(check.check, options)


def test_a_complete_platform_is_status_0_and_one_line(engine: Engine) -> None:
    result = _check()
    assert result.exit_code == 0
    assert result.output == f"schema public of database {engine.url.database}: no problems found\n"


def test_advice_alone_is_status_3_and_its_statement_can_be_pasted(engine: Engine) -> None:
    _run(engine, "DROP INDEX quiz_attempts_completed_at_idx")
    result = _check()
    assert result.exit_code == 3
    finding, statement, summary = result.output.splitlines()
    assert finding.startswith("advice  quiz_attempts: no index begins with (completed_at)")
    assert statement == (
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS quiz_attempts_completed_at_idx ON public.quiz_attempts (completed_at);"
    )
    assert summary.endswith("0 errors, 1 piece of advice; the pipeline can run")
    _run(engine, statement)
    assert _check().exit_code == 0


def test_an_error_is_status_1_and_listed_first(engine: Engine) -> None:
    _run(engine, "DROP INDEX user_lesson_progress_started_at_idx")
    _run(engine, "DROP TABLE quizzes")
    result = _check()
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0].startswith("error   quizzes: is missing in the schema public; create it")
    assert lines[1].startswith("advice  user_lesson_progress: ")
    assert lines[-1].endswith("1 error, 1 piece of advice; fix the errors, then check again")


def test_missing_grants_on_our_own_tables_are_printed_for_the_nightly_role(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(engine, "public")
    role = f"nightly_{engine.url.database}"
    _run(engine, f"CREATE ROLE {role} LOGIN PASSWORD 'nightly'")
    _run(engine, f"GRANT USAGE, CREATE ON SCHEMA public TO {role}")
    _run(engine, f"GRANT SELECT ON users, lessons, user_lesson_progress, quizzes, quiz_attempts TO {role}")
    _run(engine, f"GRANT SELECT ON exercise_submissions TO {role}")
    url = engine.url.set(username=role, password="nightly")  # noqa: S106
    monkeypatch.setenv("SNAPSHOT_DATABASE_URL", url.render_as_string(hide_password=False))
    result = _check()
    grants = [line for line in result.output.splitlines() if line.startswith("GRANT ")]
    assert result.exit_code == 1
    assert set(grants) == {
        *(f"GRANT SELECT, INSERT, UPDATE, DELETE ON public.{name} TO {role};" for name in OUR_TABLES),
        f"GRANT SELECT ON public.snapshot_pipeline_version TO {role};",
    }
    for grant in grants:
        _run(engine, grant)
    assert _check().exit_code == 0
    _run(engine, f"DROP OWNED BY {role}")
    _run(engine, f"DROP ROLE {role}")


@pytest.mark.parametrize("is_superuser", [True, False])
def test_a_table_of_the_application_with_our_name_is_an_error_without_a_grant(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, is_superuser: bool
) -> None:
    """Regression: the pipeline could run, or the advice was to GRANT writing to the application's table."""
    _run(engine, "CREATE TABLE performance_snapshots (id int PRIMARY KEY, snapshot_date date)")
    role = f"nightly_{engine.url.database}"
    if not is_superuser:
        _run(engine, f"CREATE ROLE {role} LOGIN PASSWORD 'nightly'")
        _run(engine, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        url = engine.url.set(username=role, password="nightly")  # noqa: S106
        monkeypatch.setenv("SNAPSHOT_DATABASE_URL", url.render_as_string(hide_password=False))
    result = _check()
    assert result.exit_code == 1
    line, summary = result.output.splitlines()
    assert line.startswith(f"error   schema public of database {engine.url.database} has performance_snapshots, which ")
    assert "set SNAPSHOT_STORE_SCHEMA to another schema" in line
    assert "1 error" in summary
    if not is_superuser:
        _run(engine, f"DROP OWNED BY {role}")
        _run(engine, f"DROP ROLE {role}")


def test_a_newer_revision_of_our_tables_is_an_error(engine: Engine) -> None:
    migrate(engine, "public")
    _run(engine, "UPDATE snapshot_pipeline_version SET version_num = 'newer'")
    result = _check()
    assert result.exit_code == 1
    assert "has our tables at revision newer, expected initial; install the version" in result.output


def test_json_is_one_document(engine: Engine) -> None:
    result = _check("--json")
    checked = {"schema": "public", "database": engine.url.database}
    assert (result.exit_code, result.stderr) == (0, "")
    counts = {"errors": 0, "advice": 0, "notes": 0}
    assert json.loads(result.stdout) == {"can_run": True, **counts, **checked, "findings": []}
    _run(engine, "DROP INDEX user_lesson_progress_started_at_idx")
    _run(engine, "DROP TABLE quizzes")
    result = _check("--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (document["can_run"], document["errors"], document["advice"]) == (False, 1, 1)
    error, advice = document["findings"]
    assert set(error) == set(advice) == {"severity", "table", "message", "statement", "detail"}
    assert (error["severity"], error["table"], error["statement"]) == ("error", "quizzes", None)
    assert advice["statement"].startswith("CREATE INDEX CONCURRENTLY")


def test_the_help_explains_the_exit_status() -> None:
    output = CliRunner().invoke(check.check, ["--help"]).output
    assert "0  no findings, or notes only\n" in output
    assert "3  advice, no error\n" in output


def test_notes_alone_are_status_0_with_an_example(engine: Engine) -> None:
    _run(engine, "INSERT INTO quiz_attempts VALUES (7, 1, 1, 50, NULL)")
    _run(engine, "INSERT INTO quizzes VALUES (1)")
    result = _check()
    assert result.exit_code == 0
    note, summary = result.output.splitlines()
    assert note.startswith("note    quiz_attempts: 1 row has no valid completed_at and is ignored (1 null)")
    assert note.endswith("(e.g. id 7)")
    assert summary.endswith(": 1 note; the pipeline can run")
    document = json.loads(_check("--json").stdout)
    assert (document["can_run"], document["notes"]) == (True, 1)
    assert document["findings"][0]["detail"] == "e.g. id 7"


def test_full_also_checks_rows_before_the_late_window(engine: Engine) -> None:
    _run(engine, "INSERT INTO quizzes VALUES (1)")
    fractions = "SELECT n, 1, 1, n / 30.0, now() - interval '61 days' FROM generate_series(1, 30) AS n"
    _run(engine, f"INSERT INTO quiz_attempts {fractions}")
    assert _check().exit_code == 0
    result = _check("--full")
    assert result.exit_code == 1
    assert "set SNAPSHOT_SCORE_MAXIMUM to the score of full marks" in result.output


def test_roles_and_full_marks_of_the_settings_are_used(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(engine, "UPDATE users SET role = 'pupil'")
    assert "the roles there are: pupil (1)" in _check().output
    monkeypatch.setenv("SNAPSHOT_STUDENT_ROLES", "Learner, Pupil")
    assert _check().exit_code == 0

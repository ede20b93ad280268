"""Dagster's database: its tables are created once, apart from all others, and belong to one installation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import URL, create_engine, inspect, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.cli import command
from snapshot_pipeline.orchestration.instance.database import (
    DagsterDatabaseError,
    check_dagster_database,
)
from snapshot_pipeline.orchestration.instance.storage import SnapshotStorage, _engine
from snapshot_pipeline.postgres.errors import DatabaseError
from snapshot_pipeline.settings import load_settings
from snapshot_pipeline_tests.installation import PROJECT
from snapshot_pipeline_tests.pipeline.installations import execute, new_database

PLATFORM = "postgresql://nobody@nowhere/platform"
"""Opening Dagster's storage does not connect to the platform's database."""

Open = Callable[..., SnapshotStorage]


@pytest.fixture
def open_storage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Open:
    """Open the storage in a database as an installation does."""
    monkeypatch.setenv("SNAPSHOT_HOME", str(tmp_path))

    def open_storage(dagster_url: URL, platform: str = PLATFORM, schema: str = "snapshots") -> SnapshotStorage:
        monkeypatch.setenv("SNAPSHOT_DAGSTER_DATABASE_URL", dagster_url.render_as_string(hide_password=False))
        monkeypatch.setenv("SNAPSHOT_DATABASE_URL", platform)
        monkeypatch.setenv("SNAPSHOT_STORE_SCHEMA", schema)
        _engine.cache_clear()  # a new process has no session yet, and reads the search path of its role anew
        return SnapshotStorage.from_config_value(None, {})

    return open_storage


@pytest.fixture
def dagster_copy(server_url: URL, dagster_template: URL) -> Iterator[URL]:
    """A database with Dagster's empty tables, which belong to nobody yet."""
    with new_database(server_url, dagster_template) as url:
        yield url


@pytest.fixture
def limited(database_url: URL) -> Iterator[URL]:
    """A role that may connect to an empty database, and create nothing."""
    role = f"limited_{database_url.database}"
    execute(database_url, f"CREATE ROLE {role} LOGIN PASSWORD 'limited'")
    yield database_url.set(username=role, password="limited")  # noqa: S106
    execute(
        database_url, f"DROP OWNED BY {role} CASCADE", f"ALTER DATABASE {database_url.database} OWNER TO CURRENT_USER"
    )
    execute(database_url, f"DROP ROLE {role}")


def tables(url: URL, schema: str) -> set[str]:
    return set(inspect(create_engine(url, poolclass=NullPool)).get_table_names(schema))


def refusal(open_storage: Open, url: URL, platform: str = PLATFORM, schema: str = "snapshots") -> str:
    """The one line with which the storage and `check` refuse a database."""
    with pytest.raises(DagsterDatabaseError) as caught:
        open_storage(url, platform, schema)
    with pytest.raises(DagsterDatabaseError, match=re.escape(str(caught.value))):
        check_dagster_database(load_settings())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_another_installation_is_refused(open_storage: Open, dagster_copy: URL):
    """Regression: the second of two installations got no day, no run and no incident."""
    open_storage(dagster_copy)
    open_storage(dagster_copy, "postgresql://nobody@failover/platform")
    other_platform = refusal(open_storage, dagster_copy, "postgresql://nobody@nowhere/other")
    theirs, ours = (f"(database {name}, SNAPSHOT_STORE_SCHEMA=snapshots)" for name in ("platform", "other"))
    assert f"has the records of another installation {theirs}; for this one {ours} set SNAP" in other_platform
    assert "(database platform, SNAPSHOT_STORE_SCHEMA=ours)" in refusal(open_storage, dagster_copy, schema="ours")


def test_a_renamed_installation_gets_the_statement(open_storage: Open, dagster_copy: URL):
    open_storage(dagster_copy)
    message = refusal(open_storage, dagster_copy, schema="it's")
    execute(dagster_copy, message[message.index("UPDATE") :].replace(":", r"\:"))
    open_storage(dagster_copy, schema="it's")


def test_the_runs_of_another_dagster_project_are_left_alone(open_storage: Open, dagster_copy: URL):
    execute(dagster_copy, "INSERT INTO runs (run_id, status, run_body) VALUES ('theirs', 'SUCCESS', '{}')")
    assert "has the runs of another Dagster project" in refusal(open_storage, dagster_copy)
    with create_engine(dagster_copy, poolclass=NullPool).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM kvs")).scalar_one() == 0


@pytest.mark.parametrize(
    "theirs", ["TABLE alembic_version (version_num text)", "TABLE jobs (id int)", "VIEW v AS SELECT 1"]
)
def test_a_database_with_tables_of_others_is_refused_unless_dagster_has_a_schema(
    open_storage: Open, database_url: URL, theirs: str
):
    """Regression: Dagster's tables were among the application's, and its revision in the application's table."""
    execute(database_url, f"CREATE {theirs}")
    before = tables(database_url, "public")
    message = refusal(open_storage, database_url)
    assert (
        f"has tables that are not Dagster's (public.{theirs.split()[1]}) where Dagster would create its own" in message
    )
    assert tables(database_url, "public") == before
    execute(database_url, message[message.index("CREATE SCHEMA dagster") :])
    open_storage(database_url)
    open_storage(database_url)
    check_dagster_database(load_settings())
    assert tables(database_url, "public") == before
    assert {"runs", "event_logs", "jobs", "alembic_version"} <= tables(database_url, "dagster")


def test_a_search_path_without_a_schema_is_refused_with_the_statement(
    open_storage: Open, limited: URL, database_url: URL
):
    execute(database_url, f"ALTER ROLE {limited.username} IN DATABASE {limited.database} SET search_path TO nowhere")
    message = refusal(open_storage, limited)
    assert "names no schema that exists and that the role may use (nowhere)" in message
    execute(database_url, message[message.index("CREATE SCHEMA") :])
    open_storage(limited)
    assert "runs" in tables(database_url, "dagster")


@pytest.mark.parametrize("schema", ["public", "theirs"])
def test_a_role_that_may_not_create_tables_gets_the_statement(
    open_storage: Open, limited: URL, database_url: URL, schema: str
):
    if schema == "theirs":
        execute(
            database_url,
            "CREATE SCHEMA theirs",
            f"GRANT USAGE ON SCHEMA theirs TO {limited.username}",
            f"ALTER ROLE {limited.username} IN DATABASE {limited.database} SET search_path TO theirs",
        )
    message = refusal(open_storage, limited)
    assert f"may not create Dagster's tables in the schema {schema} of " in message
    execute(database_url, message.split("let the owner run: ")[1])
    open_storage(limited)


def test_commands_say_in_one_line_that_the_database_is_missing(open_storage: Open, database_url: URL):
    """Regression: 126 to 196 lines of traceback."""
    missing = database_url.set(database="missing")
    expected = f"has no database 'missing'; create it there (CREATE DATABASE missing OWNER {missing.username};)"
    with pytest.raises(DatabaseError, match=re.escape(expected)):
        open_storage(missing)
    for arguments in (
        ["materialize", "--from", "2026-02-27", "--to", "2026-02-27"],
        ["recommend", "--week", "2026-02-16"],
        ["report", "--week", "2026-02-16"],
    ):
        result = CliRunner().invoke(command, arguments)
        assert isinstance(result.exception, DatabaseError)
        assert expected in str(result.exception)
        assert result.output.strip() in ("", "starting Dagster")


@pytest.mark.parametrize("arguments", [["dagster-daemon", "run"], ["dagster-webserver", "--port", "1"]])
def test_dagsters_own_programs_say_it_in_one_line(database_url: URL, tmp_path: Path, arguments: list[str]):
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(PROJECT),
        "SNAPSHOT_HOME": str(tmp_path),
        "SNAPSHOT_DATABASE_URL": database_url.render_as_string(hide_password=False),
    }
    program, *options = arguments
    done = subprocess.run(
        [str(Path(sys.executable).parent / program), *options],
        env=environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    missing = f"{database_url.database}_dagster"
    assert re.fullmatch(rf"error: .* has no database '{missing}'; create it there .*\n", done.stderr), done.stderr


def test_check_looks_at_dagsters_database(database_url: URL, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SNAPSHOT_DATABASE_URL", database_url.render_as_string(hide_password=False))
    output = CliRunner().invoke(command, ["check"]).output
    assert (
        f"Dagster's database: the server of {database_url.set(drivername='postgresql')}_dagster has no data" in output
    )

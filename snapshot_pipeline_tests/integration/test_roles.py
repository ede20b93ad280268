"""The pipeline works with exactly the permissions of `docs/roles.sql`, and cannot change the platform."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import URL, create_engine, inspect, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.pool import NullPool

from snapshot_pipeline import cli
from snapshot_pipeline.embedded.programs import program
from snapshot_pipeline.orchestration.instance.storage import _engine
from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.platform.tables import TABLE_NAMES
from snapshot_pipeline.postgres.urls import adbc_uri
from snapshot_pipeline_tests.installation import PROJECT
from snapshot_pipeline_tests.pipeline.installations import (
    MONDAY,
    SUNDAY,
    differences,
    execute,
    installation_on,
    new_database,
    published,
)

ROLES = PROJECT / "docs" / "roles.sql"
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Roles:
    """A copy of the sample, and the two roles that the script created in it."""

    owner: URL
    migrator: URL
    pipeline: URL


def run_script(url: URL, names: dict[str, str], passwords: dict[str, str], **others: str) -> str:
    """Run the script; return what it prints."""
    variables = {**names, **{f"{role}_password": secret for role, secret in passwords.items()}, **others}
    command: list[Any] = [program("psql", Path(), None), adbc_uri(url), "-v", "ON_ERROR_STOP=1", "--quiet", "-X"]
    command += [part for name, value in variables.items() for part in ("-v", f"{name}={value}")]
    finished = subprocess.run([*command, "-f", ROLES], capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")
    return finished.stdout


@pytest.fixture(scope="module")
def roles(server_url: URL, sample_template: URL) -> Iterator[Roles]:
    with new_database(server_url, sample_template) as url:
        suffix = str(url.database)
        names = {"migrator": f"Migrator {suffix}", "pipeline": f"Pipeline {suffix}"}
        passwords = {"migrator": 'it\'s a "secret"', "pipeline": "another $1 ö"}
        # The roles use a schema of their own, so our tables in `public` do not matter.
        for _ in range(2):
            assert run_script(url, names, passwords) == ""
        execute_apart(url, f'CREATE DATABASE "{url.database}_dagster" OWNER "{names["pipeline"]}"')
        yield Roles(url, *(url.set(username=names[role], password=passwords[role]) for role in names))
        execute_apart(url, f'DROP DATABASE "{url.database}_dagster"')
        for name in names.values():
            execute(url, f'DROP OWNED BY "{name}"', f'DROP ROLE "{name}"')


def execute_apart(url: URL, statement: str) -> None:
    """Execute a statement that cannot be part of a transaction."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(statement))


def test_messages_are_english_for_both_roles(roles: Roles):
    for url in (roles.migrator, roles.pipeline):
        with create_engine(url, poolclass=NullPool).connect() as connection:
            assert connection.execute(text("SHOW lc_messages")).scalar_one() == "C"


def test_the_script_goes_on_where_lc_messages_may_not_be_set(server_url: URL):
    with new_database(server_url) as url:
        owner = f"Owner {url.database}"
        names = {"migrator": f"Migrator {url.database}", "pipeline": f"Pipeline {url.database}"}
        execute(
            url,
            f"CREATE ROLE \"{owner}\" LOGIN CREATEROLE PASSWORD 'x'",
            f'ALTER DATABASE {url.database} OWNER TO "{owner}"',
        )
        try:
            said = run_script(url.set(username=owner, password="x"), names, dict.fromkeys(names, "x"))  # noqa: S106
            assert said.strip().startswith(f"lc_messages stays as it is, since {owner} may not set it")
        finally:
            execute(url, *(f'DROP OWNED BY "{name}" CASCADE' for name in names.values()))
            execute(url, *(f'DROP ROLE "{name}"' for name in names.values()))
            execute(
                url,
                f"ALTER DATABASE {url.database} OWNER TO CURRENT_USER",
                f'DROP OWNED BY "{owner}" CASCADE',
                f'DROP ROLE "{owner}"',
            )


def run_command(url: URL, *arguments: str, **variables: str) -> Any:
    environment = {
        "SNAPSHOT_DATABASE_URL": url.render_as_string(hide_password=False),
        "SNAPSHOT_STORE_SCHEMA": "",  # the default
        **variables,
    }
    return CliRunner().invoke(cli.command, arguments, env=environment)


def test_owner_role_creates_the_tables_and_worker_role_runs_everything(roles: Roles):
    before = run_command(roles.pipeline, "check")
    assert before.exit_code == 1  # the tables do not exist yet
    assert (
        f"run `snapshot-pipeline db migrate` with the URL of a role that may ({roles.migrator.username})"
        in before.output
    )
    assert "GRANT" not in before.output
    assert run_command(roles.migrator, "db", "migrate").exit_code == 0
    after = run_command(roles.pipeline, "check")
    assert after.exit_code == 0, after.output  # notes about invalid rows of the sample at most
    with installation_on(roles.pipeline, store_schema="snapshots") as installation:
        for run_id in ("first", "again"):
            run = run_days(installation, MONDAY, SUNDAY, run_id)
            assert all(report.published for report in run.reports)
            assert run_week(installation, MONDAY, run_id).with_recommendation


@pytest.mark.parametrize(
    "statement",
    [
        *(f"DELETE FROM public.{table}" for table in TABLE_NAMES),  # noqa: S608
        "UPDATE public.users SET is_active = false",
        "INSERT INTO public.lessons SELECT * FROM public.lessons",
        "ALTER TABLE public.users ADD mark int",
        "DROP TABLE public.quizzes",
        "CREATE TABLE public.own (id int)",
        "CREATE TABLE snapshots.own (id int)",
        "CREATE SCHEMA own",
        "DROP TABLE IF EXISTS snapshots.performance_snapshots",
        "SELECT * FROM public.performance_snapshots",  # a table without a grant
    ],
)
def test_worker_role_cannot_write_to_the_platform(roles: Roles, statement: str):
    run_command(roles.migrator, "db", "migrate")
    engine = create_engine(roles.pipeline, poolclass=NullPool)
    with engine.connect() as connection, pytest.raises(ProgrammingError) as caught:
        connection.execute(text(statement))
    assert getattr(caught.value.orig, "pgcode", None) == "42501"


def documented_commands() -> list[str]:
    """The blocks of shell commands below "Backup and restore"."""
    page = (PROJECT / "docs" / "operations.md").read_text(encoding="utf-8")
    return re.findall(r"```sh\n(.*?)```", page.split("\n## Backup and restore\n")[1].split("\n## ")[0], re.DOTALL)


def test_the_documented_backup_restores_tables_and_permissions(roles: Roles, tmp_path: Path):
    """Regression: the role that runs the pipeline could not read the sequences, so pg_dump failed."""
    assert run_command(roles.migrator, "db", "migrate").exit_code == 0
    with installation_on(roles.pipeline, store_schema="snapshots") as installation:
        run_days(installation, MONDAY, MONDAY, "before the backup")
        before = published(installation)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(program("psql", Path(), None)).parent), str(BIN), os.environ["PATH"]]),
        "SNAPSHOT_DATABASE_URL": adbc_uri(roles.pipeline),
        "SNAPSHOT_STORE_SCHEMA": "",
        "SUPERUSER_URL": adbc_uri(roles.owner),
    }
    for commands in documented_commands():
        done = subprocess.run(  # noqa: S602  # the page's own commands
            f"set -e\n{commands}",
            shell=True,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    with installation_on(roles.pipeline, store_schema="snapshots") as installation:
        assert differences(published(installation), before) == []
        assert run_days(installation, date(2025, 11, 3), date(2025, 12, 1), "after").reports, "a new month is created"
    execute(roles.migrator, "CREATE TABLE snapshots.later (day date)")
    execute(roles.pipeline, "INSERT INTO snapshots.later VALUES ('2026-01-01')")


def test_dagsters_records_fit_into_a_schema_of_the_platforms_database(roles: Roles, tmp_path: Path):
    """Regression: Dagster's tables were among the application's, and shared its `alembic_version`."""
    execute(roles.owner, "CREATE TABLE IF NOT EXISTS public.alembic_version (version_num text)")
    one_database = {
        "DAGSTER_HOME": str(PROJECT),
        "SNAPSHOT_HOME": str(tmp_path),
        "SNAPSHOT_DAGSTER_DATABASE_URL": roles.pipeline.render_as_string(hide_password=False),
    }
    assert run_command(roles.migrator, "db", "migrate").exit_code == 0
    materialize = ("materialize", "--from", "2025-11-02", "--to", "2025-11-02")
    for command in (("check",), materialize):
        refused = run_command(roles.pipeline, *command, **one_database)
        assert refused.exit_code == 1
        assert "has tables that are not Dagster's (public." in f"{refused.output}{refused.exception}"
    before = relations(roles.owner, "public")
    assert "alembic_version" in before
    names = {"migrator": str(roles.migrator.username), "pipeline": str(roles.pipeline.username)}
    passwords = {"migrator": str(roles.migrator.password), "pipeline": str(roles.pipeline.password)}
    run_script(roles.owner, names, passwords, dagster_schema="dagster")
    _engine.cache_clear()  # a new process has no session with the former search path
    checked = run_command(roles.pipeline, "check", **one_database)
    assert checked.exit_code == 0, checked.output
    computed = run_command(roles.pipeline, *materialize, **one_database)
    assert computed.exit_code == 0, computed.output
    assert relations(roles.owner, "public") == before
    assert {"runs", "event_logs", "jobs", "alembic_version"} <= relations(roles.owner, "dagster")
    execute(roles.owner, f'ALTER ROLE "{roles.pipeline.username}" IN DATABASE {roles.owner.database} RESET search_path')


def relations(url: URL, schema: str) -> set[str]:
    return set(inspect(create_engine(url, poolclass=NullPool)).get_table_names(schema))

"""Behind PgBouncer: session pooling works, with its time limits; transaction pooling is refused before harm is done."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg2
import pytest
from click.testing import CliRunner
from sqlalchemy import URL, create_engine, select, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline import cli
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.platform.contract import check_platform
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.postgres.engines import create_platform_engine
from snapshot_pipeline.postgres.errors import DatabaseError
from snapshot_pipeline.postgres.sessions import is_transaction_pooled
from snapshot_pipeline.postgres.urls import adbc_uri
from snapshot_pipeline.settings import load_settings
from snapshot_pipeline_tests.needed_programs import needed_program
from snapshot_pipeline_tests.pipeline.installations import SUNDAY, installation_on
from snapshot_pipeline_tests.waiting import wait_for

SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])


@contextmanager
def pgbouncer(server: URL, directory: Path, pool_mode: str) -> Iterator[URL]:
    """Start PgBouncer in front of a database; yield the URL of the database behind it."""
    program = needed_program("pgbouncer", "apt-get install pgbouncer", SEARCH_PATH)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    login = f"user={server.username} password={server.password}"
    file = directory / f"{pool_mode}.ini"
    file.write_text(
        f"[databases]\n* = host={server.host} port={server.port} {login}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\nunix_socket_dir =\n"
        f"pool_mode = {pool_mode}\nignore_startup_parameters = options\n"
    )
    command = [program, "--quiet", str(file)]
    if getpass.getuser() == "root":  # PgBouncer refuses to run as root
        command[1:1] = ["--user", "nobody"]
    url = server.set(host="127.0.0.1", port=port)
    with (directory / f"{pool_mode}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:

        def answers() -> bool | None:
            assert process.poll() is None, (directory / f"{pool_mode}.log").read_text()
            with suppress(psycopg2.OperationalError):
                psycopg2.connect(adbc_uri(url)).close()
                return True
            return None

        wait_for(answers, "PgBouncer answers", 20)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def test_session_pooling_has_the_time_limits_in_both_drivers(sample_url: URL, database_url: URL, tmp_path: Path):
    with pgbouncer(sample_url, tmp_path, "session") as url:
        settings = load_settings(database_url=url.render_as_string(hide_password=False), lock_timeout_seconds=3)
        engine = create_platform_engine(settings)
        query = select(text("current_setting('lock_timeout') AS value"))
        with engine.connect() as connection:
            assert connection.execute(query).scalar_one() == "3s"
            assert not is_transaction_pooled(connection)
        with bulk.transaction(adbc_uri(engine.url)) as bulk_connection:
            assert bulk.fetch(bulk_connection, query)["value"][0].as_py() == "3s"
        engine.dispose()
        with installation_on(url) as installation:
            assert run_days(installation, SUNDAY, SUNDAY, "behind PgBouncer").reports[0].published
        environment = {
            "SNAPSHOT_DATABASE_URL": url.render_as_string(hide_password=False),
            "SNAPSHOT_DAGSTER_DATABASE_URL": url.set(database=database_url.database).render_as_string(
                hide_password=False
            ),
        }
        result = CliRunner().invoke(cli.command, ["check"], env=environment)
        assert result.exit_code != 1, result.output


def test_transaction_pooling_is_refused_and_leaks_no_setting(sample_url: URL, tmp_path: Path):
    with pgbouncer(sample_url, tmp_path, "transaction") as url:
        with pytest.raises(DatabaseError, match="set pool_mode = session"), installation_on(url):
            pytest.fail("the installation was opened")
        environment = {"SNAPSHOT_DATABASE_URL": url.render_as_string(hide_password=False)}
        result = CliRunner().invoke(cli.command, ["check"], env=environment)
        assert result.exit_code == 1
        assert "set pool_mode = session" in f"{result.output}{result.exception}"
        with create_engine(url, poolclass=NullPool).connect() as another_client:
            for name in ("lock_timeout", "statement_timeout"):
                assert another_client.execute(text(f"SHOW {name}")).scalar_one() == "0"
            locks = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
            assert another_client.execute(locks).scalar_one() == 0


def test_check_names_transaction_pooling_of_dagsters_database(sample_url: URL, database_url: URL, tmp_path: Path):
    """Its sessions have no time limits, so nothing is missing in them."""
    with pgbouncer(database_url, tmp_path, "transaction") as url:
        environment = {
            "SNAPSHOT_DATABASE_URL": sample_url.render_as_string(hide_password=False),
            "SNAPSHOT_DAGSTER_DATABASE_URL": url.render_as_string(hide_password=False),
        }
        result = CliRunner().invoke(cli.command, ["check"], env=environment)
        assert result.exit_code == 1
        (line,) = [line for line in result.output.splitlines() if "Dagster's database: " in line]
        assert "set pool_mode = session" in line


def test_check_names_transaction_pooling_that_keeps_the_settings(sample_url: URL, tmp_path: Path):
    """A role may have the settings itself, so that nothing is missing in the first session."""
    with pgbouncer(sample_url, tmp_path, "transaction") as url:
        engine = create_engine(url)
        findings = check_platform(engine, "public")
        engine.dispose()
        assert any("set pool_mode = session" in finding.message for finding in findings)
        assert {finding.severity for finding in findings if "pool_mode" in finding.message} == {"error"}

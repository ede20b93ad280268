"""The command `db`: what a user types to reach, start and stop the database."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import URL

from snapshot_pipeline.embedded import EmbeddedServer


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with nothing set, and its embedded server."""
    path = tmp_path_factory.mktemp("working directory")
    yield path
    EmbeddedServer(path / ".snapshot_pipeline").delete()


def snapshot_pipeline(directory: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, in a process of its own."""
    program = "from snapshot_pipeline.cli import main; main()"
    unset = {name: value for name, value in os.environ.items() if not name.startswith("SNAPSHOT_")}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=directory,
        env={**unset, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_printed_urls_connect_as_they_are(directory: Path) -> None:
    for arguments, database in ((["db", "url"], "platform"), (["db", "url", "--dagster"], "dagster")):
        printed = snapshot_pipeline(directory, *arguments)
        assert printed.stderr == ""
        with closing(psycopg2.connect(printed.stdout.strip())) as connection:
            assert connection.info.dbname == database
    masked = snapshot_pipeline(directory, "db", "url", "--mask").stdout
    assert masked.startswith("postgresql://snapshot:***@127.0.0.1:")


def test_start_and_stop_say_what_they_found(directory: Path) -> None:
    snapshot_pipeline(directory, "db", "stop")
    assert "was started: postgresql://snapshot:***@" in snapshot_pipeline(directory, "db", "start").stdout
    assert "runs already: postgresql://snapshot:***@" in snapshot_pipeline(directory, "db", "start").stdout
    assert "was stopped." in snapshot_pipeline(directory, "db", "stop").stdout
    again = snapshot_pipeline(directory, "db", "stop")
    assert "does not run." in again.stdout
    assert again.returncode == 0


@pytest.mark.parametrize("verb", ["start", "stop"])
def test_a_server_of_the_user_s_own_is_not_started_or_stopped(directory: Path, verb: str) -> None:
    finished = snapshot_pipeline(directory, "db", verb, SNAPSHOT_DATABASE_URL="postgresql://me:secret@host/db")
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: SNAPSHOT_DATABASE_URL names a server of your own")
    assert finished.stderr.count("\n") == 1
    assert "secret" not in finished.stderr


def test_migrating_makes_our_tables_and_says_where(directory: Path, database_url: URL) -> None:
    url = database_url.render_as_string(hide_password=False)
    for _ in range(2):
        migrated = snapshot_pipeline(
            directory, "db", "migrate", SNAPSHOT_DATABASE_URL=url, SNAPSHOT_STORE_SCHEMA="ours"
        )
        assert migrated.stderr == ""
        assert migrated.stdout.startswith(f"The tables in schema ours of postgresql://{database_url.username}:***@")
        assert "are at revision " in migrated.stdout
    with closing(psycopg2.connect(url.replace("+psycopg2", ""))) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('ours.performance_snapshots')")
        assert cursor.fetchone() != (None,)


def test_a_database_that_is_not_there_is_one_line_and_no_traceback(directory: Path) -> None:
    unreachable = "postgresql://me:secret@127.0.0.1:1/db"
    finished = snapshot_pipeline(directory, "db", "migrate", SNAPSHOT_DATABASE_URL=unreachable)
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: postgresql://me:***@127.0.0.1:1/db cannot be connected to: ")
    assert finished.stderr.count("\n") == 1


def test_the_command_loads_nothing_heavy() -> None:
    program = (
        "import sys, snapshot_pipeline.cli.db; print({'dagster', 'pandas', 'pyarrow', 'alembic'} & {*sys.modules})"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout == "set()\n"


@pytest.mark.parametrize("command", ["url", "start", "stop", "migrate"])
def test_every_help_has_an_example(directory: Path, command: str) -> None:
    assert "Example: " in snapshot_pipeline(directory, "db", command, "--help").stdout


def test_delete_asks_first_and_then_leaves_nothing(tmp_path: Path) -> None:
    snapshot_pipeline(tmp_path, "db", "start")
    unanswered = snapshot_pipeline(tmp_path, "db", "delete")
    assert unanswered.returncode == 1
    assert EmbeddedServer(tmp_path / ".snapshot_pipeline").is_running()
    assert snapshot_pipeline(tmp_path, "db", "delete", "--yes").returncode == 0
    assert not (tmp_path / ".snapshot_pipeline" / "postgres").exists()

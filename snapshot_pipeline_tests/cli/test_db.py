"""The command `db`: what a user types to reach, start and stop the database."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import URL

from snapshot_pipeline.cli import main
from snapshot_pipeline.embedded import EmbeddedServer


@dataclass(frozen=True)
class Finished:
    """What a command left: its exit status and what it printed."""

    status: int
    stdout: str
    stderr: str


Command = Callable[..., Finished]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with nothing set. Tests may start, stop and delete its embedded server."""
    path = tmp_path_factory.mktemp("working directory")
    yield path
    EmbeddedServer(path / ".snapshot_pipeline").delete()


@pytest.fixture
def snapshot_pipeline(directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command as its entry point does, in that directory, with no SNAPSHOT_* but those named."""
    monkeypatch.chdir(directory)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    for name in [name for name in os.environ if name.startswith("SNAPSHOT_")]:
        monkeypatch.delenv(name)

    def run(*arguments: str, **variables: str) -> Finished:
        capsys.readouterr()
        with monkeypatch.context() as for_this_command:
            for name, value in variables.items():
                for_this_command.setenv(name, value)
            for_this_command.setattr(sys, "argv", ["snapshot-pipeline", *arguments])
            with pytest.raises(SystemExit) as ended:
                main()
        return Finished(int(ended.value.code or 0), *capsys.readouterr())

    return run


def test_the_printed_urls_connect_as_they_are(snapshot_pipeline: Command) -> None:
    """And the server is started by the first command that needs it."""
    snapshot_pipeline("db", "stop")
    for arguments, database in ((["db", "url"], "platform"), (["db", "url", "--dagster"], "dagster")):
        printed = snapshot_pipeline(*arguments)
        assert printed.stderr == ""
        with closing(psycopg2.connect(printed.stdout.strip())) as connection:
            assert connection.info.dbname == database
    masked = snapshot_pipeline("db", "url", "--mask").stdout
    assert masked.startswith("postgresql://snapshot:***@127.0.0.1:")


def test_start_and_stop_say_what_they_found(snapshot_pipeline: Command) -> None:
    snapshot_pipeline("db", "stop")
    assert "was started: postgresql://snapshot:***@" in snapshot_pipeline("db", "start").stdout
    assert "runs already: postgresql://snapshot:***@" in snapshot_pipeline("db", "start").stdout
    assert "was stopped." in snapshot_pipeline("db", "stop").stdout
    again = snapshot_pipeline("db", "stop")
    assert "does not run." in again.stdout
    assert again.status == 0


def test_delete_asks_first_and_then_leaves_nothing(snapshot_pipeline: Command, directory: Path) -> None:
    snapshot_pipeline("db", "start")
    unanswered = snapshot_pipeline("db", "delete")
    assert unanswered.status == 1
    assert EmbeddedServer(directory / ".snapshot_pipeline").is_running()
    assert snapshot_pipeline("db", "delete", "--yes").status == 0
    assert not (directory / ".snapshot_pipeline" / "postgres").exists()


@pytest.mark.parametrize("verb", ["start", "stop", "delete"])
def test_a_server_of_the_user_s_own_is_left_alone(snapshot_pipeline: Command, verb: str) -> None:
    finished = snapshot_pipeline("db", verb, SNAPSHOT_DATABASE_URL="postgresql://me:secret@host/db")
    assert finished.status == 1
    assert finished.stderr.startswith("error: SNAPSHOT_DATABASE_URL names a server of your own")
    assert finished.stderr.count("\n") == 1
    assert "secret" not in finished.stderr


def test_migrating_makes_our_tables_and_says_where(snapshot_pipeline: Command, database_url: URL) -> None:
    url = database_url.render_as_string(hide_password=False)
    for _ in range(2):
        migrated = snapshot_pipeline("db", "migrate", SNAPSHOT_DATABASE_URL=url, SNAPSHOT_STORE_SCHEMA="ours")
        assert migrated.stderr == ""
        assert migrated.stdout.startswith(f"The tables in schema ours of postgresql://{database_url.username}:***@")
        assert "are at revision " in migrated.stdout
    with closing(psycopg2.connect(url.replace("+psycopg2", ""))) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('ours.performance_snapshots')")
        assert cursor.fetchone() != (None,)


def test_a_database_that_is_not_there_is_one_line_and_no_traceback(directory: Path) -> None:
    """In a process of its own, as a user runs it: nothing of what Python prints at its end is missed."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("SNAPSHOT_")}
    finished = subprocess.run(
        [sys.executable, "-c", "from snapshot_pipeline.cli import main; main()", "db", "migrate"],
        cwd=directory,
        env={**others, "SNAPSHOT_DATABASE_URL": "postgresql://me:secret@127.0.0.1:1/db"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: cannot connect to postgresql://me:***@127.0.0.1:1/db: ")
    assert finished.stderr.count("\n") == 1


def test_the_command_loads_nothing_heavy() -> None:
    program = (
        "import sys, snapshot_pipeline.embedded; print({'sqlalchemy'} & {*sys.modules});"
        "import snapshot_pipeline.cli.db; print({'dagster', 'pandas', 'pyarrow', 'alembic'} & {*sys.modules})"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout == "set()\nset()\n"


@pytest.mark.parametrize("command", ["url", "start", "stop", "delete", "migrate"])
def test_every_help_has_an_example(snapshot_pipeline: Command, command: str) -> None:
    assert "Example: " in snapshot_pipeline("db", command, "--help").stdout

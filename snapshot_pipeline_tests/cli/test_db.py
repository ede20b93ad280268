"""`snapshot-pipeline db`: print the URL; start, stop, delete and migrate the database."""

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
    """The exit status and the output of a command."""

    status: int
    stdout: str
    stderr: str


Command = Callable[..., Finished]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory without settings. Tests may start, stop and delete its embedded server."""
    path = tmp_path_factory.mktemp("working directory")
    yield path
    EmbeddedServer(path / ".snapshot_pipeline").delete()


@pytest.fixture
def snapshot_pipeline(directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command as its entry point does, in that directory, with only the given SNAPSHOT_* variables."""
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


def test_the_printed_urls_connect(snapshot_pipeline: Command) -> None:
    """The first command that needs the server starts it."""
    snapshot_pipeline("db", "start")
    snapshot_pipeline("db", "stop")
    for arguments, database in ((["db", "url"], "platform"), (["db", "url", "--dagster"], "dagster")):
        printed = snapshot_pipeline(*arguments)
        assert printed.stderr == ""
        with closing(psycopg2.connect(printed.stdout.strip())) as connection:
            assert connection.info.dbname == database
    masked = snapshot_pipeline("db", "url", "--mask").stdout
    assert masked.startswith("postgresql://snapshot:***@127.0.0.1:")


@pytest.mark.parametrize("command", ["status", "check", "student 1", "db url", "db url --dagster", "db url --mask"])
def test_a_command_that_reads_never_creates_a_server(
    command: str, snapshot_pipeline: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one in another directory than the others, where no .env names the database."""
    monkeypatch.chdir(tmp_path)
    ended = snapshot_pipeline(*command.split())
    assert (ended.status, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert f"there is no embedded server in {tmp_path / '.snapshot_pipeline'}" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_start_and_stop_report_the_servers_state(snapshot_pipeline: Command) -> None:
    snapshot_pipeline("db", "stop")
    assert "was started: postgresql://snapshot:***@" in snapshot_pipeline("db", "start").stdout
    assert "is already running: postgresql://snapshot:***@" in snapshot_pipeline("db", "start").stdout
    assert "was stopped." in snapshot_pipeline("db", "stop").stdout
    again = snapshot_pipeline("db", "stop")
    assert "is not running." in again.stdout
    assert again.status == 0


def test_delete_asks_for_confirmation_and_deletes_everything(snapshot_pipeline: Command, directory: Path) -> None:
    snapshot_pipeline("db", "start")
    unanswered = snapshot_pipeline("db", "delete")
    assert unanswered.status == 1
    assert EmbeddedServer(directory / ".snapshot_pipeline").is_running()
    assert snapshot_pipeline("db", "delete", "--yes").status == 0
    assert not (directory / ".snapshot_pipeline" / "postgres").exists()


@pytest.mark.parametrize("verb", ["start", "stop", "delete"])
def test_the_users_own_server_is_never_started_stopped_or_deleted(snapshot_pipeline: Command, verb: str) -> None:
    finished = snapshot_pipeline("db", verb, SNAPSHOT_DATABASE_URL="postgresql://me:secret@host/db")
    assert finished.status == 1
    assert finished.stderr.startswith("error: SNAPSHOT_DATABASE_URL is set, so the embedded server is not used")
    assert finished.stderr.count("\n") == 1
    assert "secret" not in finished.stderr


def test_migrate_creates_our_tables_and_prints_where(snapshot_pipeline: Command, database_url: URL) -> None:
    url = database_url.render_as_string(hide_password=False)
    for _ in range(2):
        migrated = snapshot_pipeline("db", "migrate", SNAPSHOT_DATABASE_URL=url, SNAPSHOT_STORE_SCHEMA="ours")
        assert migrated.stderr == ""
        assert migrated.stdout.startswith(f"The tables in schema ours of postgresql://{database_url.username}:***@")
        assert "are at revision " in migrated.stdout
    with closing(psycopg2.connect(url.replace("+psycopg2", ""))) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('ours.performance_snapshots')")
        assert cursor.fetchone() != (None,)


def test_an_unreachable_database_is_one_line_without_traceback(directory: Path) -> None:
    """In its own process, so that output at the interpreter's exit is checked too."""
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


def test_importing_the_command_imports_no_slow_package() -> None:
    program = (
        "import sys, snapshot_pipeline.embedded; print({'sqlalchemy'} & {*sys.modules});"
        "import snapshot_pipeline.cli.db; print({'dagster', 'pandas', 'pyarrow', 'alembic'} & {*sys.modules})"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout == "set()\nset()\n"


@pytest.mark.parametrize("command", ["url", "start", "stop", "delete", "migrate"])
def test_every_help_has_an_example(snapshot_pipeline: Command, command: str) -> None:
    assert "Example: " in snapshot_pipeline("db", command, "--help").stdout

"""No password in output, process lists, files or database records; only `db url` may show one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.postgres.urls import adbc_uri
from snapshot_pipeline_tests.commands import run_command
from snapshot_pipeline_tests.installation import PROJECT
from snapshot_pipeline_tests.pipeline.installations import execute, new_database

MARK = "MarkedSecret"
# Has characters that are percent-encoded in a URL; the mark is in both spellings.
PASSWORD = f"{MARK}@/:%{MARK}"


@dataclass
class MarkedInstallation:
    """Two databases whose role has the marked password, and the output of all commands so far."""

    environment: dict[str, str]
    platform: URL
    dagster: URL
    home: Path
    outputs: list[str] = field(default_factory=list)

    def run(self, *arguments: str, succeeds: bool = True, **changed: str) -> str:
        """Run a command of the command line; return its output."""
        return self._output_of(run_command(arguments, {**self.environment, **changed}), succeeds=succeeds)

    def start_program(self, *arguments: str, succeeds: bool = True, **changed: str) -> str:
        """Run a command as a user starts it, so that the list of processes shows its arguments; return its output."""
        command = [sys.executable, "-m", "snapshot_pipeline.cli", *arguments]
        finished = subprocess.run(
            command,
            env={**self.environment, **changed},
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return self._output_of(finished, succeeds=succeeds)

    @staticmethod
    def _output_of(finished: subprocess.CompletedProcess[str], *, succeeds: bool) -> str:
        output = finished.stdout + finished.stderr
        assert (finished.returncode == 0) is succeeds, output
        return output


@pytest.fixture(scope="module")
def marked_installation(server_url: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MarkedInstallation]:
    role = f"marked_{uuid.uuid4().hex[:12]}"
    with new_database(server_url) as platform, new_database(server_url) as dagster:
        execute(platform, f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        for url in (platform, dagster):
            execute(url, f"GRANT ALL ON SCHEMA public TO {role}", f"ALTER DATABASE {url.database} OWNER TO {role}")
        marked = [url.set(username=role, password=PASSWORD) for url in (platform, dagster)]
        home = tmp_path_factory.mktemp("home")
        shown = [url.set(drivername="postgresql").render_as_string(hide_password=False) for url in marked]
        environment = {
            **os.environ,
            "DAGSTER_HOME": str(PROJECT),
            "SNAPSHOT_HOME": str(home),
            "SNAPSHOT_DATABASE_URL": shown[0],
            "SNAPSHOT_DAGSTER_DATABASE_URL": shown[1],
            "SNAPSHOT_START_DATE": "2026-01-01",
            "SNAPSHOT_SCHEDULES": "off",
        }
        try:
            yield MarkedInstallation(environment, *marked, home)
        finally:
            for url in (platform, dagster):
                execute(url, f"DROP OWNED BY {role} CASCADE", f"ALTER DATABASE {url.database} OWNER TO CURRENT_USER")
            execute(platform, f"DROP ROLE {role}")


def command_lines(stop: threading.Event, processes: set[str]) -> None:
    """Collect the command lines of all processes until `stop` is set."""
    while not stop.wait(0.2):
        for directory in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                processes.add((directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))


@pytest.mark.timeout(300)
def test_password_appears_in_no_output_process_file_or_record(marked_installation: MarkedInstallation):
    stop, processes = threading.Event(), set[str]()
    watching = threading.Thread(target=command_lines, args=(stop, processes))
    watching.start()
    wrong = adbc_uri(marked_installation.platform.set(password=f"{PASSWORD}wrong"))
    dead = adbc_uri(marked_installation.platform.set(port=1))
    invalid = f"postgresql://someone:{MARK}@{MARK}@host/db"
    try:
        marked_installation.outputs += [
            marked_installation.run("sample", "--students", "40", "--days", "40", "--until", "2026-03-01"),
            marked_installation.start_program("check"),
            marked_installation.run("db", "url", "--mask"),
            marked_installation.run("db", "migrate"),
            marked_installation.start_program("materialize", "--from", "2026-02-21", "--to", "2026-02-22"),
            marked_installation.run("recommend", "--week", "2026-02-16"),
            marked_installation.run("status", succeeds=False),  # days are missing
            # Failing runs record events with their errors.
            marked_installation.run(
                "materialize",
                "--from",
                "2026-02-23",
                "--to",
                "2026-02-23",
                succeeds=False,
                SNAPSHOT_PLATFORM_SCHEMA="nowhere",
            ),
            marked_installation.start_program(
                "materialize",
                "--from",
                "2026-02-23",
                "--to",
                "2026-02-23",
                succeeds=False,
                SNAPSHOT_DATABASE_URL=wrong,
            ),
            *(
                marked_installation.run(*command, succeeds=False, SNAPSHOT_DATABASE_URL=url)
                for command in (["check"], ["status"])
                for url in (wrong, dead, invalid)
            ),
            marked_installation.run("status", succeeds=False, SNAPSHOT_WORKERS="many"),
        ]
    finally:
        stop.set()
        watching.join()
    assert any("snapshot_pipeline.cli materialize" in line for line in processes)
    files = [
        path.read_bytes().decode(errors="replace") for path in marked_installation.home.rglob("*") if path.is_file()
    ]
    records = dump(marked_installation.dagster)
    assert "ASSET_MATERIALIZATION" in records
    assert "schema 'nowhere'" in records  # the failed run's error is among the searched records
    for source, searched in (
        ("the output", "\n".join(marked_installation.outputs)),
        ("the processes", "\n".join(processes)),
        ("the files", "\n".join(files)),
        ("Dagster's records", records),
        ("our tables", dump(marked_installation.platform)),
    ):
        assert MARK not in searched, source
    assert MARK in marked_installation.run("db", "url")  # proves that the search can find it


def dump(url: URL) -> str:
    """Return all rows of all tables, as text."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        names = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars()
        return "\n".join(
            row  # a string, because SQLAlchemy truncates a printed row
            for name in names
            for row in connection.execute(text(f'SELECT whole::text FROM "{name}" whole')).scalars()  # noqa: S608
        )

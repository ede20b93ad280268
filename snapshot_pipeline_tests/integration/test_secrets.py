"""No password in anything that is printed, logged, recorded or listed; only `db url` may show one."""

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
from snapshot_pipeline_tests.installation import PROJECT
from snapshot_pipeline_tests.pipeline.installations import execute, new_database

MARK = "MarkedSecret"
# Such as would be percent-encoded in a URL, so that neither spelling can be missed: the mark is in both.
PASSWORD = f"{MARK}@/:%{MARK}"


@dataclass
class Place:
    """Two databases whose role has the marked password, and all that was printed so far."""

    environment: dict[str, str]
    platform: URL
    dagster: URL
    home: Path
    said: list[str] = field(default_factory=list)

    def call(self, *arguments: str, succeeds: bool = True, **changed: str) -> str:
        """Call the command line as an operator does; what it printed."""
        finished = subprocess.run(
            [sys.executable, "-m", "snapshot_pipeline.cli", *arguments],
            env={**self.environment, **changed},
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        said = finished.stdout + finished.stderr
        assert (finished.returncode == 0) is succeeds, said
        return said


@pytest.fixture(scope="module")
def place(server_url: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
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
            yield Place(environment, *marked, home)
        finally:
            for url in (platform, dagster):
                execute(url, f"DROP OWNED BY {role} CASCADE", f"ALTER DATABASE {url.database} OWNER TO CURRENT_USER")
            execute(platform, f"DROP ROLE {role}")


def command_lines(until: threading.Event, seen: set[str]) -> None:
    """What `ps` shows of all processes, over and over."""
    while not until.wait(0.2):
        for directory in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                seen.add((directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))


@pytest.mark.timeout(300)
def test_password_appears_in_no_output_process_file_or_record(place: Place):
    over, seen = threading.Event(), set[str]()
    watching = threading.Thread(target=command_lines, args=(over, seen))
    watching.start()
    wrong = adbc_uri(place.platform.set(password=f"{PASSWORD}wrong"))
    dead = adbc_uri(place.platform.set(port=1))
    unreadable = f"postgresql://someone:{MARK}@{MARK}@host/db"
    try:
        place.said += [
            place.call("sample", "--students", "40", "--days", "40", "--until", "2026-03-01"),
            place.call("check"),
            place.call("db", "url", "--mask"),
            place.call("db", "migrate"),
            place.call("materialize", "--from", "2026-02-21", "--to", "2026-02-22"),
            place.call("recommend", "--week", "2026-02-16"),
            place.call("status", succeeds=False),  # days are missing
            # Failing runs leave events with their errors.
            place.call(
                "materialize",
                "--from",
                "2026-02-23",
                "--to",
                "2026-02-23",
                succeeds=False,
                SNAPSHOT_PLATFORM_SCHEMA="nowhere",
            ),
            place.call(
                "materialize",
                "--from",
                "2026-02-23",
                "--to",
                "2026-02-23",
                succeeds=False,
                SNAPSHOT_DATABASE_URL=wrong,
            ),
            *(
                place.call(*command, succeeds=False, SNAPSHOT_DATABASE_URL=url)
                for command in (["check"], ["status"])
                for url in (wrong, dead, unreadable)
            ),
            place.call("status", succeeds=False, SNAPSHOT_WORKERS="many"),
        ]
    finally:
        over.set()
        watching.join()
    assert any("snapshot_pipeline.cli materialize" in line for line in seen)
    written = [path.read_bytes().decode(errors="replace") for path in place.home.rglob("*") if path.is_file()]
    records = dump(place.dagster)
    assert "ASSET_MATERIALIZATION" in records
    assert "schema 'nowhere'" in records  # the failed run's error is there to be searched
    for what, text_ in (
        ("the output", "\n".join(place.said)),
        ("the processes", "\n".join(seen)),
        ("the files", "\n".join(written)),
        ("Dagster's records", records),
        ("our tables", dump(place.platform)),
    ):
        assert MARK not in text_, what
    assert MARK in place.call("db", "url")  # so that the search is known to be able to find it


def dump(url: URL) -> str:
    """All rows of all tables, as text."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        names = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars()
        return "\n".join(
            row  # the string itself: a row that is printed is cut
            for name in names
            for row in connection.execute(text(f'SELECT whole::text FROM "{name}" whole')).scalars()  # noqa: S608
        )

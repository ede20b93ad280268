"""Faults at known places of a run, and a run that is watched while they strike.

Put here: what makes a fault, and how a test sees that it struck. Do not put here: what is expected afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.pipeline.batches import Progress, ProgressListener, ignore_progress
from snapshot_pipeline.pipeline.snapshots import SnapshotRun, run_days
from snapshot_pipeline_tests.pipeline.installations import SUNDAY, installation_on

FIRST = SUNDAY - timedelta(days=1)

BATCHES = {"batch_rows": 1_000, "workers": 1}
"""Three batches, one after the other: a fault after the first finds the others not begun."""


@contextmanager
def session(url: URL) -> Iterator[Connection]:
    """Somebody else's session, whose transaction is rolled back at the end unless it was committed."""
    with create_engine(url, poolclass=NullPool).connect() as connection:
        yield connection


def run(url: URL, progress: ProgressListener = ignore_progress, **settings: Any) -> SnapshotRun:
    """A run over the two days, in small batches unless `settings` say otherwise."""
    with installation_on(url, **{**BATCHES, **settings}) as installation:
        return run_days(installation, FIRST, SUNDAY, "under fault", progress)


@contextmanager
def running(url: URL, **settings: Any) -> Iterator[Future[SnapshotRun]]:
    """The same in a thread, which has ended when this is left."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(run, url, **settings)


def after_first_batch(fault: Callable[[], object]) -> ProgressListener:
    """Something to be called with a run's progress, that lets a fault strike once."""

    def progress(progressed: Progress) -> None:
        assert progressed.total > 2
        if progressed.done == 1:
            fault()

    return progress


def wait_for(look: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    """Look until something is there that is true."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain until {what}"
        time.sleep(0.02)
    return found


def waits_for_table(url: URL, table: str) -> int:
    """The process id of the session that waits for a table."""
    query = text("SELECT pid FROM pg_locks WHERE relation = to_regclass(:name) AND NOT granted")

    def look() -> int | None:
        with session(url) as connection:
            pid: int | None = connection.execute(query, {"name": table}).scalar()
            return pid

    return int(wait_for(look, f"somebody waits for {table}"))


def end_session(url: URL, pid: int) -> bool:
    """End a session, and wait until it has ended; whether it lived."""
    with session(url) as connection:
        return bool(connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid}).scalar())


def lock_holder(url: URL) -> int:
    """The process id of the session that holds the run's lock."""
    query = text(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) LIMIT 1"
    )
    with session(url) as connection:
        return int(connection.execute(query).scalar_one())


def slowed(table: str, seconds: float) -> list[str]:
    """The statements that put a view in a table's place, every read of which takes `seconds`."""
    return [
        f"ALTER TABLE {table} RENAME TO quick_{table}",
        f"CREATE VIEW {table} AS SELECT slow.* FROM quick_{table} AS slow, "  # noqa: S608
        f"(SELECT pg_sleep({seconds}) OFFSET 0) AS pause",
    ]

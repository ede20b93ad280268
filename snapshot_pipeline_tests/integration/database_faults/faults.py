"""Faults that are injected at known places of a run, and helpers that wait until they take effect."""

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
"""Three sequential batches: at a fault after the first one, the others have not started."""


@contextmanager
def session(url: URL) -> Iterator[Connection]:
    """Open another session; its transaction is rolled back at the end unless it was committed."""
    with create_engine(url, poolclass=NullPool).connect() as connection:
        yield connection


def run(url: URL, progress: ProgressListener = ignore_progress, **settings: Any) -> SnapshotRun:
    """Run the two days, in small batches unless `settings` override them."""
    with installation_on(url, **{**BATCHES, **settings}) as installation:
        return run_days(installation, FIRST, SUNDAY, "under fault", progress)


@contextmanager
def running(url: URL, **settings: Any) -> Iterator[Future[SnapshotRun]]:
    """Run the two days in a thread, which has ended after the `with` block."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(run, url, **settings)


def after_first_batch(fault: Callable[[], object], *, published: bool = False) -> ProgressListener:
    """Return a progress listener that injects a fault once, after the first batch was computed, or published."""

    def listener(progress: Progress) -> None:
        assert progress.total > 4
        # Every batch is computed before the first is published.
        if progress.done == 1 + (progress.total // 2 if published else 0):
            fault()

    return listener


def wait_for(poll: Callable[[], Any], condition: str, seconds: float = 20) -> Any:
    """Call `poll` until it returns a true value, for at most `seconds`; return it."""
    deadline = time.monotonic() + seconds
    while not (value := poll()):
        assert time.monotonic() < deadline, f"waited {seconds} s until {condition}: timeout"
        time.sleep(0.02)
    return value


def waits_for_table(url: URL, table: str) -> int:
    """Wait until a session waits for a table; return its process id."""
    query = text("SELECT pid FROM pg_locks WHERE relation = to_regclass(:name) AND NOT granted")

    def waiting_pid() -> int | None:
        with session(url) as connection:
            pid: int | None = connection.execute(query, {"name": table}).scalar()
            return pid

    return int(wait_for(waiting_pid, f"a session waits for {table}"))


def terminate_session(url: URL, pid: int) -> bool:
    """Terminate a session and wait until it has ended; return whether it existed."""
    with session(url) as connection:
        return bool(connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid}).scalar())


def lock_holder(url: URL) -> int:
    """Return the process id of the session that holds the run's lock."""
    query = text(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) LIMIT 1"
    )
    with session(url) as connection:
        return int(connection.execute(query).scalar_one())


def slowed(table: str, seconds: float) -> list[str]:
    """Return statements that replace a table by a view whose every read takes `seconds`."""
    return [
        f"ALTER TABLE {table} RENAME TO quick_{table}",
        f"CREATE VIEW {table} AS SELECT slow.* FROM quick_{table} AS slow, "  # noqa: S608
        f"(SELECT pg_sleep({seconds}) OFFSET 0) AS pause",
    ]

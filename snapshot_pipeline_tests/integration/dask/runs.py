"""Runs on a cluster in small batches, their rows, and table locks that stop them within a batch."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import URL, Connection, text

from snapshot_pipeline.pipeline import batches
from snapshot_pipeline.pipeline.batches import ProgressListener, ignore_progress
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.snapshots import SnapshotRun, run_days
from snapshot_pipeline_tests.integration.dask.clusters import TIMEOUT_SECONDS, Cluster
from snapshot_pipeline_tests.integration.database_faults.faults import session, wait_for
from snapshot_pipeline_tests.pipeline.installations import (
    SUNDAY,
    Tables,
    execute,
    installation_on,
    published,
    recommended,
    rows_of,
)

FIRST = SUNDAY - timedelta(days=1)


def change_platform(url: URL) -> None:
    """Change the platform so that a run restates figures of most students."""
    execute(url, "UPDATE user_lesson_progress SET time_spent_minutes = coalesce(time_spent_minutes, 0) + 7")


def on_cluster(url: URL, address: str | None, **settings: object) -> AbstractContextManager[Installation]:
    """Open an installation that computes on a cluster; on local threads for None."""
    return installation_on(url, dask_scheduler=address, **settings)


def comparable_rows(installation: Installation) -> Tables:
    """Return all published rows and restatements, without times and reasons of the restatements."""
    store = installation.store
    restatements = rows_of(installation, store.snapshot_restatements)[store.snapshot_restatements.name]
    restatements = restatements.drop_columns(["restated_at", "reason"]).sort_by(
        [(name, "ascending") for name in ("user_id", "snapshot_date", "column_name")]
    )
    return {**published(installation), **recommended(installation), store.snapshot_restatements.name: restatements}


def run(url: URL, address: str | None, progress: ProgressListener = ignore_progress, **settings: object) -> SnapshotRun:
    """Run the two days on a cluster."""
    with on_cluster(url, address, **settings) as installation:
        return run_days(installation, FIRST, SUNDAY, "on dask", progress)


@contextmanager
def running(url: URL, address: str, **settings: object) -> Iterator[Future[SnapshotRun]]:
    """Run the two days in a thread, which has ended after the `with` block.

    Its sessions wait for a locked table as long as the tests do: with the default they would give up on a busy machine.
    """
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(run, url, address, **{"lock_timeout_seconds": TIMEOUT_SECONDS, **settings})


class TableLock:
    """A locked table; calling it waits until enough sessions wait for the lock."""

    def __init__(self, table: str, count: int, holder: Connection, monitor: Connection) -> None:
        self._table, self._count, self._monitor = table, count, monitor
        self.release = holder.rollback

    def __call__(self) -> None:
        """Wait until `count` sessions wait for the table."""
        wait_for(self._have_arrived, f"{self._count} sessions wait for {self._table}", TIMEOUT_SECONDS)

    def _have_arrived(self) -> bool:
        waiting = text("SELECT count(*) FROM pg_locks WHERE relation = to_regclass(:name) AND NOT granted")
        waiting_sessions = self._monitor.execute(waiting, {"name": self._table}).scalar_one()
        self._monitor.rollback()
        return bool(waiting_sessions >= self._count)


@contextmanager
def locked_table(url: URL, table: str, count: int) -> Iterator[TableLock]:
    """Lock a table until the end of the block; the yielded lock waits until `count` sessions wait for it."""
    with session(url) as holder, session(url) as monitor:
        holder.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        yield TableLock(table, count, holder, monitor)


def busy_worker(cluster: Cluster, *names: str) -> str:
    """Wait until one of the workers computes a batch; return its name."""
    return str(
        wait_for(
            lambda: next((name for name in names if cluster.processing().get(name)), None),
            "a worker is busy",
            TIMEOUT_SECONDS,
        )
    )


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow batches of a few dozen students, because the sample has only 300."""
    monkeypatch.setattr(batches, "MIN_STUDENTS", 20)

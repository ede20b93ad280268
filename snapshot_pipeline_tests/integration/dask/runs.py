"""A run on a cluster in small batches, what it leaves, and how it is held in the middle of a batch.

Put here: what the tests of a cluster share. Do not put here: the cluster (`clusters`), or what is expected.
"""

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
from snapshot_pipeline_tests.integration.dask.clusters import PATIENCE, Cluster
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

BATCHES = 8
"""How many there are: four for each of two threads, as the students are few."""


def restated_url(url: URL) -> None:
    """Change the platform, so that a run has something to restate for most students."""
    execute(url, "UPDATE user_lesson_progress SET time_spent_minutes = coalesce(time_spent_minutes, 0) + 7")


def on_cluster(url: URL, address: str | None, **settings: object) -> AbstractContextManager[Installation]:
    """An installation whose batches are worked on by a cluster; by threads for None."""
    return installation_on(url, dask_scheduler=address, **settings)


def left_by(installation: Installation) -> Tables:
    """All that is published, and all that was restated, but for who did it and when."""
    store = installation.store
    noted = rows_of(installation, store.snapshot_restatements)[store.snapshot_restatements.name]
    noted = noted.drop_columns(["restated_at", "reason"]).sort_by(
        [(name, "ascending") for name in ("user_id", "snapshot_date", "column_name")]
    )
    return {**published(installation), **recommended(installation), store.snapshot_restatements.name: noted}


def run(url: URL, address: str | None, progress: ProgressListener = ignore_progress, **settings: object) -> SnapshotRun:
    """A run over the two days on a cluster."""
    with on_cluster(url, address, **settings) as installation:
        return run_days(installation, FIRST, SUNDAY, "on dask", progress)


@contextmanager
def running(url: URL, address: str, **settings: object) -> Iterator[Future[SnapshotRun]]:
    """The same in a thread, which has ended when this is left."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(run, url, address, **settings)


class Held:
    """A table that whoever comes to it has to wait for."""

    def __init__(self, table: str, count: int, holder: Connection, watching: Connection) -> None:
        self._table, self._count, self._watching = table, count, watching
        self.release = holder.rollback

    def __call__(self) -> None:
        """Wait until as many sessions as were asked for have come."""
        wait_for(self._have_arrived, f"{self._count} sessions wait for {self._table}", PATIENCE)

    def _have_arrived(self) -> bool:
        waiting = text("SELECT count(*) FROM pg_locks WHERE relation = to_regclass(:name) AND NOT granted")
        found = self._watching.execute(waiting, {"name": self._table}).scalar_one()
        self._watching.rollback()
        return bool(found >= self._count)


@contextmanager
def held_in_work(url: URL, table: str, count: int) -> Iterator[Held]:
    """Hold whoever comes to a table; what is yielded waits until `count` sessions have."""
    with session(url) as holder, session(url) as watching:
        holder.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        yield Held(table, count, holder, watching)


def busy_worker(cluster: Cluster, *names: str) -> str:
    """One of the workers that has a batch in hand."""
    return str(
        wait_for(
            lambda: next((name for name in names if cluster.processing().get(name)), None), "one is busy", PATIENCE
        )
    )


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of a few dozen students: the sample has 300."""
    monkeypatch.setattr(batches, "MIN_STUDENTS", 20)

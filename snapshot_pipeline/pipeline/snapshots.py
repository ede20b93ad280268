"""A range of days, from the platform's rows to published snapshots.

    students, progress, attempts, exercises ──▶ StudentHistory ──▶ compute_snapshots ──▶ replace_snapshots
         (platform.reads, one read session)        (metrics, pure)        (store, one transaction)

Put here: the order of these steps, and the counts that a run reports. Do not put here: any of the steps themselves.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone

import adbc_driver_postgresql.dbapi as adbc
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snapshot_pipeline.metrics.days import LocalDays, end_of_day
from snapshot_pipeline.metrics.history import StudentHistory
from snapshot_pipeline.metrics.issues import UNEXPECTED_ERROR
from snapshot_pipeline.metrics.quiz_average import ATTEMPTS
from snapshot_pipeline.metrics.snapshot import SnapshotBatch, compute_snapshots
from snapshot_pipeline.pipeline.batches import (
    Batch,
    ProgressListener,
    cells_per_student,
    ignore_progress,
    one_line,
    progress_per_batch,
    sample_of,
)
from snapshot_pipeline.pipeline.day_reports import DayReport, reports_of
from snapshot_pipeline.pipeline.executors import open_executor
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.late_data import day_fingerprints
from snapshot_pipeline.pipeline.reasons import BY_HAND
from snapshot_pipeline.pipeline.source import Source, open_source
from snapshot_pipeline.platform.reads import PlatformReader, Users
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.postgres.errors import is_transient, retry_transient, sqlstate
from snapshot_pipeline.store.days import record_days
from snapshot_pipeline.store.failures import delete_failures_of_inactive_students
from snapshot_pipeline.store.locks import RunLease, exclusive_days
from snapshot_pipeline.store.months import ensure_partitions, has_snapshots, refresh_statistics
from snapshot_pipeline.store.snapshots import Publication, PublicationScope, replace_snapshots
from snapshot_pipeline.store.tables import StoreTables

_LOG = logging.getLogger(__name__)

_UNIQUE_VIOLATION = "23505"


@dataclass(frozen=True)
class SnapshotRun:
    """What a run over a range of days came to.

    Attributes:
        reports: One per day, ascending.
        seconds: Wall time.
        students: The active students of the platform, those who have not started yet included.
    """

    reports: list[DayReport]
    seconds: float
    students: int = 0


def run_days(
    installation: Installation,
    first: date,
    last: date,
    run_id: str,
    progress: ProgressListener = ignore_progress,
    reason: str = BY_HAND,
) -> SnapshotRun:
    """Compute and publish the snapshots of all active students for the days `first … last`, both included.

    Args:
        installation: Where.
        first: The first day.
        last: The last day.
        run_id: Noted with each day, and shown to a run that has to wait for this one.
        progress: Told how many batches are published.
        reason: Why, noted with each figure that is restated; one of `pipeline.reasons`.

    Raises:
        SnapshotPipelineError: Something the operator can mend: a table is missing, another run holds the days.
    """
    began = time.monotonic()
    settings = installation.settings
    computed_at = datetime.now(timezone.utc)
    days = LocalDays(first, last, settings.zone)
    reports = {day: DayReport(day) for day in (first + timedelta(days=n) for n in range(days.count))}
    source = open_source(installation, days.end)
    holder, patience = f"run {run_id}", settings.run_lock_seconds
    with (
        exclusive_days(installation.engine, settings.store_schema, first, last, holder, patience) as lock,
        open_executor(settings) as place,
    ):
        retry_transient(lambda: ensure_partitions(installation.engine, installation.store, first, last))
        is_first = retry_transient(lambda: _has_none(installation, first, last))
        seen = retry_transient(lambda: _look_around(source, days, place.local_executor))
        work = SnapshotWork(installation.uri, seen.source, lock.lease, days, computed_at, run_id, reason, is_first)
        batches = place.cut(seen.user_ids, seen.weight)
        told = progress_per_batch(progress, batches, days.count)
        for batch_reports in place.map_batches(batches, work, lock.check_lock, told):
            for report in batch_reports:
                reports[report.day].add(report)
        fingerprints = seen.fingerprints.result()

        def record() -> None:
            lock.check_lock()
            with installation.engine.begin() as connection:
                lock.lease.check(connection)
                counts = [report.count for report in reports.values()]
                delete_failures_of_inactive_students(connection, installation.store, seen.user_ids, first, last)
                record_days(connection, installation.store, counts, computed_at, run_id, fingerprints)

        retry_transient(record)
    return SnapshotRun(list(reports.values()), time.monotonic() - began, len(seen.user_ids))


def _has_none(installation: Installation, first: date, last: date) -> bool:
    """Whether the days have no snapshot yet; where they have, the server is made to know of them."""
    if not has_snapshots(installation.engine, installation.store, first, last):
        return True
    refresh_statistics(installation.engine, installation.store, first, last)
    return False


@dataclass(frozen=True)
class _Seen:
    """What a run has to know of the platform before its first batch.

    Attributes:
        user_ids: The active students, int64, ascending, shape (students,).
        weight: What each of them weighs in the budget of a batch.
        fingerprints: What the rows of each day look like, as soon as that is known.
        source: The platform, in no earlier state than this.
    """

    user_ids: NDArray[np.int64]
    weight: int
    fingerprints: Future[Mapping[date, str | None]]
    source: Source


def _look_around(source: Source, days: LocalDays, pool: Executor) -> _Seen:
    """Look at the platform in one session; the fingerprints of the days are taken beside the first batches.

    Both belong to one session, whose state of the platform is older than that of any batch: rows that change in between
    are seen by a later look, never missed. A session that is lost cannot be had again, and leaves no fingerprints: the
    next look for late data asks for these days once more.
    """
    with ExitStack() as opened:
        reader = opened.enter_context(source.session())
        user_ids = reader.active_student_ids()  # the first question fixes what the session sees
        weight = weight_of(reader, user_ids, days)
        later = source.not_before(reader)
        session = opened.pop_all()

    def fingerprints() -> Mapping[date, str | None]:
        try:
            with session:
                return day_fingerprints(reader, days.first, days.last, days.zone)
        except Exception as error:
            if not is_transient(error):
                raise
            _LOG.warning(
                "the session that takes the fingerprints was lost (SQLSTATE %s); the next look for late data asks for "
                "these days again",
                sqlstate(error) or "unknown",
            )
            return dict.fromkeys(days.first + timedelta(days=n) for n in range(days.count))

    return _Seen(user_ids, weight, pool.submit(fingerprints), later)


def weight_of(reader: PlatformReader, user_ids: NDArray[np.int64], days: LocalDays) -> int:
    """What a student weighs in the budget of a batch of snapshots, by how many events one has around the days."""
    return cells_per_student(days.count, reader.events_per_student(sample_of(user_ids), days.window_start, days.end))


@dataclass(frozen=True)
class ComputedBatch:
    """What was computed for whom.

    Attributes:
        user_ids: int64, ascending, shape (students,).
        snapshots: What their days came to.
    """

    user_ids: NDArray[np.int64]
    snapshots: SnapshotBatch


@dataclass(frozen=True)
class SnapshotWork:
    """Reads, computes and publishes the days of one batch; picklable.

    Attributes:
        uri: The database of our tables, as libpq wants it; never shown.
        source: Where the platform is read.
        lease: What each publication has to pass.
        days: The days to compute.
        computed_at: What the rows are stamped with.
        run_id: The run that computes.
        reason: Why it does.
        is_first: Whether no day of these had a snapshot when the run began.
    """

    uri: str = field(repr=False)
    source: Source
    lease: RunLease
    days: LocalDays
    computed_at: datetime
    run_id: str
    reason: str
    is_first: bool = False

    @property
    def name(self) -> str:
        """What it is, for whoever watches."""
        return f"snapshots {self.days.first}\u2026{self.days.last}"

    def __call__(self, batch: Batch) -> list[DayReport]:
        """Publish the batch, in one transaction."""
        return self._publish(self.compute(batch))

    def fail(self, batch: Batch, error: Exception) -> list[DayReport]:
        """Publish nothing for a student that raises, and note why, for every day on which a snapshot is due."""
        return self._publish(self.failure(batch, error))

    def compute(self, batch: Batch) -> ComputedBatch:
        """Read and compute the batch; nothing is written."""
        with self.source.session() as reader:
            history = read_history(reader, self._users(batch), self.days)
        user_ids = np.sort(history.students["user_id"].to_numpy(np.int64))
        return ComputedBatch(user_ids, compute_snapshots(history, self.days))

    def failure(self, batch: Batch, error: Exception) -> ComputedBatch:
        """What is to be noted for a student whose computation raised; nothing is written."""
        with self.source.session() as reader:
            students = reader.students(self._users(batch))
        first_start = students["first_started_at"].min()
        due = [day for day in self.days.dates if first_start < end_of_day(day.item(), self.days.zone)]
        failures = pd.DataFrame(
            {
                "user_id": np.repeat(batch.user_ids, len(due)),
                "snapshot_date": np.array(due, dtype="datetime64[s]"),
                "reason": UNEXPECTED_ERROR,
                "detail": one_line(error),
            }
        )
        nothing = compute_snapshots(_no_history(), self.days).published
        return ComputedBatch(batch.user_ids, SnapshotBatch(nothing, failures))

    def _users(self, batch: Batch) -> Users:
        return batch.range

    def _publish(self, batch: ComputedBatch) -> list[DayReport]:
        if self.is_first:
            try:
                return self._publish_as(batch, is_first=True)
            except adbc.Error as error:
                # The batch was published before, and only the answer to its commit was lost.
                if error.sqlstate != _UNIQUE_VIOLATION:
                    raise
        return self._publish_as(batch, is_first=False)

    def _publish_as(self, batch: ComputedBatch, *, is_first: bool) -> list[DayReport]:
        computed = PublicationScope(
            batch.user_ids, self.days.first, self.days.last, self.computed_at, self.run_id, self.reason, is_first
        )
        snapshots = batch.snapshots
        with bulk.transaction(self.uri) as connection:
            self.lease.check(connection)
            tables = StoreTables.of(self.lease.schema)
            publication = replace_snapshots(connection, tables, computed, snapshots.published, snapshots.failures)
            self._published(connection, tables, publication)
        return list(reports_of(snapshots, publication, self.days))

    def _published(self, connection: adbc.Connection, tables: StoreTables, publication: Publication) -> None:
        """What else belongs to the transaction; nothing, where the days are recorded as a whole afterwards."""


def read_history(reader: PlatformReader, users: Users, days: LocalDays) -> StudentHistory:
    """Read what the days need of a batch of students, in a handful of queries.

    Args:
        reader: An open read session, so that all frames belong to one state of the platform.
        users: The batch.
        days: The days to compute.
    """
    students = reader.students(users)
    user_ids = np.sort(students["user_id"].to_numpy(np.int64))
    progress = _of(user_ids, reader.progress(users, days.window_start, days.end))
    exercises = _of(user_ids, reader.exercises(users, days.window_start, days.end))
    recent = _of(user_ids, reader.attempts(users, days.window_start, days.end))
    first_end = end_of_day(days.first, days.zone)
    wanted = _attempts_wanted(user_ids, recent, first_end)
    older = reader.last_scored_attempts(user_ids[wanted > 0].tolist(), wanted[wanted > 0].tolist(), days.window_start)
    attempts = pd.concat([recent, older], ignore_index=True)
    begun = students.loc[students["first_started_at"] < days.end, "user_id"]
    # Whoever did something by the first day, within the window, has a last activity; only the others are looked up.
    seen = [
        frame.loc[frame[column].between(days.window_start, first_end, inclusive="left"), "user_id"]
        for frame, column in (
            (progress, "started_at"),
            (progress, "completed_at"),
            (attempts, "completed_at"),
            (exercises, "created_at"),
        )
    ]
    quiet = begun[~begun.isin(pd.concat(seen))]
    activity = reader.last_activity(quiet.tolist(), days.window_start)
    last_activity = activity.set_index("user_id")["last_activity_at"].reindex(students["user_id"])
    return StudentHistory(
        students=pd.DataFrame(
            {
                "user_id": students["user_id"],
                "first_started_at": students["first_started_at"],
                "last_activity_before": last_activity.reset_index(drop=True),
            }
        ),
        progress=progress,
        attempts=attempts,
        exercises=exercises,
    )


def _attempts_wanted(user_ids: NDArray[np.int64], recent: pd.DataFrame, first_end: datetime) -> NDArray[np.int64]:
    """How many attempts of before the window the average of the first day needs, by student; int64, shape (students,).

    The later days need no more: each takes the newest ten, and there is none newer before the window.
    """
    counted = recent.loc[recent["is_scored"] & (recent["completed_at"] < first_end), "user_id"].to_numpy(np.int64)
    known = np.bincount(np.searchsorted(user_ids, counted), minlength=len(user_ids))
    return np.maximum(ATTEMPTS - known, 0)


def _of(user_ids: NDArray[np.int64], frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the students given; those of teachers and of inactive students lie in the same range of ids."""
    return frame[np.isin(frame["user_id"].to_numpy(np.int64), user_ids)]


def _no_history() -> StudentHistory:
    ids = np.zeros(0, dtype=np.int64)
    instants = pd.DatetimeIndex([], dtype="datetime64[us, UTC]")
    progress = {"user_id": ids, "lesson_id": ids, "started_at": instants, "completed_at": instants}
    attempts = {"user_id": ids, "attempt_id": ids, "completed_at": instants, "score": np.zeros(0)}
    return StudentHistory(
        students=pd.DataFrame({"user_id": ids, "first_started_at": instants, "last_activity_before": instants}),
        progress=pd.DataFrame({**progress, "time_spent_minutes": ids}),
        attempts=pd.DataFrame({**attempts, "is_scored": np.zeros(0, dtype=bool)}),
        exercises=pd.DataFrame({"user_id": ids, "created_at": instants}),
    )

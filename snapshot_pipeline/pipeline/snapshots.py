"""Compute and publish a range of days.

students, progress, attempts, exercises ──▶ StudentHistory ──▶ compute_snapshots ──▶ replace_snapshots
(platform.reads, one read session)        (metrics, pure)        (store, one transaction)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

import adbc_driver_postgresql.dbapi as adbc
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import Connection

from snapshot_pipeline.metrics.days import LocalDays, end_of_day
from snapshot_pipeline.metrics.snapshot import UNEXPECTED_ERROR, SnapshotBatch, compute_snapshots
from snapshot_pipeline.pipeline.batches import (
    Batch,
    ProgressListener,
    ignore_progress,
    memory_per_student,
    one_line,
    open_executor,
    progress_per_batch,
    sample_students,
)
from snapshot_pipeline.pipeline.day_reports import DayReport, batch_reports
from snapshot_pipeline.pipeline.history import ListedRows, empty_history, read_history
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.late_data import day_states
from snapshot_pipeline.pipeline.outdated import computed_with
from snapshot_pipeline.pipeline.reasons import BY_HAND
from snapshot_pipeline.pipeline.source import Source, open_source
from snapshot_pipeline.pipeline.student_drop import refuse_student_drop
from snapshot_pipeline.platform.reads import PlatformReader, Users, UserSet
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.postgres.errors import is_transient, retry_transient, sqlstate
from snapshot_pipeline.store.days import DayCount, RecordedRun, begun_run, record_days, update_counts
from snapshot_pipeline.store.failures import delete_failures_of_inactive_students
from snapshot_pipeline.store.issues import (
    IssueCount,
    delete_issues_of_inactive_students,
    issues_by_day,
    listed_issues,
    no_listed_issues,
    replace_issues,
    students_with_issues,
)
from snapshot_pipeline.store.locks import RunLease
from snapshot_pipeline.store.months import ensure_partitions, has_snapshots, refresh_statistics
from snapshot_pipeline.store.snapshots import PublicationScope, replace_snapshots
from snapshot_pipeline.store.source_states import SourceState
from snapshot_pipeline.store.tables import StoreTables

_LOG = logging.getLogger(__name__)

_UNIQUE_VIOLATION = "23505"


@dataclass(frozen=True)
class SnapshotRun:
    """The result of a run.

    Attributes:
        reports: One per day, ascending.
        students: Number of active students of the platform, including those who have not started yet.
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
    *,
    allow_student_drop: bool = False,
) -> SnapshotRun:
    """Compute and publish the snapshots of all active students for the days `first … last`, both included.

    Args:
        run_id: Recorded with each day, and shown to runs that wait for this one.
        reason: Why, recorded with each restatement; one of `pipeline.reasons`.
    """
    started = time.monotonic()
    days = LocalDays(first, last, installation.settings.zone)
    reports = {day: DayReport(day) for day in (first + timedelta(days=n) for n in range(days.count))}
    source = open_source(installation, days.end)
    computed_at = source.rules.moment
    with (
        installation.lock_days(first, last, f"run {run_id}") as lock,
        open_executor(installation.settings) as executor,
    ):
        retry_transient(ensure_partitions, installation.engine, installation.store, first, last)
        is_first = retry_transient(_prepare_tables, installation, first, last)
        overview = retry_transient(_read_overview, source, days, executor.local_executor)
        run = installation.leased_transaction(
            lock, begun_run, lock.lease.token, computed_at, run_id, computed_with(installation.settings)
        )
        if not is_first and not allow_student_drop:
            refuse_student_drop(installation, overview.source, days)
        work = SnapshotWork(installation.uri, overview.source, lock.lease, days, computed_at, run_id, reason, is_first)
        batches = executor.split(overview.user_ids, overview.memory_per_student)
        batch_done = progress_per_batch(progress, batches, days.count)
        for batch in executor.map_batches(batches, work, lock.check_lock, batch_done):
            for report in batch:
                reports[report.day].add(report)
        issues = installation.leased_transaction(
            lock,
            _record,
            run,
            overview.user_ids,
            [report.count for report in reports.values()],
            overview.states.result(),
        )
    for day, report in reports.items():
        report.with_issues, report.issues = issues[0].get(day, 0), issues[1].get(day, ())
    return SnapshotRun(list(reports.values()), time.monotonic() - started, len(overview.user_ids))


def _prepare_tables(installation: Installation, first: date, last: date) -> bool:
    """Refresh the statistics of days that have snapshots; returns whether none has."""
    if not has_snapshots(installation.engine, installation.store, first, last):
        return True
    refresh_statistics(installation.engine, installation.store, first, last)
    return False


def _record(
    connection: Connection,
    tables: StoreTables,
    run: RecordedRun,
    user_ids: NDArray[np.int64],
    counts: Sequence[DayCount],
    states: Mapping[date, SourceState],
) -> tuple[dict[date, int], dict[date, tuple[IssueCount, ...]]]:
    """Record the days; returns by day how many students have an issue, and the issues."""
    first, last = counts[0].day, counts[-1].day
    delete_failures_of_inactive_students(connection, tables, user_ids, first, last)
    delete_issues_of_inactive_students(connection, tables, user_ids)
    with_issues = students_with_issues(connection, tables, first, last)
    counts = [replace(count, with_issues=with_issues.get(count.day, 0)) for count in counts]
    record_days(connection, tables, run, counts, states)
    return with_issues, issues_by_day(connection, tables, first, last)


@dataclass(frozen=True)
class PlatformOverview:
    """What a run reads of the platform before its first batch.

    Attributes:
        user_ids: The active students, int64, ascending, shape (students,).
        memory_per_student: In rows; see `batches.memory_per_student`.
        states: Each day's source rows, when they are known.
        source: The platform, in no older state than this.
    """

    user_ids: NDArray[np.int64]
    memory_per_student: int
    states: Future[Mapping[date, SourceState]]
    source: Source


def _read_overview(source: Source, days: LocalDays, pool: Executor) -> PlatformOverview:
    """Read the overview in one session; the fingerprints are computed during the first batches.

    The session's snapshot of the platform is older than that of any batch: rows that change in between are found by a
    later scan, never missed. If the session is lost, the days have no fingerprints, and the next scan for late data
    requests them again.
    """
    with ExitStack() as stack:
        reader = stack.enter_context(source.session())
        user_ids = reader.active_student_ids()  # the first query fixes the session's snapshot
        memory = estimate_memory(reader, user_ids, days)
        later_source = source.not_before(reader)
        session = stack.pop_all()

    def states() -> Mapping[date, SourceState]:
        try:
            with session:
                return day_states(reader, days.first, days.last, days.zone)
        except Exception as error:
            if not is_transient(error):
                raise
            _LOG.warning(
                "the session that computes the fingerprints was lost (SQLSTATE %s); the next scan for late data "
                "requests these days again",
                sqlstate(error) or "unknown",
            )
            return dict.fromkeys((days.first + timedelta(days=n) for n in range(days.count)), SourceState())

    return PlatformOverview(user_ids, memory, pool.submit(states), later_source)


def estimate_memory(reader: PlatformReader, user_ids: NDArray[np.int64], days: LocalDays) -> int:
    """Memory that a student takes in a batch, in rows, estimated from a sample; see `memory_per_student`."""
    events = reader.events_per_student(sample_students(user_ids), days.window_start, days.end)
    return memory_per_student(days.count, events)


@dataclass(frozen=True)
class ComputedBatch:
    """The snapshots of some students.

    Attributes:
        user_ids: int64, ascending, shape (students,).
        not_started: Those of them who have no lesson, int64, ascending.
        listed: The issues of an earlier run whose rows were read again; see `store.issues.listed_issues`.
    """

    user_ids: NDArray[np.int64]
    not_started: NDArray[np.int64]
    snapshots: SnapshotBatch
    listed: pd.DataFrame


@dataclass(frozen=True)
class SnapshotWork:
    """Reads, computes and publishes the days of one batch; picklable.

    Attributes:
        uri: The database of our tables as a libpq URI; never shown.
        lease: Checked by each publication.
        computed_at: Time of the computation, written to the rows.
        is_first: Whether none of the days had a snapshot when the run began.
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
        """Name for dashboards and errors."""
        return f"snapshots {self.days.first}\u2026{self.days.last}"

    def __call__(self, batch: Batch) -> list[DayReport]:
        """Compute the batch and publish it, in one transaction."""
        return self._publish(self.compute(batch))

    def fail(self, batch: Batch, error: Exception) -> list[DayReport]:
        """Record a failure of a student for every day on which a snapshot is due."""
        return self._publish(self.failure(batch, error))

    def compute(self, batch: Batch) -> ComputedBatch:
        """Read and compute the batch; writes nothing."""
        with bulk.transaction(self.uri) as connection:
            listed = listed_issues(connection, StoreTables.of(self.lease.schema), batch.user_ids)
        with self.source.session() as reader:
            history = read_history(reader, self._users(batch), self.days, ListedRows.of(listed))
        return _computed(history.students, compute_snapshots(history, self.days), listed)

    def failure(self, batch: Batch, error: Exception) -> ComputedBatch:
        """The failures of a student whose computation raised; writes nothing."""
        with self.source.session() as reader:
            students = reader.students(self._users(batch), self.days.start)
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
        nothing = compute_snapshots(empty_history(), self.days)
        return _computed(students, replace(nothing, failures=failures), no_listed_issues())

    def _users(self, batch: Batch) -> Users:
        return batch.range

    def _publish(self, batch: ComputedBatch) -> list[DayReport]:
        if self.is_first:
            try:
                return self._replace(batch, is_first=True)
            except adbc.Error as error:
                # The batch was published before, and only the answer to its commit was lost.
                if error.sqlstate != _UNIQUE_VIOLATION:
                    raise
        return self._replace(batch, is_first=False)

    def _replace(self, batch: ComputedBatch, *, is_first: bool) -> list[DayReport]:
        scope = PublicationScope(
            batch.user_ids,
            self.days.first,
            self.days.last,
            self.computed_at,
            self.run_id,
            self.reason,
            is_first,
            batch.not_started,
        )
        snapshots = batch.snapshots
        with bulk.transaction(self.uri) as connection:
            self.lease.check(connection)
            tables = StoreTables.of(self.lease.schema)
            publication = replace_snapshots(connection, tables, scope, snapshots.published, snapshots.failures)
            replace_issues(connection, tables, batch.listed, snapshots.issues, self.computed_at)
            update_counts(connection, tables, self.days.first, publication)
        return list(batch_reports(snapshots, publication, self.days))


class SelectedStudentsWork(SnapshotWork):
    """As `SnapshotWork`, for students with arbitrary ids."""

    def _users(self, batch: Batch) -> Users:
        return UserSet(tuple(batch.user_ids.tolist()))


def _computed(students: pd.DataFrame, snapshots: SnapshotBatch, listed: pd.DataFrame) -> ComputedBatch:
    students = students.sort_values("user_id")
    user_ids = students["user_id"].to_numpy(np.int64)
    return ComputedBatch(user_ids, user_ids[students["first_started_at"].isna()], snapshots, listed)

"""Compute only the failed student-days again, and rank the cohorts of the students that this publishes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from snapshot_pipeline.metrics.days import LocalDays, contiguous_ranges
from snapshot_pipeline.pipeline.batches import (
    Progress,
    ProgressListener,
    ignore_progress,
    memory_per_student,
    open_local_executor,
    sample_students,
)
from snapshot_pipeline.pipeline.day_reports import DayReport, read_report
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.ranking import events_to_rank, publish_engagement
from snapshot_pipeline.pipeline.reasons import RETRY
from snapshot_pipeline.pipeline.snapshot_work import SelectedStudentsWork
from snapshot_pipeline.pipeline.source import Source, open_source
from snapshot_pipeline.postgres.errors import retry_transient
from snapshot_pipeline.store.failures import (
    delete_failures_of_inactive_students,
    failing_students,
    recount_failures,
)
from snapshot_pipeline.store.issues import recount_students_with_issues
from snapshot_pipeline.store.months import ensure_partitions
from snapshot_pipeline.store.tables import StoreTables


@dataclass(frozen=True)
class FailedRange:
    """The days `first … last`, on each of which the same students failed."""

    first: date
    last: date
    user_ids: tuple[int, ...]


@dataclass
class RetriedDay:
    """A day whose failed students were computed again.

    Attributes:
        report: All students of the day; None for a day that was never computed as a whole.
        retried: Number of students computed again.
        deleted_failures: Of students who are no longer active.
        restated: Number of published figures that changed.
    """

    day: date
    report: DayReport | None = None
    retried: int = 0
    deleted_failures: int = 0
    restated: int = 0


@dataclass(frozen=True)
class RetryRun:
    """The result of a retry: the days that had a failure, ascending, and the wall time."""

    days: list[RetriedDay] = field(default_factory=list)
    seconds: float = 0.0


def retry_failed(
    installation: Installation,
    first: date | None,
    last: date | None,
    run_id: str,
    progress: ProgressListener = ignore_progress,
) -> RetryRun:
    """Compute the students with an open failure again, for the days on which they failed.

    The counts of the days are updated with each batch, in its transaction, so they are right even if the run is
    interrupted. The fingerprints of the days do not change, since the other students were not computed.

    Args:
        first: The first day; None for the oldest open failure.
        last: The last day, included; None for the newest.
        run_id: Recorded with restatements, and shown to runs that wait for this one.
    """
    started = time.monotonic()
    failing = installation.transaction(failing_students, first, last)
    days = {day: RetriedDay(day) for day in failing}
    counter = _Counter(progress, sum(map(len, failing.values())))
    counter.set(0)
    for start, end in contiguous_ranges(list(failing)):
        before = counter.count
        _retry_range(installation, start, end, days, run_id, counter)
        # Includes failures that another run has resolved meanwhile.
        counter.set(before + sum(len(users) for day, users in failing.items() if start <= day <= end))
    for day, retried in days.items():
        retried.report = installation.transaction(read_report, day, retried.restated)
    return RetryRun(list(days.values()), time.monotonic() - started)


@dataclass
class _Counter:
    """Counts the computed student-days and reports them."""

    listener: ProgressListener
    total: int
    count: int = 0

    def set(self, count: int) -> None:
        self.count = min(count, self.total)
        self.listener(Progress(self.count, self.total, "failures", self.count, self.total))


def failed_ranges(failing: Mapping[date, tuple[int, ...]]) -> list[FailedRange]:
    """Join consecutive days on which the same students failed, so that each range is computed at once."""
    ranges: list[FailedRange] = []
    for user_ids, days in groupby(sorted(failing), key=failing.__getitem__):
        ranges += [FailedRange(first, last, user_ids) for first, last in contiguous_ranges(list(days))]
    return ranges


def _retry_range(
    installation: Installation,
    first: date,
    last: date,
    days: dict[date, RetriedDay],
    run_id: str,
    counter: _Counter,
) -> None:
    zone = installation.settings.zone
    all_days = LocalDays(first, last, zone)
    source = open_source(installation, all_days.end)
    with (
        installation.lock_days(first, last, f"run {run_id}") as lock,
        open_local_executor(installation.settings) as executor,
    ):
        retry_transient(ensure_partitions, installation.engine, installation.store, first, last)
        active, events = retry_transient(_read_active_students, source, all_days)
        deleted = installation.leased_transaction(lock, _delete_failures, active, first, last)
        for day, count in deleted.items():
            days.setdefault(day, RetriedDay(day)).deleted_failures += count
        # Read again, because another run may have resolved some before the days were locked.
        for failed in failed_ranges(installation.transaction(failing_students, first, last)):
            local_days = LocalDays(failed.first, failed.last, zone)
            moment = source.rules.moment
            work = SelectedStudentsWork(installation.uri, source, lock.lease, local_days, moment, run_id, RETRY)
            user_ids = np.array(failed.user_ids, dtype=np.int64)
            batches = executor.split(user_ids, memory_per_student(local_days.count, events))
            published = 0
            for reports in executor.map_batches(batches, work, lock.check_lock):
                for report in reports:
                    retried = days.setdefault(report.day, RetriedDay(report.day))
                    retried.retried += report.count.students
                    retried.restated += report.restated
                    published += report.published
            if published:
                members, events_of_member = retry_transient(_read_cohort_members, source, user_ids, local_days)
                for _ in publish_engagement(executor, work, members, events_of_member, lock.check_lock):
                    pass
            counter.set(counter.count + len(failed.user_ids) * local_days.count)
        installation.leased_transaction(lock, recount_students_with_issues, first, last)


def _read_active_students(source: Source, days: LocalDays) -> tuple[NDArray[np.int64], float]:
    """The active students, and the mean number of events of one."""
    with source.session() as reader:
        active = reader.active_student_ids()
        return active, reader.events_per_student(sample_students(active), days.window_start, days.end)


def _read_cohort_members(
    source: Source, user_ids: NDArray[np.int64], days: LocalDays
) -> tuple[NDArray[np.int64], float]:
    """The active students of the cohorts of some students, and the mean number of events of one."""
    key = ["specialization", "level"]
    with source.session() as reader:
        active = reader.active_student_ids()
        users = reader.cohorts().astype(dict.fromkeys(key, object)).dropna(subset=key)
        users = users[users["user_id"].isin(active)]
        cohorts = users.loc[users["user_id"].isin(user_ids), key].drop_duplicates()
        members = np.sort(users.merge(cohorts, on=key)["user_id"].to_numpy(np.int64))
        return members, events_to_rank(reader, members, days)


def _delete_failures(
    connection: Connection, tables: StoreTables, active: NDArray[np.int64], first: date, last: date
) -> dict[date, int]:
    deleted = delete_failures_of_inactive_students(connection, tables, active, first, last)
    if deleted:
        recount_failures(connection, tables, list(deleted))
    return deleted

"""Only the failed: the students' days that could not be computed, computed again.

Put here: who is computed again for which days, and what becomes of the counts of these days.
Do not put here: how a batch is computed (`pipeline.snapshots`), or whom it is shown to (`orchestration.retry_failed`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone

import adbc_driver_postgresql.dbapi as adbc
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from snapshot_pipeline.metrics.days import LocalDays, contiguous_ranges
from snapshot_pipeline.pipeline.batches import (
    Batch,
    Progress,
    ProgressListener,
    cells_per_student,
    ignore_progress,
    sample_of,
)
from snapshot_pipeline.pipeline.day_reports import EXAMPLES, DayReport
from snapshot_pipeline.pipeline.executors import open_local_executor
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.reasons import RETRY
from snapshot_pipeline.pipeline.snapshots import SnapshotWork
from snapshot_pipeline.pipeline.source import open_source
from snapshot_pipeline.platform.reads import Users, UserSet
from snapshot_pipeline.postgres.errors import retry_transient
from snapshot_pipeline.store.days import day_counts
from snapshot_pipeline.store.failures import (
    count_retried,
    delete_failures_of_inactive_students,
    failing_students,
    failures_by_reason,
    failures_of,
    recount_failures,
)
from snapshot_pipeline.store.locks import exclusive_days
from snapshot_pipeline.store.months import ensure_partitions
from snapshot_pipeline.store.snapshot_queries import day_totals, pace_counts
from snapshot_pipeline.store.snapshots import Publication
from snapshot_pipeline.store.tables import StoreTables


@dataclass(frozen=True)
class FailedRange:
    """Consecutive days on which the same students have failed.

    Attributes:
        first: The first day.
        last: The last day, included.
        user_ids: The students, ascending.
    """

    first: date
    last: date
    user_ids: tuple[int, ...]


@dataclass
class RetriedDay:
    """How a day stands after its failed students were computed again.

    Attributes:
        day: The day.
        report: All students of the day: published, and those still failing with their reasons; None for a day that
            was never computed as a whole.
        retried: Students computed again.
        forgotten: Failures of students who are not active any more, removed.
        restated: Figures published earlier that are others now.
    """

    day: date
    report: DayReport | None = None
    retried: int = 0
    forgotten: int = 0
    restated: int = 0


@dataclass(frozen=True)
class RetryRun:
    """What a retry came to.

    Attributes:
        days: One per day that had a failure, ascending.
        seconds: Wall time.
    """

    days: list[RetriedDay] = field(default_factory=list)
    seconds: float = 0.0


def retry_failed(
    installation: Installation,
    first: date | None,
    last: date | None,
    run_id: str,
    progress: ProgressListener = ignore_progress,
) -> RetryRun:
    """Compute the students with an open failure again, for the days on which they failed and no others.

    The days' counts move with each batch, in its transaction, so they are right wherever the run ends. What the rows
    of the whole day looked like is not noted: the other students were not computed.

    Args:
        installation: Where.
        first: The first day; None: from the oldest open failure.
        last: The last day, included; None: to the newest.
        run_id: Noted with what is restated, and shown to a run that has to wait for this one.
        progress: Told how many of the students' failed days are computed.

    Raises:
        SnapshotPipelineError: Something the operator can mend: a table is missing, another run holds the days.
    """
    began = time.monotonic()
    failing = retry_transient(lambda: _failing(installation, first, last))
    days = {day: RetriedDay(day) for day in failing}
    computed = _Computed(progress, sum(map(len, failing.values())))
    computed.tell(0)
    for start, end in contiguous_ranges(list(failing)):
        before = computed.count
        _retry_stretch(installation, start, end, days, run_id, computed)
        # Some may have been healed meanwhile: nothing is left of them to compute.
        computed.tell(before + sum(len(users) for day, users in failing.items() if start <= day <= end))
    with installation.engine.connect() as connection:
        for day, retried in days.items():
            retried.report = _report(installation, connection, day, retried.restated)
    return RetryRun(list(days.values()), time.monotonic() - began)


@dataclass
class _Computed:
    """How many of the students' failed days are computed; whoever watches is told."""

    progress: ProgressListener
    total: int
    count: int = 0

    def tell(self, count: int) -> None:
        self.count = min(count, self.total)
        self.progress(Progress(self.count, self.total, "failures", self.count, self.total))


def _failing(installation: Installation, first: date | None, last: date | None) -> dict[date, tuple[int, ...]]:
    with installation.engine.connect() as connection:
        return failing_students(connection, installation.store, first, last)


def failed_ranges(failing: Mapping[date, tuple[int, ...]]) -> list[FailedRange]:
    """Join consecutive days on which the same students have failed, so that each range is computed in one go."""
    joined: list[FailedRange] = []
    for day in sorted(failing):
        previous = joined[-1] if joined else None
        is_next = previous is not None and previous.last + timedelta(days=1) == day
        if previous is not None and is_next and previous.user_ids == failing[day]:
            joined[-1] = FailedRange(previous.first, day, previous.user_ids)
        else:
            joined.append(FailedRange(day, day, failing[day]))
    return joined


def _retry_stretch(
    installation: Installation,
    first: date,
    last: date,
    days: dict[date, RetriedDay],
    run_id: str,
    computed: _Computed,
) -> None:
    settings = installation.settings
    stretch = LocalDays(first, last, settings.zone)
    source = open_source(installation, stretch.end)
    owner, patience = f"run {run_id}", settings.run_lock_seconds
    with (
        exclusive_days(installation.engine, settings.store_schema, first, last, owner, patience) as lock,
        open_local_executor(settings) as place,
    ):
        retry_transient(lambda: ensure_partitions(installation.engine, installation.store, first, last))
        with source.session() as reader:
            active = reader.active_student_ids()
            events = reader.events_per_student(sample_of(active), stretch.window_start, stretch.end)
        with installation.engine.begin() as connection:
            lock.lease.check(connection)
            forgotten = delete_failures_of_inactive_students(connection, installation.store, active, first, last)
            if forgotten:
                recount_failures(connection, installation.store, list(forgotten))
            # Asked again: until the days were held, another run may have healed some.
            failing = failing_students(connection, installation.store, first, last)
        for day, count in forgotten.items():
            days.setdefault(day, RetriedDay(day)).forgotten += count
        for one in failed_ranges(failing):
            local_days = LocalDays(one.first, one.last, settings.zone)
            now = datetime.now(timezone.utc)
            work = RetryWork(installation.uri, source, lock.lease, local_days, now, run_id, RETRY)
            batches = place.cut(_ids(one.user_ids), cells_per_student(local_days.count, events))
            for reports in place.map_batches(batches, work, lock.check_lock):
                _add(reports, days)
            computed.tell(computed.count + len(one.user_ids) * local_days.count)


def _add(reports: Iterable[DayReport], days: dict[date, RetriedDay]) -> None:
    for report in reports:
        retried = days.setdefault(report.day, RetriedDay(report.day))
        retried.retried += report.count.students
        retried.restated += report.restated


class RetryWork(SnapshotWork):
    """Reads, computes and publishes a few students that may lie far apart, and moves the counts of their days."""

    def _users(self, batch: Batch) -> Users:
        return UserSet(tuple(batch.user_ids.tolist()))

    def _published(self, connection: adbc.Connection, tables: StoreTables, publication: Publication) -> None:
        count_retried(connection, tables, self.days.dates.astype(object).tolist(), publication)


def _ids(user_ids: Sequence[int]) -> NDArray[np.int64]:
    return np.array(user_ids, dtype=np.int64)


def _report(installation: Installation, connection: Connection, day: date, restated: int) -> DayReport | None:
    """A day as it stands in our tables; None where it was never recorded."""
    counts = day_counts(connection, installation.store, day, day)
    if not counts:
        return None
    reasons = failures_by_reason(connection, installation.store, day, day)
    examples = failures_of(connection, installation.store, day, EXAMPLES)
    totals = day_totals(connection, installation.store, day)
    return DayReport(
        day,
        published=counts[0].published,
        failures=Counter({one.reason: one.student_days for one in reasons}),
        examples=examples,
        first_failed={one.reason: one.first_student for one in reasons},
        active=totals.active,
        lessons=totals.lessons,
        minutes=totals.minutes,
        paces=pace_counts(connection, installation.store, day),
        quizzers=totals.students_with_average,
        quiz_total=totals.quiz_total,
        restated=restated,
    )

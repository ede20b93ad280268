"""Compute and publish a range of days.

compute each batch ──▶ rank the cohorts ──▶ publish each batch ──▶ record the days
(snapshot_work)        (ranking)            (snapshot_work)        (store, one transaction)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from snapshot_pipeline.metrics.days import LocalDays
from snapshot_pipeline.pipeline.batches import ProgressListener, ignore_progress, open_executor
from snapshot_pipeline.pipeline.day_reports import DayReport
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.late_data import day_states
from snapshot_pipeline.pipeline.outdated import computed_with
from snapshot_pipeline.pipeline.periods import days_between
from snapshot_pipeline.pipeline.ranking import events_to_rank, publish_ranked
from snapshot_pipeline.pipeline.reasons import BY_HAND
from snapshot_pipeline.pipeline.snapshot_work import SnapshotWork
from snapshot_pipeline.pipeline.source import Source, open_source
from snapshot_pipeline.pipeline.student_drop import refuse_student_drop
from snapshot_pipeline.postgres.errors import is_transient, retry_transient, sqlstate
from snapshot_pipeline.store.days import DayCount, RecordedRun, begun_run, record_days
from snapshot_pipeline.store.failures import delete_failures_of_inactive_students
from snapshot_pipeline.store.issues import (
    IssueCount,
    delete_issues_of_inactive_students,
    issues_by_day,
    students_with_issues,
)
from snapshot_pipeline.store.months import ensure_partitions, has_snapshots, refresh_statistics
from snapshot_pipeline.store.source_states import SourceState
from snapshot_pipeline.store.tables import StoreTables

_LOG = logging.getLogger(__name__)


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
    reports = {day: DayReport(day) for day in days_between(first, last)}
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
        for report in publish_ranked(executor, work, overview.user_ids, overview.events, lock.check_lock, progress):
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
        events: See `ranking.events_to_rank`.
        states: Each day's source rows, when they are known.
        source: The platform, in no older state than this.
    """

    user_ids: NDArray[np.int64]
    events: float
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
        events = events_to_rank(reader, user_ids, days)
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
            return dict.fromkeys(days_between(days.first, days.last), SourceState())

    return PlatformOverview(user_ids, events, pool.submit(states), later_source)

"""Compute again only what late data can change: the students whose rows have changed, from the changed day on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from snapshot_pipeline.metrics.days import LocalDays, contiguous_ranges
from snapshot_pipeline.pipeline.batches import (
    Progress,
    ProgressListener,
    ignore_progress,
    memory_per_student,
    open_executor,
    sample_students,
)
from snapshot_pipeline.pipeline.day_reports import DayReport, read_report
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.late_data import day_fingerprints, day_states
from snapshot_pipeline.pipeline.outdated import computed_with
from snapshot_pipeline.pipeline.reasons import LATE_DATA
from snapshot_pipeline.pipeline.snapshot_work import SelectedStudentsWork, SnapshotWork
from snapshot_pipeline.pipeline.source import Source, open_source
from snapshot_pipeline.pipeline.student_drop import refuse_student_drop
from snapshot_pipeline.platform.fingerprints import BLOCKS, blocks_of
from snapshot_pipeline.postgres.errors import retry_transient
from snapshot_pipeline.store.days import RecordedRun, begun_run, day_counts, record_changes
from snapshot_pipeline.store.issues import recount_students_with_issues
from snapshot_pipeline.store.locks import LeasedLock
from snapshot_pipeline.store.months import ensure_partitions
from snapshot_pipeline.store.source_states import (
    Blocks,
    SourceState,
    changes_by_day,
    read_fingerprints,
)
from snapshot_pipeline.store.tables import StoreTables

START_DAYS = 7
"""Students whose rows have changed in the same days of this number are computed together, from the first of them."""

MOST_STUDENTS = 0.5
"""If more students than this share are concerned, all are read by ranges of ids, which is faster than one by one."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class LateRun:
    """The result of a run.

    Attributes:
        reports: The days whose rows or counts have changed, ascending.
        students: Number of students computed.
        student_days: Number of student-days computed.
    """

    reports: list[DayReport] = field(default_factory=list)
    students: int = 0
    student_days: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class LateChanges:
    """What has changed in the platform since the days were computed.

    Attributes:
        user_ids: The active students, int64, ascending.
        events: The mean number of events of one.
        states: The rows of the changed days.
        blocks: The changed blocks of students of each; None for all.
        source: The platform, in no older state than this.
    """

    user_ids: Ints
    events: float
    states: Mapping[date, SourceState]
    blocks: Mapping[date, Blocks | None]
    source: Source

    def groups(self, first: date) -> list[tuple[date, Ints]]:
        """The students to compute, by the day from which on; these days are `START_DAYS` apart, from `first` on."""
        starts = np.full(BLOCKS, -1, dtype=np.int64)
        for day in sorted(self.blocks, reverse=True):
            blocks = self.blocks[day]
            starts[slice(None) if blocks is None else blocks] = (day - first).days // START_DAYS
        of_students = starts[blocks_of(self.user_ids)]
        groups = [(int(start), self.user_ids[of_students == start]) for start in np.unique(of_students) if start >= 0]
        return [(first + timedelta(days=start * START_DAYS), user_ids) for start, user_ids in groups]


def compute_late_data(
    installation: Installation, first: date, run_id: str, progress: ProgressListener = ignore_progress
) -> LateRun:
    """Find the computed days from `first` on whose source rows have changed, and compute the students concerned again.

    A student is computed from the first changed day on, up to the last computed day; all others keep their rows. The
    counts of the days are updated with the rows.

    Args:
        run_id: Recorded with each restatement, and shown to runs that wait for this one.
    """
    started = time.monotonic()
    computed = list(installation.transaction(read_fingerprints, first, date.max))
    if not computed:
        return LateRun(seconds=time.monotonic() - started)
    days = LocalDays(first, computed[-1], installation.settings.zone)
    source = open_source(installation, days.end)
    with installation.lock_days(days.first, days.last, f"run {run_id}") as lock:
        changes = retry_transient(_find_changes, installation, source, days)
        with_settings = computed_with(installation.settings)
        run = installation.leased_transaction(
            lock, begun_run, lock.lease.token, source.rules.moment, run_id, with_settings
        )
        if not changes.states:
            return LateRun(seconds=time.monotonic() - started)
        before = {count.day: count for count in installation.transaction(day_counts, days.first, days.last)}
        refuse_student_drop(installation, changes.source, days)
        result = _compute(installation, lock, changes, run, list(before), progress)
        installation.leased_transaction(lock, _record, run, days.first, days.last, changes)
        after = installation.transaction(day_counts, days.first, days.last)
    moved = {count.day for count in after if count != before.get(count.day)}
    reports = [
        installation.transaction(read_report, day, result.restated.get(day, 0), result.removed.get(day, 0))
        for day in sorted(moved | result.restated.keys() | result.removed.keys())
    ]
    return LateRun(
        [report for report in reports if report is not None],
        result.students,
        result.student_days,
        time.monotonic() - started,
    )


@dataclass
class _Totals:
    """The student-days computed, and by day the published figures that changed and the rows that were removed."""

    students: int = 0
    student_days: int = 0
    restated: dict[date, int] = field(default_factory=dict)
    removed: dict[date, int] = field(default_factory=dict)

    def add(self, report: DayReport) -> None:
        for counts, number in ((self.restated, report.restated), (self.removed, report.removed)):
            if number:
                counts[report.day] = counts.get(report.day, 0) + number


def _find_changes(installation: Installation, source: Source, days: LocalDays) -> LateChanges:
    known = installation.transaction(read_fingerprints, days.first, days.last)
    with source.session() as reader:
        user_ids = reader.active_student_ids()  # the first query fixes the session's snapshot
        events = reader.events_per_student(sample_students(user_ids), days.window_start, days.end)
        current = day_fingerprints(reader, days.first, days.last, days.zone)
        differing = [day for day in known if known[day] != current[day]]
        states: dict[date, SourceState] = {}
        for start, end in contiguous_ranges(differing):
            states |= day_states(reader, start, end, days.zone)
        later_source = source.not_before(reader)
    blocks = installation.transaction(changes_by_day, states) if states else {}
    return LateChanges(user_ids, events, states, blocks, later_source)


def _compute(
    installation: Installation,
    lock: LeasedLock,
    changes: LateChanges,
    run: RecordedRun,
    computed: list[date],
    progress: ProgressListener,
) -> _Totals:
    """Compute and publish the students concerned, on the computed days only."""
    groups = changes.groups(computed[0])
    totals = _Totals(students=sum(len(user_ids) for _, user_ids in groups))
    parts = [
        (LocalDays(max(start, first), last, installation.settings.zone), user_ids)
        for start, user_ids in groups
        for first, last in contiguous_ranges(computed)
        if last >= start
    ]
    total = sum(days.count * len(user_ids) for days, user_ids in parts)
    done = 0
    progress(Progress(0, len(parts), "groups of students", 0, total))
    retry_transient(ensure_partitions, installation.engine, installation.store, computed[0], computed[-1])
    with open_executor(installation.settings) as executor:
        for number, (days, concerned) in enumerate(parts, start=1):
            is_most = len(concerned) > MOST_STUDENTS * len(changes.user_ids)
            user_ids = changes.user_ids if is_most else concerned
            kind = SnapshotWork if is_most else SelectedStudentsWork
            work = kind(installation.uri, changes.source, lock.lease, days, run.computed_at, run.run_id, LATE_DATA)
            batches = executor.split(user_ids, memory_per_student(days.count, changes.events))
            for reports in executor.map_batches(batches, work, lock.check_lock):
                for report in reports:
                    totals.add(report)
            totals.student_days += len(user_ids) * days.count
            done += len(concerned) * days.count
            progress(Progress(number, len(parts), "groups of students", done, total))
    return totals


def _record(
    connection: Connection, tables: StoreTables, run: RecordedRun, first: date, last: date, changes: LateChanges
) -> None:
    recount_students_with_issues(connection, tables, first, last)
    record_changes(connection, tables, run, last, changes.states, changes.blocks)

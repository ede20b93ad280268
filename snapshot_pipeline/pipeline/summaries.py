"""Summarize a range of days, over all students and by cohort.

    users ──▶ Cohorts ──┐
    snapshots, failures ┴▶ summarize ──▶ replace_summaries
    (platform.reads, store)  (metrics, pure)  (store, one transaction per chunk of days)

The platform may be in another database than our tables, so no statement joins the two.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timezone

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.metrics.cohorts import NONE, Cohorts, Summaries, summarize
from snapshot_pipeline.metrics.days import contiguous_ranges, end_of_day
from snapshot_pipeline.pipeline.batches import Progress, ProgressListener, ignore_progress
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.periods import days_between, days_text
from snapshot_pipeline.pipeline.source import Source, open_source
from snapshot_pipeline.postgres.errors import retry_transient
from snapshot_pipeline.store.days import DayCount, day_counts
from snapshot_pipeline.store.locks import LeasedLock
from snapshot_pipeline.store.summaries import SummaryScope, read_summary_source, replace_summaries


class MissingSnapshotsError(SnapshotPipelineError):
    """A day was never computed, so it cannot be summarized."""


@dataclass(frozen=True)
class SummarizedDay:
    """The summary of a day, for its metadata and checks.

    Attributes:
        count: What the day's last computation published.
        students: Number of students with a snapshot.
        failed: Number of students with an open failure.
        cohorts: Number of rows of `cohort_summary`.
        without_cohort: Number of students without a specialization or a level.
        pace_median: None without students.
    """

    day: date
    count: DayCount
    students: int
    failed: int
    cohorts: int
    without_cohort: int
    pace_median: float | None


@dataclass(frozen=True)
class SummaryRun:
    """The result of summarizing a range of days.

    Attributes:
        days: One per day, ascending.
        changed: Rows of both tables that were written or deleted.
    """

    days: list[SummarizedDay]
    changed: int
    seconds: float


def summarize_days(
    installation: Installation, first: date, last: date, run_id: str, progress: ProgressListener = ignore_progress
) -> SummaryRun:
    """Summarize the snapshots of the days `first … last`, both included, over all students and by cohort.

    The days are locked against runs that write their snapshots. They are processed in chunks, so that memory is that of
    one batch of snapshots, or of one day if that is larger.

    Args:
        run_id: Recorded with each row that changes, and shown to runs that wait for this one.

    Raises:
        MissingSnapshotsError: A day was never computed; the message says what to do.
    """
    started = time.monotonic()
    source = open_source(installation, end_of_day(last, installation.settings.zone))
    days: list[SummarizedDay] = []
    changed = 0
    with installation.lock_days(first, last, f"run {run_id}") as lock:
        counts = _read_counts(installation, first, last)
        cohorts = retry_transient(_read_cohorts, source)
        chunks = split_days(counts, installation.settings.batch_rows)
        status = Progress(0, len(chunks), "chunks of days", 0, sum(count.students for count in counts))
        progress(status)
        for chunk in chunks:
            part = retry_transient(_summarize_chunk, installation, lock, cohorts, chunk, run_id)
            days += part.days
            changed += part.changed
            status = replace(status, done=status.done + 1, rows=status.rows + sum(count.students for count in chunk))
            progress(status)
    return SummaryRun(days, changed, time.monotonic() - started)


def split_days(counts: Sequence[DayCount], rows: int) -> list[Sequence[DayCount]]:
    """Split ascending days into chunks of at most so many rows; a day with more is a chunk of its own."""
    chunks: list[list[DayCount]] = []
    chunk_rows = 0
    for count in counts:
        if not chunks or chunk_rows + count.students > rows:
            chunks.append([])
            chunk_rows = 0
        chunks[-1].append(count)
        chunk_rows += count.students
    return list(chunks)


def _read_cohorts(source: Source) -> Cohorts:
    with source.session() as reader:
        return Cohorts.of(reader.cohorts())


def _read_counts(installation: Installation, first: date, last: date) -> list[DayCount]:
    counts = installation.transaction(day_counts, first, last)
    computed = {count.day for count in counts}
    missing = contiguous_ranges([day for day in days_between(first, last) if day not in computed])
    if missing:
        names = ", ".join(days_text(start, end) for start, end in missing)
        commands = "; ".join(f"`snapshot-pipeline materialize --from {start} --to {end}`" for start, end in missing)
        raise MissingSnapshotsError(
            f"the days {first} to {last} cannot be summarized: no snapshots of {names}; materialize "
            f"performance_snapshots, which also summarizes the days: {commands}"
        )
    return counts


def _summarize_chunk(
    installation: Installation, lock: LeasedLock, cohorts: Cohorts, counts: Sequence[DayCount], run_id: str
) -> SummaryRun:
    started = time.monotonic()
    first, last = counts[0].day, counts[-1].day
    lock.check_lock()
    with lock.lease.publication(installation.uri) as (connection, tables):
        snapshots, failures = read_summary_source(connection, tables, first, last)
        summaries = summarize(snapshots, failures, cohorts, first, last)
        scope = SummaryScope(first, last, datetime.now(timezone.utc), run_id)
        changed = replace_summaries(connection, tables, scope, summaries.days, summaries.cohorts)
    return SummaryRun(_summarized_days(counts, summaries), changed, time.monotonic() - started)


def _summarized_days(counts: Sequence[DayCount], summaries: Summaries) -> list[SummarizedDay]:
    by_day, by_cohort = summaries.days, summaries.cohorts
    is_none = (by_cohort["specialization"] == NONE) | (by_cohort["level"] == NONE)
    cohorts = by_cohort.groupby("snapshot_date").size().reindex(by_day["snapshot_date"], fill_value=0)
    without = by_cohort["students"].where(is_none, 0).groupby(by_cohort["snapshot_date"]).sum()
    columns = (
        by_day["students"].tolist(),
        by_day["failed"].tolist(),
        cohorts.tolist(),
        without.reindex(by_day["snapshot_date"], fill_value=0).tolist(),
        by_day["pace_median"].astype(object).where(by_day["pace_median"].notna(), None).tolist(),
    )
    return [SummarizedDay(count.day, count, *row) for count, *row in zip(counts, *columns, strict=True)]

"""The summaries of a range of days, from published snapshots and the platform's users to published rows.

    users ──▶ Cohorts ──┐
    snapshots, failures ┴▶ summarize ──▶ replace_summaries
    (platform.users, store)  (metrics, pure)  (store, one transaction a stretch of days)

Put here: the order of these steps, and what must be there before a day can be summarized.
Do not put here: any of the steps themselves.

The platform may be read in another database than the one of our tables, so no statement joins the two.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from functools import partial

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.metrics.cohorts import NONE, Cohorts, Summaries, summarize
from snapshot_pipeline.metrics.days import contiguous_ranges, end_of_day
from snapshot_pipeline.pipeline.batches import Progress, ProgressListener, ignore_progress
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.source import Source, open_source
from snapshot_pipeline.platform.users import read_cohorts
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.postgres.errors import retry_transient
from snapshot_pipeline.store.days import DayCount, day_counts
from snapshot_pipeline.store.locks import LeasedLock, exclusive_days
from snapshot_pipeline.store.summaries import SummaryScope, read_summary_source, replace_summaries


class MissingSnapshotsError(SnapshotPipelineError):
    """A day was never computed, so there is nothing to summarize."""


@dataclass(frozen=True)
class SummarizedDay:
    """How a day stands after it was summarized.

    Attributes:
        day: The day.
        count: What its last computation published.
        students: Students with a snapshot of it.
        failed: Students with an open failure on it.
        cohorts: Cohorts with one of either: rows of `cohort_summary`.
        without_cohort: Students without a specialization or a level.
        pace_median: Their median pace; None with no student.
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
    """What summarizing a range of days came to.

    Attributes:
        days: One per day, ascending.
        changed: Rows of both tables that were written or removed.
        seconds: Wall time.
    """

    days: list[SummarizedDay]
    changed: int
    seconds: float


def summarize_days(
    installation: Installation, first: date, last: date, run_id: str, progress: ProgressListener = ignore_progress
) -> SummaryRun:
    """Summarize the snapshots of the days `first … last`, both included, over all students and by cohort.

    The days are held against every run that writes their snapshots. They are worked on in stretches, so that the memory
    is that of one batch of snapshots, or of one day where a day is more.

    Args:
        installation: Where.
        first: The first day.
        last: The last day.
        run_id: Noted with each row that changes, and shown to a run that has to wait for this one.
        progress: Told how many stretches are summarized.

    Raises:
        MissingSnapshotsError: A day was never computed; the message names the recovery.
        SnapshotPipelineError: Something else that the operator can mend.
    """
    began = time.monotonic()
    settings = installation.settings
    source = open_source(installation, end_of_day(last, settings.zone))
    days: list[SummarizedDay] = []
    changed = 0
    with exclusive_days(
        installation.engine, settings.store_schema, first, last, f"run {run_id}", settings.run_lock_seconds
    ) as lock:
        counts = retry_transient(lambda: _counts(installation, first, last))
        cohorts = retry_transient(lambda: _cohorts(source))
        stretches = cut_days(counts, settings.batch_rows)
        told = Progress(0, len(stretches), "stretches", 0, sum(count.students for count in counts))
        progress(told)
        for stretch in stretches:
            part = retry_transient(partial(_summarize_stretch, installation, lock, cohorts, stretch, run_id))
            days += part.days
            changed += part.changed
            rows = told.rows + sum(count.students for count in stretch)
            told = replace(told, done=told.done + 1, rows=rows)
            progress(told)
    return SummaryRun(days, changed, time.monotonic() - began)


def _cohorts(source: Source) -> Cohorts:
    with source.session() as reader:
        return Cohorts.of(read_cohorts(reader))


def cut_days(counts: Sequence[DayCount], rows: int) -> list[Sequence[DayCount]]:
    """Cut ascending days into stretches of so many rows at the most; a day that alone has more is a stretch."""
    stretches: list[list[DayCount]] = []
    held = 0
    for count in counts:
        if not stretches or held + count.students > rows:
            stretches.append([])
            held = 0
        stretches[-1].append(count)
        held += count.students
    return list(stretches)


def _counts(installation: Installation, first: date, last: date) -> list[DayCount]:
    """What each of the days came to when it was computed."""
    with installation.engine.connect() as connection:
        counts = day_counts(connection, installation.store, first, last)
    computed = {count.day for count in counts}
    days = (first + timedelta(days=n) for n in range((last - first).days + 1))
    missing = contiguous_ranges([day for day in days if day not in computed])
    if missing:
        commands = "; ".join(f"`snapshot-pipeline materialize --from {start} --to {end}`" for start, end in missing)
        raise MissingSnapshotsError(
            f"the days {first} to {last} cannot be summarized: {_named(missing)} has no snapshots; materialize "
            f"performance_snapshots there, which summarizes the days as well: {commands}"
        )
    return counts


def _named(ranges: Sequence[tuple[date, date]]) -> str:
    return ", ".join(str(start) if start == end else f"{start} to {end}" for start, end in ranges)


def _summarize_stretch(
    installation: Installation, lock: LeasedLock, cohorts: Cohorts, counts: Sequence[DayCount], run_id: str
) -> SummaryRun:
    began = time.monotonic()
    first, last = counts[0].day, counts[-1].day
    lock.check_lock()
    with bulk.transaction(installation.uri) as connection:
        lock.lease.check(connection)
        snapshots, failures = read_summary_source(connection, installation.store, first, last)
        summaries = summarize(snapshots, failures, cohorts, first, last)
        stamp = SummaryScope(first, last, datetime.now(timezone.utc), run_id)
        changed = replace_summaries(connection, installation.store, stamp, summaries.days, summaries.cohorts)
    return SummaryRun(_days(counts, summaries), changed, time.monotonic() - began)


def _days(counts: Sequence[DayCount], summaries: Summaries) -> list[SummarizedDay]:
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

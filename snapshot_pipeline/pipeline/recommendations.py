"""Compute and publish the recommendations of a week.

snapshots of the week, students, attempts, completions, lessons ──▶ recommend ──▶ replace_recommendations
(store, platform.reads)                          (recommendations, pure)   (store, one transaction)
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.metrics.days import end_of_day, start_of_day
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
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.source import Source, open_source
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.postgres.errors import retry_transient
from snapshot_pipeline.recommendations import WeekFacts, recommend
from snapshot_pipeline.recommendations.ranking import RECOMMENDATIONS_PER_STUDENT
from snapshot_pipeline.store.days import day_counts
from snapshot_pipeline.store.locks import RunLease
from snapshot_pipeline.store.recommendations import (
    WeekScope,
    deactivate_older_weeks,
    newest_week,
    read_dismissals,
    replace_recommendations,
)
from snapshot_pipeline.store.snapshots import read_active_days
from snapshot_pipeline.store.tables import StoreTables

SNAPSHOT_DAYS = 14
"""Days of snapshots, up to the Sunday, that the rules use."""

REVIEW_DAYS = 30
"""Days of attempts, up to the Sunday, that the rules use."""


class MissingSundayError(SnapshotPipelineError):
    """The week's last day has no snapshots, which the rules about activity need."""


@dataclass
class WeekReport:
    """The result of a week, over all students.

    Attributes:
        recipients: Number of active students.
        with_recommendation: Number of students with at least one recommendation.
        types: Number of recommendations by type.
        missing_days: Days of the week without snapshots.
        failed: Students whose computation raised, with the error; they keep their earlier recommendations.
        is_newest: Whether no later week has been published, so that these recommendations are shown.
    """

    week_start: date
    recipients: int = 0
    with_recommendation: int = 0
    types: Counter[str] = field(default_factory=Counter)
    missing_days: list[date] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    is_newest: bool = True
    seconds: float = 0.0

    @property
    def coverage(self) -> float | None:
        """Share of the recipients with a recommendation; None without recipients."""
        return self.with_recommendation / self.recipients if self.recipients else None


def missing_days(installation: Installation, week_start: date) -> list[date]:
    """The days of a week, not before the start date, that were never computed."""
    last = week_start + timedelta(days=6)
    computed = {count.day for count in installation.transaction(day_counts, week_start, last)}
    week = (week_start + timedelta(days=n) for n in range(7))
    return [day for day in week if day not in computed and day >= installation.settings.start_date]


def run_week(
    installation: Installation, week_start: date, run_id: str, progress: ProgressListener = ignore_progress
) -> WeekReport:
    """Compute and publish the recommendations of all active students for the week that begins on a Monday.

    Args:
        run_id: Shown to runs that wait for this one.

    Raises:
        MissingSundayError: The week's Sunday has no snapshots; the message says what to do.
    """
    started = time.monotonic()
    zone = installation.settings.zone
    report = WeekReport(week_start, missing_days=missing_days(installation, week_start))
    sunday = week_start + timedelta(days=6)
    if sunday in report.missing_days:
        raise MissingSundayError(
            f"the week of {week_start} has no snapshots for its Sunday, {sunday}, which the recommendations need; "
            f"materialize performance_snapshots for {sunday} (`snapshot-pipeline materialize --from {sunday} "
            f"--to {sunday}`), then this week again (`snapshot-pipeline recommend --week {week_start}`)"
        )
    end = end_of_day(sunday, zone)
    source = open_source(installation, end)
    with (
        installation.lock_recommendations(f"run {run_id}") as lock,
        open_executor(installation.settings) as executor,
    ):
        newest = installation.transaction(newest_week)
        report.is_newest = newest is None or newest <= week_start
        week = WeekScope(week_start, end, report.is_newest, datetime.now(timezone.utc))
        user_ids, events, lessons = retry_transient(_read_overview, source, end)
        batches = executor.split(user_ids, memory_per_student(RECOMMENDATIONS_PER_STUDENT, events + SNAPSHOT_DAYS))
        work = RecommendationWork(installation.uri, source, lock.lease, zone, week, lessons)
        batch_done = progress_per_batch(progress, batches, days=1)
        for part in executor.map_batches(batches, work, lock.check_lock, batch_done):
            report.recipients += part.recipients
            report.with_recommendation += part.with_recommendation
            report.types += part.types
            report.failed.update(part.failed)
        if report.is_newest:
            installation.leased_transaction(lock, deactivate_older_weeks, week_start)
    report.seconds = time.monotonic() - started
    return report


def _read_overview(source: Source, end: datetime) -> tuple[NDArray[np.int64], float, pd.DataFrame]:
    """The active students, the mean number of events of one, and the published lessons."""
    with source.session() as reader:
        user_ids = reader.active_student_ids()
        return user_ids, reader.events_per_student(sample_students(user_ids), None, end), reader.published_lessons()


@dataclass(frozen=True)
class RecommendationWork:
    """Reads, computes and publishes the recommendations of one batch; picklable.

    Attributes:
        uri: The database of our tables as a libpq URI; never shown.
        lease: Checked by each publication.
        lessons: The published lessons, the same for every batch.
    """

    uri: str = field(repr=False)
    source: Source
    lease: RunLease
    zone: ZoneInfo
    week: WeekScope
    lessons: pd.DataFrame = field(repr=False)

    @property
    def name(self) -> str:
        """Name for dashboards and errors."""
        return f"recommendations {self.week.start}"

    def __call__(self, batch: Batch) -> WeekReport:
        """Compute the batch and publish it, in one transaction."""
        facts = self._read(batch)
        rows = recommend(facts)
        users = batch.range
        with bulk.transaction(self.uri) as connection:
            self.lease.check(connection)
            tables = StoreTables.of(self.lease.schema)
            replace_recommendations(connection, tables, users.first, users.last, self.week, rows)
        return WeekReport(
            self.week.start,
            recipients=len(facts.students),
            with_recommendation=rows["user_id"].nunique(),
            types=Counter(rows["recommendation_type"].tolist()),
        )

    def fail(self, batch: Batch, error: Exception) -> WeekReport:
        """Report a student that raised, whose earlier recommendations are kept."""
        failed = {int(user_id): one_line(error) for user_id in batch.user_ids}
        return WeekReport(self.week.start, recipients=len(failed), failed=failed)

    def _read(self, batch: Batch) -> WeekFacts:
        users, end = batch.range, self.week.end
        sunday = self.week.start + timedelta(days=6)
        with self.source.session() as reader:
            students = reader.students(users)
            review_start = start_of_day(sunday - timedelta(days=REVIEW_DAYS - 1), self.zone)
            attempts = reader.lesson_scores(users, review_start, end)
            completions = reader.completions(users, end)
        with bulk.transaction(self.uri) as connection:
            tables = StoreTables.of(self.lease.schema)
            first_day = sunday - timedelta(days=SNAPSHOT_DAYS - 1)
            snapshots = read_active_days(connection, tables, users.first, users.last, first_day, sunday)
            dismissals = read_dismissals(connection, tables, users.first, users.last, self.week)
        return WeekFacts(
            week_start=self.week.start,
            students=students.assign(has_started=np.asarray(students["first_started_at"] < end)),
            snapshots=snapshots,
            attempts=attempts[attempts["completed_at"].between(review_start, end, inclusive="left")],
            completions=completions,
            lessons=self.lessons,
            dismissals=dismissals,
        )

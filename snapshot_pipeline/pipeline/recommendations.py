"""Compute and publish the recommendations of a week.

cohorts, lessons (once) ─────────────────────────────────────┐
history ──▶ week_activity ─┬▶ WeekFacts ──▶ recommend ──▶ replace_recommendations
attempts, completions, dismissals ┘
(platform.reads, store)   (metrics, recommendations: pure)   (store, one transaction per batch)
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import Connection

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.metrics.corrections import correct_attempts
from snapshot_pipeline.metrics.days import LocalDays, end_of_day, start_of_day
from snapshot_pipeline.metrics.week import ACTIVITY_DAYS, week_activity
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
from snapshot_pipeline.pipeline.history import read_history
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.periods import days_between
from snapshot_pipeline.pipeline.source import Source, open_source
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.postgres.errors import retry_transient
from snapshot_pipeline.recommendations import WeekFacts, recommend
from snapshot_pipeline.recommendations.cohorts import BEGUN_DAYS, mark_cohorts
from snapshot_pipeline.recommendations.ranking import RECOMMENDATIONS_PER_STUDENT
from snapshot_pipeline.store.days import day_counts
from snapshot_pipeline.store.locks import RunLease
from snapshot_pipeline.store.recommendations import (
    WeekScope,
    count_added,
    finish_week,
    newest_week,
    read_dismissals,
    read_dismissed_lessons,
    record_week,
    replace_recommendations,
)
from snapshot_pipeline.store.snapshot_queries import read_engagement
from snapshot_pipeline.store.tables import StoreTables

EXERCISE_DAYS = 28
"""Days of exercises, up to the Sunday, that show whether a cohort has any."""

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
        expected: Number of students for whom there is something to do, see `WeekFacts.expected`.
        expected_with_recommendation: Number of those with at least one recommendation.
        types: Number of recommendations by type.
        missing_days: Days of the week without snapshots.
        failed: Students whose computation raised, with the error; they keep their earlier recommendations.
        added: Number of recommendations that the week did not have before.
        is_newest: Whether no later week has been published, so that these recommendations are shown.
    """

    week_start: date
    recipients: int = 0
    with_recommendation: int = 0
    expected: int = 0
    expected_with_recommendation: int = 0
    types: Counter[str] = field(default_factory=Counter)
    missing_days: list[date] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    added: int = 0
    is_newest: bool = True
    seconds: float = 0.0

    @property
    def success_rate(self) -> float | None:
        """Share of the students that did not fail; None without students."""
        return 1 - len(self.failed) / self.recipients if self.recipients else None

    @property
    def coverage(self) -> float | None:
        """Share of the expected students with a recommendation; None without such students."""
        return self.expected_with_recommendation / self.expected if self.expected else None


def missing_days(installation: Installation, week_start: date) -> list[date]:
    """The days of a week, not before the start date, that were never computed."""
    last = week_start + timedelta(days=6)
    computed = {count.day for count in installation.transaction(day_counts, week_start, last)}
    first = max(week_start, installation.settings.start_date)
    return [day for day in days_between(first, last) if day not in computed]


def require_sunday(week_start: date, missing: Collection[date]) -> None:
    """Check that the week's Sunday is not among the missing days.

    Raises:
        MissingSundayError: It is; the message says what to do.
    """
    sunday = week_start + timedelta(days=6)
    if sunday in missing:
        raise MissingSundayError(
            f"the week of {week_start} has no snapshots for its Sunday, {sunday}, which the recommendations need; "
            f"materialize performance_snapshots for {sunday} (`snapshot-pipeline materialize --from {sunday} "
            f"--to {sunday}`), then this week again (`snapshot-pipeline recommend --week {week_start}`)"
        )


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
    require_sunday(week_start, report.missing_days)
    sunday = week_start + timedelta(days=6)
    end = end_of_day(sunday, zone)
    source = open_source(installation, end)
    with (
        installation.lock_recommendations(f"run {run_id}") as lock,
        open_executor(installation.settings) as executor,
    ):
        newest = installation.transaction(newest_week)
        report.is_newest = newest is None or newest <= week_start
        week = WeekScope(week_start, end, report.is_newest, datetime.now(timezone.utc))
        overview = retry_transient(_read_overview, source, sunday, zone)
        per_student = memory_per_student(RECOMMENDATIONS_PER_STUDENT, overview.events + ACTIVITY_DAYS)
        batches = executor.split(overview.user_ids, per_student)
        work = RecommendationWork(
            installation.uri,
            source,
            lock.lease,
            zone,
            week,
            overview.lessons,
            overview.cohorts,
            installation.settings.review_below_score,
        )
        batch_done = progress_per_batch(progress, batches)
        for part in executor.map_batches(batches, work, lock.check_lock, batch_done):
            report.recipients += part.recipients
            report.with_recommendation += part.with_recommendation
            report.expected += part.expected
            report.expected_with_recommendation += part.expected_with_recommendation
            report.types += part.types
            report.failed.update(part.failed)
        installation.leased_transaction(lock, _record, week, report, overview.user_ids, run_id)
    report.seconds = time.monotonic() - started
    return report


def _record(
    connection: Connection,
    tables: StoreTables,
    week: WeekScope,
    report: WeekReport,
    recipients: NDArray[np.int64],
    run_id: str,
) -> None:
    finish_week(connection, tables, week, recipients, list(report.failed))
    report.added = count_added(connection, tables, week)
    record_week(connection, tables, week.start, report.recipients, len(report.failed), week.computed_at, run_id)


@dataclass(frozen=True)
class WeekOverview:
    """What is read once for all batches.

    Attributes:
        user_ids: The active students.
        events: The mean number of events of one of them.
        lessons: The published lessons.
        cohorts: See `mark_cohorts`.
    """

    user_ids: NDArray[np.int64]
    events: float
    lessons: pd.DataFrame
    cohorts: pd.DataFrame


def _read_overview(source: Source, sunday: date, zone: ZoneInfo) -> WeekOverview:
    end = end_of_day(sunday, zone)
    with source.session() as reader:
        user_ids = reader.active_student_ids()
        return WeekOverview(
            user_ids,
            reader.events_per_student(sample_students(user_ids), None, end),
            reader.published_lessons(),
            reader.cohort_starts(end, start_of_day(sunday - timedelta(days=EXERCISE_DAYS - 1), zone)),
        )


@dataclass(frozen=True)
class RecommendationWork:
    """Reads, computes and publishes the recommendations of one batch; picklable.

    Attributes:
        uri: The database of our tables as a libpq URI; never shown.
        lease: Checked by each publication.
        lessons: The published lessons, the same for every batch.
        cohorts: See `mark_cohorts`; the same for every batch.
    """

    uri: str = field(repr=False)
    source: Source
    lease: RunLease
    zone: ZoneInfo
    week: WeekScope
    lessons: pd.DataFrame = field(repr=False)
    cohorts: pd.DataFrame = field(repr=False)
    review_below_score: float

    @property
    def name(self) -> str:
        return f"recommendations {self.week.start}"

    def __call__(self, batch: Batch) -> WeekReport:
        """Compute the batch and publish it, in one transaction."""
        facts = self._read(batch)
        rows = recommend(facts)
        users = batch.range
        with self.lease.publication(self.uri) as (connection, tables):
            replace_recommendations(connection, tables, users.first, users.last, self.week, rows)
        return WeekReport(
            self.week.start,
            recipients=len(facts.students),
            with_recommendation=rows["user_id"].nunique(),
            expected=len(facts.expected),
            expected_with_recommendation=int(facts.expected.isin(rows["user_id"]).sum()),
            types=Counter(rows["recommendation_type"].tolist()),
        )

    def fail(self, batch: Batch, error: Exception) -> WeekReport:
        """Report a student that raised, whose earlier recommendations are kept."""
        failed = {int(user_id): one_line(error) for user_id in batch.user_ids}
        return WeekReport(self.week.start, recipients=len(failed), failed=failed)

    def _read(self, batch: Batch) -> WeekFacts:
        users, end = batch.range, self.week.end
        sunday = self.week.start + timedelta(days=6)
        days = LocalDays(sunday - timedelta(days=ACTIVITY_DAYS - 1), sunday, self.zone)
        review_start = start_of_day(sunday - timedelta(days=REVIEW_DAYS - 1), self.zone)
        with self.source.session() as reader:
            rules = reader.rules
            history = read_history(reader, users, days)
            cohorts = reader.cohorts(users).astype({"specialization": object, "level": object})
            attempts = correct_attempts(
                reader.lesson_scores(users, review_start, end), rules.moment, rules.score_maximum
            )
            completions = reader.completions(users, end)
        with bulk.transaction(self.uri) as connection:
            tables = StoreTables.of(self.lease.schema)
            dismissals = read_dismissals(connection, tables, users.first, users.last, self.week)
            dismissed_lessons = read_dismissed_lessons(connection, tables, users.first, users.last, self.week)
            published = read_engagement(connection, tables, batch.user_ids, [sunday])
        students = history.students[["user_id", "first_started_at"]].merge(cohorts, on="user_id", how="left")
        scores = published.set_index("user_id")["engagement_score"].reindex(students["user_id"])
        students = students.assign(
            has_started=np.asarray(students["first_started_at"] < end), engagement_score=scores.to_numpy(np.float64)
        )
        long_begun = end_of_day(sunday - timedelta(days=BEGUN_DAYS), self.zone)
        return WeekFacts(
            week_start=self.week.start,
            students=mark_cohorts(students, self.cohorts, long_begun),
            activity=week_activity(history, days),
            attempts=attempts,
            completions=completions,
            lessons=self.lessons,
            dismissals=dismissals,
            dismissed_lessons=dismissed_lessons,
            review_below_score=self.review_below_score,
        )

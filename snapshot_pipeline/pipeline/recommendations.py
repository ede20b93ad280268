"""A week, from published snapshots and the platform's rows to published recommendations.

    snapshots of the week, students, attempts, completions, lessons ──▶ recommend ──▶ replace_recommendations
             (store, platform.reads)                          (recommendations, pure)   (store, one transaction)

Put here: the order of these steps, and what must be there before a week can be recommended.
Do not put here: any of the steps themselves.
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
    cells_per_student,
    ignore_progress,
    one_line,
    progress_per_batch,
    sample_of,
)
from snapshot_pipeline.pipeline.executors import open_executor
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.source import Source, open_source
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.postgres.errors import retry_transient
from snapshot_pipeline.recommendations import WeekFacts, recommend
from snapshot_pipeline.recommendations.ranking import RECOMMENDATIONS_PER_STUDENT
from snapshot_pipeline.store.days import day_counts
from snapshot_pipeline.store.locks import LeasedLock, RunLease, exclusive_recommendations
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
"""How many days of snapshots, up to the Sunday, the rules look at."""

REVIEW_DAYS = 30
"""How many days of attempts, up to the Sunday, the rules look at."""


class MissingSundayError(SnapshotPipelineError):
    """The week's last day has no snapshots, and every rule about activity needs them."""


@dataclass
class WeekReport:
    """How a week went, over all students.

    Attributes:
        week_start: Its Monday.
        receivers: Active students.
        reached: Students with at least one recommendation.
        types: Recommendations by type.
        missing_days: Days of the week without snapshots.
        failed: Students whose data raised, with the error; they keep what they had.
        is_newest: Whether the recommendations are shown, or older than those that are.
        seconds: Wall time.
    """

    week_start: date
    receivers: int = 0
    reached: int = 0
    types: Counter[str] = field(default_factory=Counter)
    missing_days: list[date] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    is_newest: bool = True
    seconds: float = 0.0

    @property
    def coverage(self) -> float | None:
        """The share of receivers with a recommendation; None when there are no receivers."""
        return self.reached / self.receivers if self.receivers else None


def missing_days(installation: Installation, week_start: date) -> list[date]:
    """The days of a week, from the first day that has a partition on, that were never computed."""
    last = week_start + timedelta(days=6)
    with installation.engine.connect() as connection:
        computed = {count.day for count in day_counts(connection, installation.store, week_start, last)}
    week = (week_start + timedelta(days=n) for n in range(7))
    return [day for day in week if day not in computed and day >= installation.settings.start_date]


def run_week(
    installation: Installation,
    week_start: date,
    run_id: str,
    progress: ProgressListener = ignore_progress,
) -> WeekReport:
    """Compute and publish the recommendations of all active students for a week.

    Args:
        installation: Where.
        week_start: The week's Monday.
        run_id: Shown to a run that has to wait for this one.
        progress: Told how many batches are published.

    Raises:
        MissingSundayError: The snapshots of the week's Sunday are not there; the message names the recovery.
        SnapshotPipelineError: Something else that the operator can mend.
    """
    began = time.monotonic()
    settings = installation.settings
    report = WeekReport(week_start, missing_days=retry_transient(lambda: missing_days(installation, week_start)))
    sunday = week_start + timedelta(days=6)
    if sunday in report.missing_days:
        raise MissingSundayError(
            f"the week of {week_start} has no snapshots for its Sunday, {sunday}, which the recommendations need; "
            f"materialize performance_snapshots for {sunday} (`snapshot-pipeline materialize --from {sunday} "
            f"--to {sunday}`), then this week again (`snapshot-pipeline recommend --week {week_start}`)"
        )
    end = end_of_day(sunday, settings.zone)
    source = open_source(installation, end)
    with (
        exclusive_recommendations(
            installation.engine, settings.store_schema, f"run {run_id}", settings.run_lock_seconds
        ) as lock,
        open_executor(settings) as place,
    ):
        newest = retry_transient(lambda: _newest_week(installation))
        report.is_newest = newest is None or newest <= week_start
        week = WeekScope(week_start, end, report.is_newest, datetime.now(timezone.utc))
        user_ids, events, lessons = retry_transient(lambda: _look_around(source, end))
        batches = place.cut(user_ids, cells_per_student(RECOMMENDATIONS_PER_STUDENT, events + SNAPSHOT_DAYS))
        work = RecommendationWork(installation.uri, source, lock.lease, settings.zone, week, lessons)
        told = progress_per_batch(progress, batches, 1)
        for part in place.map_batches(batches, work, lock.check_lock, told):
            report.receivers += part.receivers
            report.reached += part.reached
            report.types += part.types
            report.failed.update(part.failed)
        if report.is_newest:
            retry_transient(lambda: _deactivate_older_weeks(installation, lock, week_start))
    report.seconds = time.monotonic() - began
    return report


def _newest_week(installation: Installation) -> date | None:
    with installation.engine.connect() as connection:
        return newest_week(connection, installation.store)


def _look_around(source: Source, end: datetime) -> tuple[NDArray[np.int64], float, pd.DataFrame]:
    """The active students, how many events one has, and the published lessons."""
    with source.session() as reader:
        user_ids = reader.active_student_ids()
        return user_ids, reader.events_per_student(sample_of(user_ids), None, end), reader.published_lessons()


def _deactivate_older_weeks(installation: Installation, lock: LeasedLock, week_start: date) -> None:
    lock.check_lock()
    with installation.engine.begin() as connection:
        lock.lease.check(connection)
        deactivate_older_weeks(connection, installation.store, week_start)


@dataclass(frozen=True)
class RecommendationWork:
    """Reads, recommends and publishes one batch; picklable.

    Attributes:
        uri: The database of our tables, as libpq wants it; never shown.
        source: Where the platform is read.
        lease: What each publication has to pass.
        zone: The platform's time zone.
        week: The week.
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
        """What it is, for whoever watches."""
        return f"recommendations {self.week.start}"

    def __call__(self, batch: Batch) -> WeekReport:
        """Publish the batch, in one transaction."""
        facts = self._read(batch)
        rows = recommend(facts)
        users = batch.range
        with bulk.transaction(self.uri) as connection:
            self.lease.check(connection)
            tables = StoreTables.of(self.lease.schema)
            replace_recommendations(connection, tables, users.first, users.last, self.week, rows)
        return WeekReport(
            self.week.start,
            receivers=len(facts.students),
            reached=rows["user_id"].nunique(),
            types=Counter(rows["recommendation_type"].tolist()),
        )

    def fail(self, batch: Batch, error: Exception) -> WeekReport:
        """Leave the recommendations of a student that raises as they are, and report why."""
        failed = {int(user_id): one_line(error) for user_id in batch.user_ids}
        return WeekReport(self.week.start, receivers=len(failed), failed=failed)

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

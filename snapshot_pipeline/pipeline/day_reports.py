"""Reports of a computed day: counts by batch and their sums, and details of the published rows for the UI."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
from sqlalchemy import Connection

from snapshot_pipeline.metrics.days import LocalDays
from snapshot_pipeline.metrics.score_counts import ScoreCounts
from snapshot_pipeline.metrics.snapshot import SnapshotBatch
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.store.days import DayCount, day_counts
from snapshot_pipeline.store.failures import FailedStudent, failures_by_reason, failures_of
from snapshot_pipeline.store.issues import IssueCount, issues_by_day
from snapshot_pipeline.store.snapshot_queries import (
    PaceQuartiles,
    WithoutData,
    day_totals,
    pace_change_quartiles,
    pace_counts,
    students_without_data,
)
from snapshot_pipeline.store.snapshots import Publication
from snapshot_pipeline.store.tables import StoreTables

EXAMPLES = 10
"""Number of failed students, and of invalid rows, to name."""

COMPARED_WITH = timedelta(weeks=4)
"""Pace scores are compared with the same weekday four weeks before."""

CALENDAR = timedelta(weeks=13)
"""Length of the calendar of success rates."""


@dataclass
class DayReport:
    """Counts of one day, over all students.

    Attributes:
        failures: Number of students failed, by reason.
        examples: The first ten failed students, by id.
        first_failed: The lowest id of a failed student, by reason.
        active: Number of published students who were active on the day.
        paces: Number of published students by pace score.
        students_with_average: Number of published students with a quiz average.
        quiz_total: Sum of their quiz averages.
        restated: Number of published figures that changed.
        reranked: Number of published students whose engagement changed since an earlier computation.
        removed: Number of published students whose rows vanished from the platform, so that no snapshot is due.
        with_issues: Number of students due who have an invalid row of the day; known when the day is recorded.
        issues: These rows by kind.
    """

    day: date
    published: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    examples: list[FailedStudent] = field(default_factory=list)
    first_failed: dict[str, int] = field(default_factory=dict)
    active: int = 0
    lessons: int = 0
    minutes: int = 0
    paces: ScoreCounts = field(default_factory=ScoreCounts.none)
    students_with_average: int = 0
    quiz_total: float = 0.0
    restated: int = 0
    reranked: int = 0
    removed: int = 0
    with_issues: int = 0
    issues: tuple[IssueCount, ...] = ()

    @property
    def count(self) -> DayCount:
        """Published and failed students, as stored."""
        return DayCount(self.day, self.published, self.failures.total(), self.with_issues)

    @property
    def mean_quiz_average(self) -> float | None:
        """Mean of the quiz averages; None if no student has one."""
        return self.quiz_total / self.students_with_average if self.students_with_average else None

    def add(self, other: DayReport) -> None:
        """Add the report of another batch of the same day."""
        self.published += other.published
        self.failures += other.failures
        self.examples = sorted(self.examples + other.examples, key=lambda student: student.user_id)[:EXAMPLES]
        for reason, user_id in other.first_failed.items():
            self.first_failed[reason] = min(user_id, self.first_failed.get(reason, user_id))
        self.active += other.active
        self.lessons += other.lessons
        self.minutes += other.minutes
        self.paces += other.paces
        self.students_with_average += other.students_with_average
        self.quiz_total += other.quiz_total
        self.restated += other.restated
        self.reranked += other.reranked
        self.removed += other.removed


def batch_reports(snapshots: SnapshotBatch, publication: Publication, days: LocalDays) -> Iterable[DayReport]:
    """The reports of a batch, one per day."""
    published, failures = snapshots.published, snapshots.failures
    day = days.numbers_of(published["snapshot_date"])
    is_active = (published["last_activity_date"] == published["snapshot_date"]).to_numpy()
    averages = published["quiz_average"].to_numpy(np.float64)
    has_average = ~np.isnan(averages)
    totals = {
        "published": np.bincount(day, minlength=days.count),
        "active": np.bincount(day, is_active, days.count),
        "lessons": np.bincount(day, published["lessons_completed_count"], days.count),
        "minutes": np.bincount(day, published["time_spent_minutes_today"], days.count),
        "students_with_average": np.bincount(day, has_average, days.count),
        "quiz_total": np.bincount(day, np.where(has_average, averages, 0), days.count),
    }
    paces = ScoreCounts.by_day(published["pace_score"].to_numpy(np.float64), day, days.count)
    failed_day = days.numbers_of(failures["snapshot_date"])
    for number in range(days.count):
        failed = failures[failed_day == number]
        first_failed = failed.head(EXAMPLES)
        yield DayReport(
            day=days.first + timedelta(days=number),
            published=int(totals["published"][number]),
            failures=Counter(failed["reason"].tolist()),
            examples=[
                FailedStudent(int(user_id), reason, detail)
                for user_id, reason, detail in zip(
                    first_failed["user_id"], first_failed["reason"], first_failed["detail"], strict=True
                )
            ],
            first_failed={
                reason: int(user_ids.min()) for reason, user_ids in failed.groupby("reason", sort=False)["user_id"]
            }
            if len(failed)
            else {},
            active=int(totals["active"][number]),
            lessons=int(totals["lessons"][number]),
            minutes=int(totals["minutes"][number]),
            paces=paces[number],
            students_with_average=int(totals["students_with_average"][number]),
            quiz_total=float(totals["quiz_total"][number]),
            restated=int(publication.restated[number]),
            reranked=int(publication.reranked[number]),
            removed=int(publication.removed[number]),
        )


def read_report(
    connection: Connection, tables: StoreTables, day: date, restated: int, removed: int = 0
) -> DayReport | None:
    """The report of a day from our tables; None if the day was never recorded."""
    counts = day_counts(connection, tables, day, day)
    if not counts:
        return None
    failures = failures_by_reason(connection, tables, day, day)
    totals = day_totals(connection, tables, day)
    return DayReport(
        day,
        published=counts[0].published,
        failures=Counter({failure.reason: failure.student_days for failure in failures}),
        examples=failures_of(connection, tables, day, EXAMPLES),
        first_failed={failure.reason: failure.first_student for failure in failures},
        active=totals.active,
        lessons=totals.lessons,
        minutes=totals.minutes,
        paces=pace_counts(connection, tables, day),
        students_with_average=totals.students_with_average,
        quiz_total=totals.quiz_total,
        restated=restated,
        removed=removed,
        with_issues=counts[0].with_issues,
        issues=issues_by_day(connection, tables, day, day).get(day, ()),
    )


@dataclass(frozen=True)
class DayDetails:
    """Details of a published day, for the UI.

    Attributes:
        pace_changes: How far pace scores have moved since the day before; None without a day before.
        without_data: Numbers of students with little data.
        earlier_day: The day four weeks before.
        earlier_paces: Its pace scores; empty if it was not computed.
    """

    day: date
    pace_changes: PaceQuartiles | None
    without_data: WithoutData
    earlier_day: date
    earlier_paces: ScoreCounts


def read_day_details(installation: Installation, day: date) -> DayDetails:
    """Read the details of a published day; nothing else depends on them."""
    earlier = day - COMPARED_WITH
    return DayDetails(
        day=day,
        pace_changes=installation.transaction(pace_change_quartiles, day),
        without_data=installation.transaction(students_without_data, day),
        earlier_day=earlier,
        earlier_paces=installation.transaction(pace_counts, earlier),
    )


def success_rates(installation: Installation, last: date) -> Mapping[date, float | None]:
    """The success rate of each computed day of the calendar that ends with `last`; None on a day without students."""
    counts = installation.transaction(day_counts, last - CALENDAR + timedelta(days=1), last)
    return {count.day: count.success_rate for count in counts}

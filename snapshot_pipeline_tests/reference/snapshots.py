"""The snapshots and the invalid rows of a day, as defined in `metrics.md`.

Numbers are exact fractions until they are rounded; a score is the decimal number that is printed for its float.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from snapshot_pipeline_tests.reference.days import end_of_day, start_of_day
from snapshot_pipeline_tests.reference.rows import MINUTE, Issue, PlatformRows, Student

WEIGHTS = [Fraction(text) for text in ["0.40", "0.25", "0.20", "0.10", "0.05", "0.04", "0.03", "0.02", "0.01", "0.01"]]


@dataclass(frozen=True)
class Snapshot:
    """A row of `performance_snapshots`, without `computed_at`."""

    user_id: int
    snapshot_date: date
    pace_score: float
    learning_pace: str
    quiz_average: float | None
    lessons_completed_count: int
    time_spent_minutes_today: int
    quizzes_completed_count: int
    exercises_submitted_count: int
    last_activity_date: date
    days_since_activity: int


@dataclass(frozen=True)
class Failure:
    """A row of `snapshot_failures`, without `computed_at`; only an exception leads to one."""

    user_id: int
    snapshot_date: date
    reason: str
    detail: str


@dataclass(frozen=True)
class ReferenceDay:
    """The result of one day, by student id; no rows of the platform make a student fail.

    Attributes:
        issues: The invalid rows of the day, of the students with a snapshot, by table, key and issue.
    """

    published: list[Snapshot]
    issues: list[Issue]
    failures: list[Failure] = field(default_factory=list)

    @property
    def students_with_issues(self) -> int:
        """Number of students with a snapshot who have an invalid row of the day."""
        return len({issue.user_id for issue in self.issues})


def reference_day(platform_rows: PlatformRows, day: date, zone: ZoneInfo) -> ReferenceDay:
    """Return the snapshots and issues of `day`, for all active students who started a lesson before its end."""
    due = [
        student
        for student in platform_rows.active_students(zone)
        if student.first_started_on is not None and student.first_started_on <= day
    ]
    issues = [issue for student in due for issue in student.issues if issue.day == day]
    return ReferenceDay(
        [snapshot_of_student(student, day, zone) for student in due],
        sorted(issues, key=lambda issue: (issue.source_table, issue.source_key, issue.issue)),
    )


def snapshot_of_student(student: Student, day: date, zone: ZoneInfo) -> Snapshot:
    """Return the snapshot of `day` of a student who has started a lesson before its end."""
    assert student.first_started_on is not None
    average = quiz_average(last_ten_scores(student, day))
    pace_score = rounded(exact_pace_score(student, window_of(student.first_started_on, day), average))
    last_activity = max(active_on for active_on in _activity(student) if active_on <= day)
    return Snapshot(
        user_id=student.user.id,
        snapshot_date=day,
        pace_score=float(pace_score),
        learning_pace=learning_pace(pace_score),
        quiz_average=None if average is None else float(rounded(average)),
        lessons_completed_count=sum(lesson.completed_on == day for lesson in student.progress),
        time_spent_minutes_today=minutes_of_day(student, day, zone),
        quizzes_completed_count=sum(attempt.completed_on == day for attempt in student.attempts),
        exercises_submitted_count=sum(submitted_on == day for submitted_on in student.exercises),
        last_activity_date=last_activity,
        days_since_activity=(day - last_activity).days,
    )


def minutes_of_day(student: Student, day: date, zone: ZoneInfo) -> int:
    """Return the minutes of the lessons started on `day`, at most its length."""
    length = (end_of_day(day, zone) - start_of_day(day, zone)) // MINUTE
    return min(sum(lesson.minutes for lesson in student.progress if lesson.day == day), length)


@dataclass(frozen=True)
class Window:
    """The last `n` days, `first` to `last`, both included."""

    first: date
    last: date
    n: int

    def contains(self, day: date | None) -> bool:
        """Return whether `day` is in the window."""
        return day is not None and self.first <= day <= self.last


def window_of(first_started_on: date, day: date) -> Window:
    """Return the days from the first start to `day`, both included, but at least the last 7 and at most the last 30."""
    n = min(max((day - first_started_on).days + 1, 7), 30)
    return Window(day - timedelta(days=n - 1), day, n)


def exact_pace_score(student: Student, window: Window, average: Fraction | None) -> Fraction:
    """Return the unrounded `pace_score`."""
    completed_on = [row.completed_on for row in student.progress if window.contains(row.completed_on)]
    return pace(lessons=len(completed_on), days=len(set(completed_on)), n=window.n, average=average)


def pace(*, lessons: int, days: int, n: int, average: Fraction | None) -> Fraction:
    """Return the unrounded pace score; a lesson a day, and lessons on two days out of three, give full marks."""
    velocity = min(Fraction(lessons, n), Fraction(1)) * 100
    consistency = min(days / (n * Fraction(2, 3)), Fraction(1)) * 100
    quiz = Fraction(0) if average is None else average
    return (4 * velocity + 3 * consistency + 3 * quiz) / 10


def last_ten_scores(student: Student, day: date) -> list[Fraction]:
    """Return the last ten scores, in percent, of attempts completed before the end of `day`, newest first."""
    attempts = [attempt for attempt in student.attempts if attempt.completed_on <= day]
    return [attempt.score for attempt in attempts if attempt.score is not None][:10]


def quiz_average(scores: Sequence[Fraction]) -> Fraction | None:
    """Return the unrounded weighted average of up to ten scores, newest first; None without scores."""
    if not scores:
        return None
    weights = WEIGHTS[: len(scores)]
    return sum(weight * score for weight, score in zip(weights, scores, strict=True)) / sum(weights)


def learning_pace(pace_score: Decimal) -> str:
    """Return the label of a rounded `pace_score`."""
    if pace_score >= 80:
        return "ACCELERATED"
    if pace_score >= 60:
        return "FAST"
    if pace_score >= 40:
        return "MEDIUM"
    return "SLOW"


def rounded(value: Fraction) -> Decimal:
    """Round a value of 0 or more to two decimals, half away from zero, exactly."""
    cents = math.floor(value * 100 + Fraction(1, 2))
    return (Decimal(cents) / 100).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)


def _activity(student: Student) -> Iterator[date]:
    for lesson in student.progress:
        if lesson.started_on is not None:
            yield lesson.started_on
        if lesson.completed_on is not None:
            yield lesson.completed_on
    for attempt in student.attempts:
        yield attempt.completed_on
    yield from student.exercises

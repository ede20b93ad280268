"""The snapshot or the failure of one student and one day, as defined in `metrics.md`.

Numbers are exact fractions until they are rounded; a score is the decimal number that is printed for its float.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from snapshot_pipeline_tests.reference.rows import DatedAttempt, DatedProgress, PlatformRows, Student

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


@dataclass(frozen=True)
class Failure:
    """A row of `snapshot_failures`, without `computed_at`."""

    user_id: int
    snapshot_date: date
    reason: str
    detail: str


@dataclass(frozen=True)
class ReferenceDay:
    """The result of one day, by student id."""

    published: list[Snapshot]
    failures: list[Failure]


def reference_day(platform_rows: PlatformRows, day: date, zone: ZoneInfo) -> ReferenceDay:
    """Return the snapshots and failures of `day`, for all active students who started a lesson before its end."""
    results = [snapshot_or_failure(student, day) for student in platform_rows.active_students(zone)]
    return ReferenceDay(
        published=[result for result in results if isinstance(result, Snapshot)],
        failures=[result for result in results if isinstance(result, Failure)],
    )


def snapshot_or_failure(student: Student, day: date) -> Snapshot | Failure | None:
    """Return the student's snapshot or failure of `day`; None if the student has started no lesson before its end."""
    if student.first_started_on is None or student.first_started_on > day:
        return None
    window = window_of(student.first_started_on, day)
    scored = last_ten_scored(student, day)
    failure = _first_issue(student, day, window, scored)
    if failure is not None:
        reason, detail = failure
        return Failure(student.user.id, day, reason, detail)
    average = quiz_average([row.row.score for row in scored if row.row.score is not None])
    pace_score = rounded(exact_pace_score(student, window, average))
    return Snapshot(
        user_id=student.user.id,
        snapshot_date=day,
        pace_score=float(pace_score),
        learning_pace=learning_pace(pace_score),
        quiz_average=None if average is None else float(rounded(average)),
        lessons_completed_count=sum(row.completed_on == day for row in student.progress),
        time_spent_minutes_today=sum(
            row.row.time_spent_minutes or 0 for row in student.progress if row.started_on == day
        ),
        quizzes_completed_count=sum(row.completed_on == day for row in student.attempts),
        exercises_submitted_count=sum(submitted_on == day for submitted_on in student.exercises),
        last_activity_date=max(active_on for active_on in _activity(student) if active_on <= day),
    )


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
    return Fraction("0.4") * velocity + Fraction("0.3") * consistency + Fraction("0.3") * quiz


def last_ten_scored(student: Student, day: date) -> list[DatedAttempt]:
    """Return the last ten scored attempts completed before the end of `day`, newest first."""
    scored = [row for row in student.attempts if row.completed_on <= day and row.row.score is not None]
    return scored[:10]


def quiz_average(scores: list[float]) -> Fraction | None:
    """Return the unrounded weighted average of up to ten scores, newest first; None without scores."""
    if not scores:
        return None
    weights = WEIGHTS[: len(scores)]
    return sum(weight * exact(score) for weight, score in zip(weights, scores, strict=True)) / sum(weights)


def learning_pace(pace_score: Decimal) -> str:
    """Return the label of a rounded `pace_score`."""
    if pace_score >= 80:
        return "ACCELERATED"
    if pace_score >= 60:
        return "FAST"
    if pace_score >= 40:
        return "MEDIUM"
    return "SLOW"


def exact(score: float) -> Fraction:
    """Return the decimal number that is printed for a finite score."""
    return Fraction(Decimal(repr(float(score))))


def rounded(value: Fraction) -> Decimal:
    """Round a value of 0 or more to two decimals, half away from zero, exactly."""
    cents = math.floor(value * 100 + Fraction(1, 2))
    return (Decimal(cents) / 100).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)


def _activity(student: Student) -> Iterator[date]:
    for row in student.progress:
        if row.started_on is not None:
            yield row.started_on
        if row.completed_on is not None:
            yield row.completed_on
    for attempt in student.attempts:
        yield attempt.completed_on
    yield from student.exercises


def _first_issue(student: Student, day: date, window: Window, scored: list[DatedAttempt]) -> tuple[str, str] | None:
    """Return reason and detail of the first reason, in the order of `metrics.md`, with an invalid row; else None."""
    for attempt in scored:
        score = attempt.row.score
        if score is not None and not 0 <= score <= 100:  # a comparison with NaN is false
            return "score_out_of_range", f"quiz_attempts id {attempt.row.id}: score {float(score)!r}"
    needed = [row for row in student.progress if window.contains(row.started_on) or window.contains(row.completed_on)]
    negative = [row for row in needed if (row.row.time_spent_minutes or 0) < 0]
    if negative:
        row = _latest_row(negative, window).row
        return (
            "negative_time_spent",
            f"user_lesson_progress lesson {row.lesson_id}: time_spent_minutes {row.time_spent_minutes}",
        )
    backwards = [row for row in needed if _completed_before_started(row)]
    if backwards:
        row = _latest_row(backwards, window).row
        completed_at, started_at = row.completed_at, row.started_at
        if completed_at is not None and started_at is not None:
            return "completed_before_started", (
                f"user_lesson_progress lesson {row.lesson_id}: completed_at {completed_at.isoformat()} "
                f"is earlier than started_at {started_at.isoformat()}"
            )
    return None


def _completed_before_started(row: DatedProgress) -> bool:
    started_at, completed_at = row.row.started_at, row.row.completed_at
    return started_at is not None and completed_at is not None and completed_at < started_at


def _latest_row(invalid: list[DatedProgress], window: Window) -> DatedProgress:
    """Return the invalid row with the latest start or completion in the window; on a tie the highest lesson id."""

    def latest_day(row: DatedProgress) -> date:
        return max(day for day in (row.started_on, row.completed_on) if day is not None and window.contains(day))

    return max(invalid, key=lambda row: (latest_day(row), row.row.lesson_id))

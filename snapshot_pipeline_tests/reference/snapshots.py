"""One student, one day: the snapshot or the failure, as `metrics.md` says it.

Put here: the figures of `performance_snapshots` and the reasons of `snapshot_failures`, sentence by sentence.
Do not put here: the way of the rows to here (`rows`), or what follows from snapshots (`recommendations`).
Numbers are exact fractions until the last step; a score is the decimal number that it prints as.
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
    """What one day comes to for all students, by id."""

    published: list[Snapshot]
    failures: list[Failure]


def reference_day(platform_rows: PlatformRows, day: date, zone: ZoneInfo) -> ReferenceDay:
    """The snapshots and failures of `day` for every active student who has begun by its end."""
    results = [snapshot_or_failure(student, day) for student in platform_rows.active_students(zone)]
    return ReferenceDay(
        published=[result for result in results if isinstance(result, Snapshot)],
        failures=[result for result in results if isinstance(result, Failure)],
    )


def snapshot_or_failure(student: Student, day: date) -> Snapshot | Failure | None:
    """The student's snapshot of `day`, or why there is none; None when the student has not started before its end."""
    if student.first_started_on is None or student.first_started_on > day:
        return None
    window = window_of(student.first_started_on, day)
    scored = last_ten_scored(student, day)
    failure = _first_fault(student, day, window, scored)
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

    def holds(self, day: date | None) -> bool:
        """Whether `day` is one of them."""
        return day is not None and self.first <= day <= self.last


def window_of(first_started_on: date, day: date) -> Window:
    """The days from the first start to `day`, both included, but at least the last 7 and at most the last 30."""
    n = min(max((day - first_started_on).days + 1, 7), 30)
    return Window(day - timedelta(days=n - 1), day, n)


def exact_pace_score(student: Student, window: Window, average: Fraction | None) -> Fraction:
    """`pace_score` before it is rounded."""
    completed_on = [row.completed_on for row in student.progress if window.holds(row.completed_on)]
    return pace(lessons=len(completed_on), days=len(set(completed_on)), n=window.n, average=average)


def pace(*, lessons: int, days: int, n: int, average: Fraction | None) -> Fraction:
    """The formula: a lesson a day, and lessons on two days out of three, are full marks."""
    velocity = min(Fraction(lessons, n), Fraction(1)) * 100
    consistency = min(days / (n * Fraction(2, 3)), Fraction(1)) * 100
    quiz = Fraction(0) if average is None else average
    return Fraction("0.4") * velocity + Fraction("0.3") * consistency + Fraction("0.3") * quiz


def last_ten_scored(student: Student, day: date) -> list[DatedAttempt]:
    """The last ten scored attempts completed before the end of `day`, newest first."""
    scored = [row for row in student.attempts if row.completed_on <= day and row.row.score is not None]
    return scored[:10]


def quiz_average(scores: list[float]) -> Fraction | None:
    """The weighted average of up to ten scores, newest first, before it is rounded; None of no score."""
    if not scores:
        return None
    weights = WEIGHTS[: len(scores)]
    return sum(weight * exact(score) for weight, score in zip(weights, scores, strict=True)) / sum(weights)


def learning_pace(pace_score: Decimal) -> str:
    """The word for a rounded `pace_score`."""
    if pace_score >= 80:
        return "ACCELERATED"
    if pace_score >= 60:
        return "FAST"
    if pace_score >= 40:
        return "MEDIUM"
    return "SLOW"


def exact(score: float) -> Fraction:
    """The decimal number that a finite score prints as."""
    return Fraction(Decimal(repr(float(score))))


def rounded(value: Fraction) -> Decimal:
    """`value`, which is not negative, to two decimals, half away from zero, without any error on the way."""
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


def _first_fault(student: Student, day: date, window: Window, scored: list[DatedAttempt]) -> tuple[str, str] | None:
    """Reason and detail of the first reason, in the order of the table, for which some row cannot be right."""
    for attempt in scored:
        score = attempt.row.score
        if score is not None and not 0 <= score <= 100:  # a comparison with NaN is false
            return "score_out_of_range", f"quiz_attempts id {attempt.row.id}: score {float(score)!r}"
    needed = [row for row in student.progress if window.holds(row.started_on) or window.holds(row.completed_on)]
    negative = [row for row in needed if (row.row.time_spent_minutes or 0) < 0]
    if negative:
        row = _named(negative, window).row
        return (
            "negative_time_spent",
            f"user_lesson_progress lesson {row.lesson_id}: time_spent_minutes {row.time_spent_minutes}",
        )
    backwards = [row for row in needed if _completed_before_started(row)]
    if backwards:
        row = _named(backwards, window).row
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


def _named(wrong: list[DatedProgress], window: Window) -> DatedProgress:
    """Of several wrong rows the one touched on the latest day of the window; of equals the highest lesson."""

    def latest_day(row: DatedProgress) -> date:
        return max(day for day in (row.started_on, row.completed_on) if day is not None and window.holds(day))

    return max(wrong, key=lambda row: (latest_day(row), row.row.lesson_id))

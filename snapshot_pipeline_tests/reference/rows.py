"""The platform's six tables as plain rows, and the active students with their rows, corrected as in `metrics.md`."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import TypeVar
from zoneinfo import ZoneInfo

from snapshot_pipeline_tests.reference.days import end_of_day, local_day

EARLIEST = datetime(2000, 1, 1, tzinfo=timezone.utc)
NO_MOMENT = datetime(9000, 1, 1, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)
WEEK_MINUTES = 10_080


@dataclass(frozen=True)
class User:
    """A row of `users`."""

    id: int
    role: str
    is_active: bool
    current_specialization: str | None
    current_level: str | None


@dataclass(frozen=True)
class Lesson:
    """A row of `lessons`."""

    id: int
    title: str
    specialization_id: str | None
    level_id: str | None
    display_order: int | None
    is_published: bool


@dataclass(frozen=True)
class Progress:
    """A row of `user_lesson_progress`; instants are aware, in UTC; minutes are whole, or NaN."""

    user_id: int
    lesson_id: int
    started_at: datetime | None
    completed_at: datetime | None
    time_spent_minutes: float | None


@dataclass(frozen=True)
class Quiz:
    """A row of `quizzes`."""

    id: int
    lesson_id: int | None
    title: str | None


@dataclass(frozen=True)
class Attempt:
    """A row of `quiz_attempts`; a `score` of None is not graded yet, one of NaN is invalid."""

    id: int
    user_id: int
    quiz_id: int
    score: float | None
    completed_at: datetime | None


@dataclass(frozen=True)
class Exercise:
    """A row of `exercise_submissions`."""

    id: int
    user_id: int
    created_at: datetime | None


@dataclass(frozen=True)
class PlatformRows:
    """All rows of the six tables, in any order; do not change them after the first call of `active_students`.

    Attributes:
        moment: The moment of computation.
        score_maximum: The score of full marks.
    """

    users: list[User] = field(default_factory=list)
    lessons: list[Lesson] = field(default_factory=list)
    user_lesson_progress: list[Progress] = field(default_factory=list)
    quizzes: list[Quiz] = field(default_factory=list)
    quiz_attempts: list[Attempt] = field(default_factory=list)
    exercise_submissions: list[Exercise] = field(default_factory=list)
    moment: datetime = field(default=NO_MOMENT, compare=False)
    score_maximum: float = field(default=100, compare=False)
    _students: dict[ZoneInfo, list[Student]] = field(default_factory=dict, repr=False, compare=False)

    def active_students(self, zone: ZoneInfo) -> list[Student]:
        """Return the active students by id, with their rows; computed once per zone."""
        if zone not in self._students:
            self._students[zone] = _active_students(self, zone)
        return self._students[zone]


@dataclass(frozen=True)
class Issue:
    """A row of `data_issues`, without the times at which it was seen.

    Attributes:
        value: A text that `detail` contains; the rest of it is free.
    """

    source_table: str
    source_key: str
    issue: str
    user_id: int
    day: date
    value: str = field(default="", compare=False)


@dataclass(frozen=True)
class DatedProgress:
    """A lesson of a student, corrected: of several rows for it, the one that counts.

    Attributes:
        row: The row that counts, with the times as recorded; None where the recorded time is not valid.
        start: The lesson's start; the earlier one of the two times.
        minutes: At most the time from the start to the end of that day.
        day: The local day of `start`.
        started_on: The local day of the recorded start; None if there is none.
        completed_on: The local day of the completion; None if there is none.
    """

    row: Progress
    start: datetime
    minutes: int
    day: date
    started_on: date | None
    completed_on: date | None


@dataclass(frozen=True)
class DatedAttempt:
    """A completed quiz attempt with its local day; `score` in percent, None if it is not graded."""

    row: Attempt
    completed_on: date
    score: Fraction | None


@dataclass(frozen=True)
class Student:
    """An active student with all valid rows.

    Attributes:
        attempts: The completed attempts, newest first, by `completed_at` and id.
        exercises: The local days of the submissions.
        first_started_on: The local day of the first start of a lesson; None if no lesson has been started.
        issues: The student's invalid rows.
    """

    user: User
    progress: list[DatedProgress]
    attempts: list[DatedAttempt]
    exercises: list[date]
    first_started_on: date | None
    issues: list[Issue]


def _active_students(rows: PlatformRows, zone: ZoneInfo) -> list[Student]:
    progress = grouped(rows.user_lesson_progress, lambda row: row.user_id)
    attempts = grouped(rows.quiz_attempts, lambda row: row.user_id)
    exercises = grouped(rows.exercise_submissions, lambda row: row.user_id)
    return [
        _student_of(rows, user, progress.get(user.id, []), attempts.get(user.id, []), exercises.get(user.id, []), zone)
        for user in sorted(rows.users, key=lambda user: user.id)
        if user.is_active and user.role.strip(" ").upper() == "STUDENT"
    ]


def _student_of(
    rows: PlatformRows,
    user: User,
    progress: list[Progress],
    attempts: list[Attempt],
    exercises: list[Exercise],
    zone: ZoneInfo,
) -> Student:
    lessons: list[DatedProgress] = []
    issues: list[Issue] = []
    for copies in grouped(progress, lambda row: row.lesson_id).values():
        with_time = _copies(rows.moment, copies)
        if with_time:
            lessons.append(_lesson(with_time, zone))
            issues += _progress_issues(rows.moment, with_time, zone)
    completed = [(row.completed_at, row.id, row) for row in attempts if row.completed_at is not None]
    completed = [key for key in completed if valid(rows.moment, key[0])]
    completed.sort(key=lambda key: key[:2], reverse=True)
    dated = [
        DatedAttempt(row, local_day(completed_at, zone), percent(row.score, rows.score_maximum))
        for completed_at, _, row in completed
    ]
    submitted = [row.created_at for row in exercises if row.created_at is not None]
    return Student(
        user=user,
        progress=lessons,
        attempts=dated,
        exercises=[local_day(at, zone) for at in submitted if valid(rows.moment, at)],
        first_started_on=min((lesson.day for lesson in lessons), default=None),
        issues=issues + [issue for attempt in dated for issue in _attempt_issues(attempt)],
    )


def valid(moment: datetime, at: datetime | None) -> datetime | None:
    """Return the time if it is neither before 2000 nor after the moment of computation, else None."""
    return at if at is not None and EARLIEST <= at <= moment else None


@cache
def percent(score: float | None, maximum: float) -> Fraction | None:
    """Return a score in percent, from 0 to 100; None if it is not graded."""
    if score is None or not math.isfinite(score):
        return None
    return min(max(100 * exact(score) / exact(maximum), Fraction(0)), Fraction(100))


def exact(number: float) -> Fraction:
    """Return the decimal number that is printed for a finite float."""
    return Fraction(Decimal(repr(float(number))))


@dataclass(frozen=True)
class _Copy:
    """A row of a lesson, with its valid times and its start, the earlier of them."""

    row: Progress
    started_at: datetime | None
    completed_at: datetime | None
    start: datetime

    @property
    def order(self) -> tuple[bool, datetime, datetime, datetime]:
        """A completed row comes before one that is not, then the earliest start, completion and recorded start."""
        return (
            self.completed_at is None,
            self.start,
            self.completed_at or NO_MOMENT,
            self.started_at or NO_MOMENT,
        )


def _copies(moment: datetime, rows: list[Progress]) -> list[_Copy]:
    """Return the rows of a lesson that have a valid time; the first one counts."""
    copies = []
    for row in rows:
        started_at, completed_at = valid(moment, row.started_at), valid(moment, row.completed_at)
        times = [at for at in (started_at, completed_at) if at is not None]
        if times:
            copies.append(_Copy(row, started_at, completed_at, min(times)))
    return sorted(copies, key=lambda copy: copy.order)


def _lesson(copies: list[_Copy], zone: ZoneInfo) -> DatedProgress:
    best = copies[0]
    minutes = max(_minutes(copy.row) for copy in copies)
    day = local_day(best.start, zone)
    return DatedProgress(
        row=Progress(best.row.user_id, best.row.lesson_id, best.started_at, best.completed_at, minutes),
        start=best.start,
        minutes=min(minutes, (end_of_day(day, zone) - best.start) // MINUTE),
        day=day,
        started_on=None if best.started_at is None else local_day(best.started_at, zone),
        completed_on=None if best.completed_at is None else local_day(best.completed_at, zone),
    )


def _minutes(row: Progress) -> int:
    minutes = row.time_spent_minutes
    return 0 if minutes is None or math.isnan(minutes) or minutes < 0 else int(minutes)


def _progress_issues(moment: datetime, copies: list[_Copy], zone: ZoneInfo) -> list[Issue]:
    """Return the issues of the rows of a lesson; of several rows with the same one the first."""
    found: dict[str, Issue] = {}
    for copy in copies:
        row = copy.row
        key, day = f"{row.user_id}/{row.lesson_id}", local_day(copy.start, zone)
        for issue, value in _flaws(moment, copy):
            found.setdefault(issue, Issue("user_lesson_progress", key, issue, row.user_id, day, value))
        if len(copies) > 1:
            issue = "duplicate_progress"
            found.setdefault(issue, Issue("user_lesson_progress", key, issue, row.user_id, day, str(len(copies))))
    return list(found.values())


def _flaws(moment: datetime, copy: _Copy) -> Iterator[tuple[str, str]]:
    """Yield each issue of a row, and the column that its detail names."""
    row = copy.row
    if (row.time_spent_minutes or 0) < 0:
        yield "negative_minutes", f"time_spent_minutes {row.time_spent_minutes}"
    if row.time_spent_minutes is not None and math.isnan(row.time_spent_minutes):
        yield "implausible_minutes", "time_spent_minutes NaN"
    if (row.time_spent_minutes or 0) > WEEK_MINUTES:
        yield "implausible_minutes", f"time_spent_minutes {row.time_spent_minutes}"
    if copy.started_at and copy.completed_at and copy.started_at - copy.completed_at > 5 * MINUTE:
        yield "completed_before_started", "completed_at"
    for name, at in (("completed_at", row.completed_at), ("started_at", row.started_at)):
        if at is not None and at > moment:
            yield "future_timestamp", name
        if at is not None and at < EARLIEST:
            yield "implausible_timestamp", name


def _attempt_issues(attempt: DatedAttempt) -> list[Issue]:
    score = attempt.row.score
    if score is None or (math.isfinite(score) and score >= 0):
        return []
    issue = "negative_score" if math.isfinite(score) else "non_finite_score"
    return [Issue("quiz_attempts", str(attempt.row.id), issue, attempt.row.user_id, attempt.completed_on, "score")]


Row = TypeVar("Row")


def grouped(rows: Iterable[Row], key: Callable[[Row], int]) -> Mapping[int, list[Row]]:
    """Return the rows by key, each group in the order of the rows."""
    grouped: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[key(row)].append(row)
    return grouped

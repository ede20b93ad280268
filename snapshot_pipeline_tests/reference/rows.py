"""The platform's six tables as plain rows, the active students, and the local days of the rows of each student."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

from snapshot_pipeline_tests.reference.days import local_day


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
    """A row of `user_lesson_progress`; instants are aware, in UTC."""

    user_id: int
    lesson_id: int
    started_at: datetime | None
    completed_at: datetime | None
    time_spent_minutes: int | None


@dataclass(frozen=True)
class Quiz:
    """A row of `quizzes`."""

    id: int
    lesson_id: int | None
    title: str | None


@dataclass(frozen=True)
class Attempt:
    """A row of `quiz_attempts`; a `score` of None is not graded yet, a score of NaN is graded and invalid."""

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
    """All rows of the six tables, in any order; do not change them after the first call of `active_students`."""

    users: list[User] = field(default_factory=list)
    lessons: list[Lesson] = field(default_factory=list)
    user_lesson_progress: list[Progress] = field(default_factory=list)
    quizzes: list[Quiz] = field(default_factory=list)
    quiz_attempts: list[Attempt] = field(default_factory=list)
    exercise_submissions: list[Exercise] = field(default_factory=list)
    _students: dict[ZoneInfo, list[Student]] = field(default_factory=dict, repr=False, compare=False)

    def active_students(self, zone: ZoneInfo) -> list[Student]:
        """Return the active students by id, with their rows; computed once per zone."""
        if zone not in self._students:
            self._students[zone] = _active_students(self, zone)
        return self._students[zone]


@dataclass(frozen=True)
class DatedProgress:
    """A progress row with the local days of its instants; None where the instant is missing."""

    row: Progress
    started_on: date | None
    completed_on: date | None


@dataclass(frozen=True)
class DatedAttempt:
    """A completed quiz attempt with its local day."""

    row: Attempt
    completed_on: date


@dataclass(frozen=True)
class Student:
    """An active student with all rows.

    Attributes:
        attempts: The completed attempts, newest first, by `completed_at` and id.
        exercises: The local days of the submissions.
        first_started_on: The local day of the first `started_at`; None if no lesson has been started.
    """

    user: User
    progress: list[DatedProgress]
    attempts: list[DatedAttempt]
    exercises: list[date]
    first_started_on: date | None


def _active_students(rows: PlatformRows, zone: ZoneInfo) -> list[Student]:
    progress = _by_student(rows.user_lesson_progress, lambda row: row.user_id)
    attempts = _by_student(rows.quiz_attempts, lambda row: row.user_id)
    exercises = _by_student(rows.exercise_submissions, lambda row: row.user_id)
    return [
        student_of(user, progress.get(user.id, []), attempts.get(user.id, []), exercises.get(user.id, []), zone)
        for user in sorted(rows.users, key=lambda user: user.id)
        if user.is_active and user.role.upper() == "STUDENT"
    ]


def student_of(
    user: User, progress: list[Progress], attempts: list[Attempt], exercises: list[Exercise], zone: ZoneInfo
) -> Student:
    """Return a student with the local days of these rows."""
    dated_progress = [
        DatedProgress(row, _day_or_none(row.started_at, zone), _day_or_none(row.completed_at, zone)) for row in progress
    ]
    completed = [(row.completed_at, row.id, row) for row in attempts if row.completed_at is not None]
    completed.sort(key=lambda key: key[:2], reverse=True)
    return Student(
        user=user,
        progress=dated_progress,
        attempts=[DatedAttempt(row, local_day(completed_at, zone)) for completed_at, _, row in completed],
        exercises=[local_day(row.created_at, zone) for row in exercises if row.created_at is not None],
        first_started_on=min((row.started_on for row in dated_progress if row.started_on is not None), default=None),
    )


def _day_or_none(instant: datetime | None, zone: ZoneInfo) -> date | None:
    return None if instant is None else local_day(instant, zone)


Row = TypeVar("Row")


def _by_student(rows: Iterable[Row], user_id: Callable[[Row], int]) -> Mapping[int, list[Row]]:
    grouped: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[user_id(row)].append(row)
    return grouped

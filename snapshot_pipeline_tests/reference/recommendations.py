"""The recommendations of a week, one student at a time, as defined in `metrics.md`: six rules, and the three best.

Without titles and messages, and without the effects on recommendations that are already in the table: these belong to
the tests of `recommendations.messages` and of the store.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from snapshot_pipeline_tests.reference.days import end_of_day, local_day, start_of_day
from snapshot_pipeline_tests.reference.rows import Lesson, PlatformRows, Progress, User, grouped

NEVER = datetime.max.replace(tzinfo=timezone.utc)
_BEFORE_PLATFORMS = datetime(2000, 1, 1, tzinfo=timezone.utc)
_ONE_DAY = timedelta(days=1)
_ONE_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Recommendation:
    """A row of `adaptive_recommendations`, without its texts and the columns that the store adds."""

    user_id: int
    recommendation_type: str
    priority: int
    metadata: dict[str, Any]


@dataclass(frozen=True)
class WeekRules:
    """What the settings and earlier weeks decide.

    Attributes:
        moment: When the run began; later times do not exist yet.
        dismissals: User id and type of recommendations that are left out.
        dismissed_lessons: User id and lesson id of lessons not to review.
        review_below: SNAPSHOT_REVIEW_BELOW_SCORE.
        score_maximum: SNAPSHOT_SCORE_MAXIMUM.
        engagement_scores: The published scores of the Sunday by user id.
    """

    moment: datetime = NEVER
    dismissals: Collection[tuple[int, str]] = ()
    dismissed_lessons: Collection[tuple[int, int]] = ()
    review_below: float = 60
    score_maximum: float = 100
    engagement_scores: Mapping[int, float] = field(default_factory=dict)


DEFAULT_RULES = WeekRules()


def reference_week(
    platform_rows: PlatformRows, week_start: date, zone: ZoneInfo, rules: WeekRules = DEFAULT_RULES
) -> list[Recommendation]:
    """Return the recommendations of a week by student, highest priority first.

    Args:
        week_start: A Monday.
    """
    week = _Week(platform_rows, week_start + timedelta(days=6), zone, rules)
    chosen: list[Recommendation] = []
    for user in sorted(week.students, key=lambda user: user.id):
        allowed = {
            name: (priority, metadata)
            for name, priority, metadata in week.candidates(user)
            if (user.id, name) not in rules.dismissals
        }
        if "TAKE_BREAK" in allowed:
            allowed.pop("PRACTICE_MORE", None)
            allowed.pop("CONTINUE_LEARNING", None)
        if "RESUME_LEARNING" in allowed:
            allowed.pop("CONTINUE_LEARNING", None)
        best = sorted(allowed.items(), key=lambda entry: -entry[1][0])[:3]
        chosen += [Recommendation(user.id, name, priority, metadata) for name, (priority, metadata) in best]
    return chosen


Found = Iterator[tuple[str, int, dict[str, Any]]]
"""Type, priority and metadata of each recommendation of a rule."""


class _Week:
    """The rules for the students of a platform in the week that ends on a Sunday."""

    def __init__(self, rows: PlatformRows, sunday: date, zone: ZoneInfo, rules: WeekRules) -> None:
        self.rows, self.sunday, self.zone, self.rules = rows, sunday, zone, rules
        self.students = [user for user in rows.users if user.is_active and user.role.strip().upper() == "STUDENT"]
        self.attempts = grouped(rows.quiz_attempts, lambda row: row.user_id)
        self.exercises = grouped(rows.exercise_submissions, lambda row: row.user_id)
        progress = grouped(rows.user_lesson_progress, lambda row: row.user_id)
        self.progress = {user.id: self._corrected(progress.get(user.id, [])) for user in self.students}
        self.cohorts: dict[tuple[str, str], list[User]] = {}
        for user in self.students:
            if (cohort := _cohort(user)) is not None:
                self.cohorts.setdefault(cohort, []).append(user)
        self.begun = {cohort: self._has_begun(users) for cohort, users in self.cohorts.items()}
        self.with_exercises = {
            cohort
            for cohort, users in self.cohorts.items()
            if any(self._within(day, 27) for user in users for day in self._exercise_days(user))
        }

    def candidates(self, user: User) -> Found:
        """Yield what the rules find for a student."""
        yield from self._take_break(user)
        yield from self._resume_learning(user)
        yield from self._review_lesson(user)
        yield from self._start_learning(user)
        yield from self._practice_more(user)
        yield from self._continue_learning(user)

    def _take_break(self, user: User) -> Found:
        total = 0
        for days_ago in range(3):
            day = self.sunday - timedelta(days=days_ago)
            end = end_of_day(day, self.zone)
            lessons = [row for row in self.progress[user.id] if self._day(row.start) == day]
            minutes = sum(min(row.minutes, (end - row.start) // _ONE_MINUTE) for row in lessons)
            total += min(minutes, (end - start_of_day(day, self.zone)) // _ONE_MINUTE)
        if total >= 600:
            yield "TAKE_BREAK", 95, {"total_minutes": total}

    def _resume_learning(self, user: User) -> Found:
        following = self._next_lesson(user)
        if self._has_started(user) and following is not None:
            inactive = (self.sunday - max(self._activity_days(user))).days
            score = self.rules.engagement_scores.get(user.id)
            if (inactive >= 14) if score is None else (inactive >= 7 and score < 35):
                yield "RESUME_LEARNING", 90, {"days_inactive": inactive, **following}

    def _review_lesson(self, user: User) -> Found:
        published = {lesson.id for lesson in self.rows.lessons if lesson.is_published}
        weak: dict[int, float] = {}
        for quiz in self.rows.quizzes:
            graded = [
                (attempt.completed_at, attempt.id, attempt.score)
                for attempt in self.attempts.get(user.id, [])
                if attempt.quiz_id == quiz.id
                and self._is_valid(attempt.completed_at)
                and self._within(self._day(attempt.completed_at), 29)
                and attempt.score is not None
                and math.isfinite(attempt.score)
            ]
            if (
                not graded
                or quiz.lesson_id not in published
                or (user.id, quiz.lesson_id) in self.rules.dismissed_lessons
            ):
                continue
            score = self._percent(max(graded)[2])
            if score < self.rules.review_below:
                weak[quiz.lesson_id] = min(score, weak.get(quiz.lesson_id, score))
        lowest = sorted((score, lesson_id) for lesson_id, score in weak.items())[:3]
        if lowest:
            metadata = {
                "lesson_ids": [lesson_id for _, lesson_id in lowest],
                "scores": [score for score, _ in lowest],
            }
            yield "REVIEW_LESSON", 85, metadata

    def _start_learning(self, user: User) -> Found:
        cohort = _cohort(user)
        if not self._has_started(user) and (cohort is None or self.begun[cohort]):
            yield "START_LEARNING", 80, self._next_lesson(user) or {}

    def _practice_more(self, user: User) -> Found:
        lessons = sum(self._within(self._day(row.completed_at), 13) for row in self.progress[user.id])
        exercises = sum(self._within(day, 13) for day in self._exercise_days(user))
        if lessons >= 5 and exercises < 2 and _cohort(user) in self.with_exercises:
            yield "PRACTICE_MORE", 75, {"lessons_done": lessons, "exercises_done": exercises}

    def _continue_learning(self, user: User) -> Found:
        following = self._next_lesson(user)
        if self._has_started(user) and following is not None:
            yield "CONTINUE_LEARNING", 70, following

    def _next_lesson(self, user: User) -> dict[str, Any] | None:
        """The first published lesson of the course that is not completed."""
        cohort = _cohort(user)
        done = {
            row.lesson_id
            for row in self.progress[user.id]
            if row.completed_at is not None and self._day(row.completed_at) <= self.sunday
        }
        course = [
            lesson
            for lesson in self.rows.lessons
            if lesson.is_published and cohort is not None and (lesson.specialization_id, lesson.level_id) == cohort
        ]
        for lesson in sorted(course, key=_order_of_study):
            if lesson.id not in done:
                return {"lesson_id": lesson.id, "lesson_title": lesson.title}
        return None

    def _has_begun(self, users: list[User]) -> bool:
        """A tenth has started, or somebody 28 or more days ago."""
        starts = [self._day(min(self._starts(user))) for user in users if self._has_started(user)]
        return 10 * len(starts) >= len(users) or any((self.sunday - day).days >= 28 for day in starts)

    def _has_started(self, user: User) -> bool:
        return any(self._day(start) <= self.sunday for start in self._starts(user))

    def _starts(self, user: User) -> list[datetime]:
        return [row.start for row in self.progress[user.id]]

    def _activity_days(self, user: User) -> list[date]:
        """The days up to the Sunday on which something was recorded."""
        times: list[datetime | None] = []
        for row in self.progress[user.id]:
            times += [row.started_at, row.completed_at]
        times += [row.completed_at for row in self.attempts.get(user.id, [])]
        days = [self._day(at) for at in times if self._is_valid(at)] + self._exercise_days(user)
        return [day for day in days if day <= self.sunday]

    def _exercise_days(self, user: User) -> list[date]:
        submitted = [row.created_at for row in self.exercises.get(user.id, [])]
        return [self._day(at) for at in submitted if self._is_valid(at)]

    def _corrected(self, rows: list[Progress]) -> list[_Started]:
        with_time = [row for row in rows if self._is_valid(row.started_at) or self._is_valid(row.completed_at)]
        return [self._chosen(copies) for copies in grouped(with_time, lambda row: row.lesson_id).values()]

    def _chosen(self, rows: list[Progress]) -> _Started:
        """Of the rows of one lesson a completed one, then the earliest."""
        candidates = [
            _Started(
                row.lesson_id,
                row.started_at if self._is_valid(row.started_at) else None,
                row.completed_at if self._is_valid(row.completed_at) else None,
                max(0, *(other.time_spent_minutes or 0 for other in rows)),
            )
            for row in rows
        ]
        return min(candidates, key=lambda row: (row.completed_at is None, row.start, row.completed_at or NEVER))

    def _percent(self, score: float) -> float:
        """The score in percent, 0 to 100, rounded half away from zero to two decimals."""
        percent = Decimal(repr(score)) * 100 / Decimal(repr(self.rules.score_maximum))
        limited = max(Decimal(0), min(Decimal(100), percent))
        return float(limited.quantize(Decimal("0.01"), ROUND_HALF_UP))

    def _is_valid(self, at: datetime | None) -> bool:
        return at is not None and _BEFORE_PLATFORMS <= at <= self.rules.moment

    def _within(self, day: date | None, days_before: int) -> bool:
        """Whether the day is one of `S - days_before … S`."""
        return day is not None and self.sunday - days_before * _ONE_DAY <= day <= self.sunday

    def _day(self, at: datetime | None) -> date | None:
        return None if at is None else local_day(at, self.zone)


@dataclass(frozen=True)
class _Started:
    """A lesson that a student has begun, corrected."""

    lesson_id: int
    started_at: datetime | None
    completed_at: datetime | None
    minutes: int

    @property
    def start(self) -> datetime:
        """The earlier of the two times."""
        return min(at for at in (self.started_at, self.completed_at) if at is not None)


def _cohort(user: User) -> tuple[str, str] | None:
    """Specialization and level; None without one of them."""
    if user.current_specialization and user.current_level:
        return user.current_specialization, user.current_level
    return None


def _order_of_study(lesson: Lesson) -> tuple[bool, int, int]:
    # A lesson without an order comes after those that have one.
    return lesson.display_order is None, lesson.display_order or 0, lesson.id

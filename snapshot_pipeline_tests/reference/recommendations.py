"""The recommendations of a week, one student at a time, as defined in `metrics.md`: six rules, and the five best.

Without titles and messages, and without the effects on recommendations that are already in the table: these belong to
the tests of `recommendations.messages` and of the store.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from snapshot_pipeline_tests.reference.rows import Lesson, PlatformRows, Student


class PublishedSnapshot(Protocol):
    """The columns of a snapshot that the rules use; a `Snapshot` of the reference or a row of the table."""

    @property
    def time_spent_minutes_today(self) -> int:
        """Minutes of the lessons started on the day."""

    @property
    def lessons_completed_count(self) -> int:
        """Lessons completed on the day."""

    @property
    def exercises_submitted_count(self) -> int:
        """Exercises submitted on the day."""

    @property
    def last_activity_date(self) -> date:
        """The latest day with any activity."""


Snapshots = Mapping[tuple[int, date], PublishedSnapshot]


@dataclass(frozen=True)
class Recommendation:
    """A row of `adaptive_recommendations`, without its texts and the columns that the store adds."""

    user_id: int
    recommendation_type: str
    priority: int
    metadata: dict[str, Any]


def reference_week(
    platform_rows: PlatformRows,
    snapshots_by_student_day: Snapshots,
    week_start: date,
    zone: ZoneInfo,
    dismissals: Collection[tuple[int, str]] = (),
) -> list[Recommendation]:
    """Return the recommendations of a week by student, highest priority first.

    Args:
        snapshots_by_student_day: The published snapshots by user id and day; days that are not needed are ignored.
        week_start: A Monday.
        dismissals: User id and type of recommendations that are left out.
    """
    sunday = week_start + timedelta(days=6)
    lesson_of_quiz = {quiz.id: quiz.lesson_id for quiz in platform_rows.quizzes if quiz.lesson_id is not None}
    chosen: list[Recommendation] = []
    for student in platform_rows.active_students(zone):
        mine = {
            days_ago: snapshots_by_student_day[student.user.id, sunday - timedelta(days=days_ago)]
            for days_ago in range(14)
            if (student.user.id, sunday - timedelta(days=days_ago)) in snapshots_by_student_day
        }
        recommended = [
            *_take_break(mine),
            *_resume_learning(mine, sunday),
            *_review_lesson(student, sunday, lesson_of_quiz),
            *_start_learning(student, sunday),
            *_practice_more(mine),
            *_continue_learning(student, sunday, platform_rows.lessons),
        ]
        allowed = [entry for entry in recommended if (student.user.id, entry[0]) not in dismissals]
        best = sorted(allowed, key=lambda entry: -entry[1])[:5]
        chosen += [Recommendation(student.user.id, *entry) for entry in best]
    return chosen


Found = Iterator[tuple[str, int, dict[str, Any]]]
"""Type, priority and metadata of each recommendation of a rule."""


def _take_break(snapshots: Mapping[int, PublishedSnapshot]) -> Found:
    minutes = sum(row.time_spent_minutes_today for days_ago, row in snapshots.items() if days_ago <= 2)
    if minutes >= 600:
        yield "TAKE_BREAK", 95, {"total_minutes": minutes}


def _resume_learning(snapshots: Mapping[int, PublishedSnapshot], sunday: date) -> Found:
    if 0 in snapshots:
        inactive = (sunday + timedelta(days=1) - snapshots[0].last_activity_date).days
        if inactive >= 7:
            yield "RESUME_LEARNING", 90, {"days_inactive": inactive}


def _review_lesson(student: Student, sunday: date, lesson_of_quiz: Mapping[int, int]) -> Found:
    latest: dict[int, float] = {}
    for attempt in student.attempts:  # newest first, so the first attempt of a lesson is its latest
        lesson_id = lesson_of_quiz.get(attempt.row.quiz_id)
        recent = sunday - timedelta(days=29) <= attempt.completed_on <= sunday
        if recent and lesson_id is not None and attempt.row.score is not None:
            latest.setdefault(lesson_id, attempt.row.score)
    weak = sorted((score, lesson_id) for lesson_id, score in latest.items() if math.isfinite(score) and score < 70)
    if weak:
        yield (
            "REVIEW_LESSON",
            85,
            {"lesson_ids": [lesson_id for _, lesson_id in weak[:3]], "scores": [score for score, _ in weak[:3]]},
        )


def _start_learning(student: Student, sunday: date) -> Found:
    if student.first_started_on is None or student.first_started_on > sunday:
        yield "START_LEARNING", 80, {}


def _practice_more(snapshots: Mapping[int, PublishedSnapshot]) -> Found:
    lessons = sum(row.lessons_completed_count for row in snapshots.values())
    exercises = sum(row.exercises_submitted_count for row in snapshots.values())
    if lessons >= 5 and exercises < 2:
        yield "PRACTICE_MORE", 75, {"lessons_done": lessons, "exercises_done": exercises}


def _continue_learning(student: Student, sunday: date, lessons: list[Lesson]) -> Found:
    done = {
        row.row.lesson_id for row in student.progress if row.completed_on is not None and row.completed_on <= sunday
    }
    open_lessons = [
        lesson
        for lesson in lessons
        if lesson.is_published
        and lesson.id not in done
        and lesson.specialization_id is not None  # as in SQL, null is not equal to null
        and lesson.specialization_id == student.user.current_specialization
        and lesson.level_id is not None
        and lesson.level_id == student.user.current_level
    ]
    if open_lessons:
        lesson = min(open_lessons, key=_order_of_study)
        yield "CONTINUE_LEARNING", 70, {"lesson_id": lesson.id, "lesson_title": lesson.title}


def _order_of_study(lesson: Lesson) -> tuple[bool, int, int]:
    # A lesson without an order comes after those that have one.
    return lesson.display_order is None, lesson.display_order or 0, lesson.id

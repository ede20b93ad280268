"""Convert plain rows to `WeekFacts`, the input of `recommend`."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from snapshot_pipeline.recommendations import WeekFacts
from snapshot_pipeline_tests.reference.days import end_of_day, start_of_day
from snapshot_pipeline_tests.reference.history_frames import INSTANT, first_started_at, frame_of, is_within
from snapshot_pipeline_tests.reference.recommendations import Snapshots
from snapshot_pipeline_tests.reference.rows import PlatformRows, Student

_DAY = "datetime64[s]"


def week_facts(
    rows: PlatformRows,
    snapshots: Snapshots,
    week_start: date,
    zone: ZoneInfo,
    dismissals: Collection[tuple[int, str]] = (),
) -> WeekFacts:
    """Return the arguments of `reference_week` as the input of `recommend`, in the order of the rows."""
    sunday = week_start + timedelta(days=6)
    start, end = start_of_day(sunday - timedelta(days=29), zone), end_of_day(sunday, zone)
    students = rows.active_students(zone)
    ids = {student.user.id for student in students}
    lesson_of_quiz = {quiz.id: quiz.lesson_id for quiz in rows.quizzes if quiz.lesson_id is not None}
    return WeekFacts(
        week_start=week_start,
        students=frame_of(
            [
                (
                    student.user.id,
                    student.user.current_specialization,
                    student.user.current_level,
                    _has_started(student, end),
                )
                for student in students
            ],
            {"user_id": "int64", "specialization": "object", "level": "object", "has_started": "bool"},
        ),
        snapshots=frame_of(
            [
                (
                    user_id,
                    day,
                    snapshot.time_spent_minutes_today,
                    snapshot.lessons_completed_count,
                    snapshot.exercises_submitted_count,
                    snapshot.last_activity_date,
                )
                for (user_id, day), snapshot in snapshots.items()
                if user_id in ids and sunday - timedelta(days=13) <= day <= sunday
            ],
            {
                "user_id": "int64",
                "snapshot_date": _DAY,
                "time_spent_minutes_today": "int64",
                "lessons_completed_count": "int64",
                "exercises_submitted_count": "int64",
                "last_activity_date": _DAY,
            },
        ),
        attempts=frame_of(
            [
                (row.user_id, row.id, lesson_of_quiz[row.quiz_id], row.score, row.completed_at)
                for row in rows.quiz_attempts
                if row.user_id in ids
                and row.score is not None
                and row.quiz_id in lesson_of_quiz
                and is_within(row.completed_at, start, end)
            ],
            {
                "user_id": "int64",
                "attempt_id": "int64",
                "lesson_id": "int64",
                "score": "float64",
                "completed_at": INSTANT,
            },
        ),
        completions=frame_of(
            [
                (row.user_id, row.lesson_id)
                for row in rows.user_lesson_progress
                if row.user_id in ids and row.completed_at is not None and row.completed_at < end
            ],
            {"user_id": "int64", "lesson_id": "int64"},
        ),
        lessons=frame_of(
            [
                (lesson.id, lesson.title, lesson.specialization_id, lesson.level_id, lesson.display_order)
                for lesson in rows.lessons
                if lesson.is_published
            ],
            {
                "lesson_id": "int64",
                "title": "object",
                "specialization": "object",
                "level": "object",
                "display_order": "Int64",
            },
        ),
        dismissals=frame_of(list(dismissals), {"user_id": "int64", "recommendation_type": "object"}),
    )


def _has_started(student: Student, end: datetime) -> bool:
    started_at = first_started_at(student)
    return started_at is not None and started_at < end

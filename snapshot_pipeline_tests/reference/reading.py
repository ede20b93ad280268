"""The plain rows out of a real database: six SELECTs without a condition.

Put here: how a driver's values become the reference's rows. Do not put here: choices of rows; the reference makes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, column, inspect, select, table

from snapshot_pipeline_tests.reference.rows import Attempt, Exercise, Lesson, PlatformRows, Progress, Quiz, User


def read_rows(database: Engine | Connection, schema: str, naive_zone: ZoneInfo | None = None) -> PlatformRows:
    """Read the six tables of `schema` whole; `exercise_submissions` may be missing.

    Args:
        database: An engine, or a connection that is left open.
        schema: The schema of the platform's tables.
        naive_zone: What plain time stamps are to be read in; UTC when None.
    """
    if isinstance(database, Engine):
        with database.connect() as connection:
            return read_rows(connection, schema, naive_zone)
    zone = naive_zone or timezone.utc

    def rows(name: str, *columns: str) -> Sequence[Any]:
        if name == "exercise_submissions" and not inspect(database).has_table(name, schema=schema):
            return []
        return database.execute(select(*(column(one) for one in columns)).select_from(table(name, schema=schema))).all()

    def instant(value: datetime | None) -> datetime | None:
        if value is None:
            return None
        return (value if value.tzinfo is not None else value.replace(tzinfo=zone)).astimezone(timezone.utc)

    return PlatformRows(
        users=[
            User(one.id, one.role, one.is_active, one.current_specialization, one.current_level)
            for one in rows("users", "id", "role", "is_active", "current_specialization", "current_level")
        ],
        lessons=[
            Lesson(*one)
            for one in rows("lessons", "id", "title", "specialization_id", "level_id", "display_order", "is_published")
        ],
        user_lesson_progress=[
            Progress(
                one.user_id, one.lesson_id, instant(one.started_at), instant(one.completed_at), one.time_spent_minutes
            )
            for one in rows(
                "user_lesson_progress", "user_id", "lesson_id", "started_at", "completed_at", "time_spent_minutes"
            )
        ],
        quizzes=[Quiz(*one) for one in rows("quizzes", "id", "lesson_id", "title")],
        quiz_attempts=[
            Attempt(
                one.id,
                one.user_id,
                one.quiz_id,
                None if one.score is None else float(one.score),
                instant(one.completed_at),
            )
            for one in rows("quiz_attempts", "id", "user_id", "quiz_id", "score", "completed_at")
        ],
        exercise_submissions=[
            Exercise(one.id, one.user_id, instant(one.created_at))
            for one in rows("exercise_submissions", "id", "user_id", "created_at")
        ],
    )

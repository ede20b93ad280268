"""Read the plain rows of the reference from a database, with six SELECTs without a condition."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, column, inspect, select, table

from snapshot_pipeline_tests.reference.rows import Attempt, Exercise, Lesson, PlatformRows, Progress, Quiz, User


def read_rows(
    database: Engine | Connection, schema: str, naive_zone: ZoneInfo | None = None, score_maximum: float = 100
) -> PlatformRows:
    """Read all rows of the platform's six tables; `exercise_submissions` may be missing.

    Args:
        database: An engine, or a connection, which stays open.
        naive_zone: Time zone of timestamps without a time zone; None means UTC.
        score_maximum: The score of full marks.

    Returns:
        The rows; the moment of computation is now.
    """
    if isinstance(database, Engine):
        with database.connect() as connection:
            return read_rows(connection, schema, naive_zone, score_maximum)
    zone = naive_zone or timezone.utc

    def rows(table_name: str, *columns: str) -> Sequence[Any]:
        if table_name == "exercise_submissions" and not inspect(database).has_table(table_name, schema=schema):
            return []
        return database.execute(
            select(*(column(name) for name in columns)).select_from(table(table_name, schema=schema))
        ).all()

    def instant(value: datetime | None) -> datetime | None:
        if value is None:
            return None
        return (value if value.tzinfo is not None else value.replace(tzinfo=zone)).astimezone(timezone.utc)

    return PlatformRows(
        moment=datetime.now(timezone.utc),
        score_maximum=score_maximum,
        users=[
            User(row.id, row.role, row.is_active, row.current_specialization, row.current_level)
            for row in rows("users", "id", "role", "is_active", "current_specialization", "current_level")
        ],
        lessons=[
            Lesson(*row)
            for row in rows("lessons", "id", "title", "specialization_id", "level_id", "display_order", "is_published")
        ],
        user_lesson_progress=[
            Progress(
                row.user_id, row.lesson_id, instant(row.started_at), instant(row.completed_at), row.time_spent_minutes
            )
            for row in rows(
                "user_lesson_progress", "user_id", "lesson_id", "started_at", "completed_at", "time_spent_minutes"
            )
        ],
        quizzes=[Quiz(*row) for row in rows("quizzes", "id", "lesson_id", "title")],
        quiz_attempts=[
            Attempt(
                row.id,
                row.user_id,
                row.quiz_id,
                None if row.score is None else float(row.score),
                instant(row.completed_at),
            )
            for row in rows("quiz_attempts", "id", "user_id", "quiz_id", "score", "completed_at")
        ],
        exercise_submissions=[
            Exercise(row.id, row.user_id, instant(row.created_at))
            for row in rows("exercise_submissions", "id", "user_id", "created_at")
        ],
    )

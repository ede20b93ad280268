"""Helpers that insert snapshots and list partitions with plain SQL."""

from __future__ import annotations

from datetime import date

from sqlalchemy import Engine, insert, text

from snapshot_pipeline.store.months import read_partitions
from snapshot_pipeline.store.tables import StoreTables

_FILL = text(
    """
    INSERT INTO performance_snapshots
    SELECT student, day, 42.5, 'MEDIUM', 77, 1, 30, 0, 1, day, 0, NULL, NULL, NULL, NULL, NULL, '2026-01-01'
      FROM generate_series(CAST(:first AS date), CAST(:last AS date), '1 day') AS day, generate_series(1, :students)
           AS student
    """
)


def put_snapshots(engine: Engine, tables: StoreTables, *days: date, users: tuple[int, ...] = (1, 2)) -> None:
    """Insert one row per student and day."""
    figures = {
        "pace_score": 42.5,
        "learning_pace": "MEDIUM",
        "lessons_completed_count": 1,
        "time_spent_minutes_today": 30,
        "quizzes_completed_count": 0,
        "exercises_submitted_count": 1,
        "days_since_activity": 0,
        "computed_at": "2026-01-01T00:00:00Z",
    }
    rows = [
        {"user_id": user, "snapshot_date": day, "last_activity_date": day, **figures} for user in users for day in days
    ]
    with engine.begin() as connection:
        connection.execute(insert(tables.performance_snapshots), rows)


def fill(engine: Engine, students: int, first: date, last: date) -> None:
    """Insert snapshots of `students` students on each day, in schema `public`."""
    with engine.begin() as connection:
        connection.execute(_FILL, {"students": students, "first": first, "last": last})


def names(engine: Engine, tables: StoreTables) -> list[str]:
    """Return the names of the partitions without the common prefix."""
    with engine.connect() as connection:
        partitions = read_partitions(connection, tables).partitions
    return [partition.name.removeprefix("performance_snapshots_") for partition in partitions]

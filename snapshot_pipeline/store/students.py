"""One student's days out of our tables.

Put here: reading of what is stored of one student. Do not put here: bulk reading (`snapshots`), or the platform's rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, Select, Table, func, select

from snapshot_pipeline.store.tables import StoreTables


@dataclass(frozen=True)
class StoredSnapshot:
    """A row of `performance_snapshots`, by its columns."""

    snapshot_date: date
    pace_score: float
    learning_pace: str
    quiz_average: float | None
    lessons_completed_count: int
    time_spent_minutes_today: int
    quizzes_completed_count: int
    exercises_submitted_count: int
    last_activity_date: date
    computed_at: datetime


@dataclass(frozen=True)
class StoredFailure:
    """A row of `snapshot_failures`, by its columns."""

    snapshot_date: date
    reason: str
    detail: str
    first_seen_at: datetime
    attempts: int


def snapshots_of_student(
    connection: Connection, tables: StoreTables, user_id: int, first: date, last: date
) -> dict[date, StoredSnapshot]:
    """The student's snapshots of the days `first … last`."""
    query = _rows(tables.performance_snapshots, StoredSnapshot, user_id, first, last)
    rows = (StoredSnapshot(**row) for row in connection.execute(query).mappings())
    return {row.snapshot_date: row for row in rows}


def failures_of_student(
    connection: Connection, tables: StoreTables, user_id: int, first: date, last: date
) -> dict[date, StoredFailure]:
    """The student's open failures of the days `first … last`."""
    query = _rows(tables.snapshot_failures, StoredFailure, user_id, first, last)
    rows = (StoredFailure(**row) for row in connection.execute(query).mappings())
    return {row.snapshot_date: row for row in rows}


def kept_snapshots(connection: Connection, tables: StoreTables, user_id: int) -> tuple[int, date | None]:
    """How many snapshots there are of a student, and the day of the last one."""
    snapshots = tables.performance_snapshots
    query = select(func.count(), func.max(snapshots.c.snapshot_date)).where(snapshots.c.user_id == user_id)
    count, last = connection.execute(query).one()
    return count, last


def _rows(
    table: Table, kind: type[StoredSnapshot] | type[StoredFailure], user_id: int, first: date, last: date
) -> Select[tuple[object, ...]]:
    columns = (table.c[name] for name in kind.__dataclass_fields__)
    return select(*columns).where(table.c.user_id == user_id, table.c.snapshot_date.between(first, last))

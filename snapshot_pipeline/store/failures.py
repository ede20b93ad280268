"""The table `snapshot_failures`: student-days that could not be computed, and their effect on the counts of days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, Connection, any_, cast, delete, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY

from snapshot_pipeline.store.tables import StoreTables


@dataclass(frozen=True)
class OpenFailures:
    """The open failures of one reason.

    Attributes:
        first_seen: When the oldest of them was first seen.
        attempts: The largest number of attempts.
        first_student: The lowest id of a student that has one.
    """

    reason: str
    student_days: int
    first_seen: datetime
    attempts: int
    first_student: int = 0


@dataclass(frozen=True)
class FailedStudent:
    """A student that failed on some day.

    Attributes:
        detail: The invalid row and its value, or the error message.
    """

    user_id: int
    reason: str
    detail: str


@dataclass(frozen=True)
class StoredFailure:
    """A row of `snapshot_failures`, without the student."""

    snapshot_date: date
    reason: str
    detail: str
    first_seen_at: datetime
    attempts: int


def failures_by_reason(connection: Connection, tables: StoreTables, first: date, last: date) -> list[OpenFailures]:
    """The open failures of the days `first … last`, the most frequent reason first."""
    failures = tables.snapshot_failures
    query = (
        select(
            failures.c.reason,
            func.count(),
            func.min(failures.c.first_seen_at),
            func.max(failures.c.attempts),
            func.min(failures.c.user_id),
        )
        .where(failures.c.snapshot_date.between(first, last))
        .group_by(failures.c.reason)
        .order_by(func.count().desc(), failures.c.reason)
    )
    return [OpenFailures(*row) for row in connection.execute(query)]


def failures_of(connection: Connection, tables: StoreTables, day: date, count: int) -> list[FailedStudent]:
    """The first `count` open failures of a day, by student."""
    failures = tables.snapshot_failures
    query = (
        select(failures.c.user_id, failures.c.reason, failures.c.detail)
        .where(failures.c.snapshot_date == day)
        .order_by(failures.c.user_id)
        .limit(count)
    )
    return [FailedStudent(*row) for row in connection.execute(query)]


def failing_students(
    connection: Connection, tables: StoreTables, first: date | None, last: date | None
) -> dict[date, tuple[int, ...]]:
    """The students with an open failure by day, days and students ascending; None means no bound."""
    failures = tables.snapshot_failures
    query = (
        select(failures.c.snapshot_date, func.array_agg(failures.c.user_id))
        .where(failures.c.snapshot_date.between(first or date.min, last or date.max))
        .group_by(failures.c.snapshot_date)
        .order_by(failures.c.snapshot_date)
    )
    return {day: tuple(sorted(user_ids)) for day, user_ids in connection.execute(query)}


def failed_days(connection: Connection, tables: StoreTables, first: date, last: date) -> list[date]:
    """The days `first … last` with an open failure, ascending."""
    day = tables.snapshot_failures.c.snapshot_date
    query = select(day).where(day.between(first, last)).distinct().order_by(day)
    return list(connection.execute(query).scalars())


def failures_of_student(
    connection: Connection, tables: StoreTables, user_id: int, first: date, last: date
) -> dict[date, StoredFailure]:
    """A student's open failures of the days `first … last`."""
    failures = tables.snapshot_failures
    query = select(*(failures.c[field.name] for field in fields(StoredFailure))).where(
        failures.c.user_id == user_id, failures.c.snapshot_date.between(first, last)
    )
    rows = (StoredFailure(**row) for row in connection.execute(query).mappings())
    return {row.snapshot_date: row for row in rows}


def delete_failures_of_inactive_students(
    connection: Connection, tables: StoreTables, user_ids: NDArray[np.int64], first: date, last: date
) -> dict[date, int]:
    """Delete the failures, on the days `first … last`, of students who are not among `user_ids`.

    No snapshot is due for a student who is no longer active, so such a failure would stay open for ever.

    Args:
        user_ids: The active students, int64, ascending.

    Returns:
        The number of deleted failures by day; the counts of these days must be corrected by `recount_failures`.
    """
    failures = tables.snapshot_failures
    on_these_days = failures.c.snapshot_date.between(first, last)
    failing = connection.execute(select(failures.c.user_id).where(on_these_days).distinct()).scalars().all()
    inactive = np.setdiff1d(np.array(failing, dtype=np.int64), user_ids).tolist()
    if not inactive:
        return {}
    statement = delete(failures).where(on_these_days, failures.c.user_id == any_(cast(inactive, ARRAY(BigInteger))))
    deleted = connection.execute(statement.returning(failures.c.snapshot_date)).scalars().all()
    return {day: deleted.count(day) for day in sorted(set(deleted))}


def recount_failures(connection: Connection, tables: StoreTables, days: Sequence[date]) -> None:
    """Set the failed students of some days to the number of their failures; no other run may be writing the days."""
    failures, counted = tables.snapshot_failures, tables.snapshot_days
    still_open = select(func.count()).where(failures.c.snapshot_date == counted.c.snapshot_date).scalar_subquery()
    connection.execute(update(counted).where(counted.c.snapshot_date.in_(days)).values(failed=still_open))

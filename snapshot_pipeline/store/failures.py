"""The students' days that could not be computed: which are open, since when, and how their days are counted.

Put here: questions to `snapshot_failures`, and what follows from its rows for the counts of a day.
Do not put here: how a computation replaces failures (`store.snapshots`), or why a student fails (`metrics.faults`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import adbc_driver_postgresql.dbapi as adbc
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, ColumnElement, Connection, any_, cast, delete, func, select, true, update
from sqlalchemy.dialects.postgresql import ARRAY

from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.store.snapshots import Publication
from snapshot_pipeline.store.tables import StoreTables


@dataclass(frozen=True)
class OpenFailures:
    """The open failures of one reason.

    Attributes:
        reason: Why.
        student_days: How many.
        first_seen: Since when the oldest of them is open.
        attempts: How often the most stubborn of them was computed.
        first_student: The first student, by id, that has one.
    """

    reason: str
    student_days: int
    first_seen: datetime
    attempts: int
    first_student: int = 0


@dataclass(frozen=True)
class FailedDay:
    """One student's open failure.

    Attributes:
        user_id: The student.
        reason: Why.
        detail: The row to blame, or the message.
    """

    user_id: int
    reason: str
    detail: str


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


def failures_of(connection: Connection, tables: StoreTables, day: date, count: int) -> list[FailedDay]:
    """The first `count` open failures of a day, by student."""
    failures = tables.snapshot_failures
    query = (
        select(failures.c.user_id, failures.c.reason, failures.c.detail)
        .where(failures.c.snapshot_date == day)
        .order_by(failures.c.user_id)
        .limit(count)
    )
    return [FailedDay(*row) for row in connection.execute(query)]


def failing_students(
    connection: Connection, tables: StoreTables, first: date | None, last: date | None
) -> dict[date, tuple[int, ...]]:
    """Who has an open failure on which day, days and students ascending; None stands for no bound."""
    failures = tables.snapshot_failures
    query = (
        select(failures.c.snapshot_date, func.array_agg(failures.c.user_id))
        .where(_between(failures.c.snapshot_date, first, last))
        .group_by(failures.c.snapshot_date)
        .order_by(failures.c.snapshot_date)
    )
    return {day: tuple(sorted(user_ids)) for day, user_ids in connection.execute(query)}


def delete_failures_of_inactive_students(
    connection: Connection, tables: StoreTables, user_ids: NDArray[np.int64], first: date, last: date
) -> dict[date, int]:
    """Remove the failures, on the days `first … last`, of students who are not among `user_ids`.

    Nothing is due of a student who is not active any more: the snapshots stay, a failure would stay open for ever.

    Args:
        connection: An open transaction.
        tables: Our tables.
        user_ids: The active students, int64, ascending.
        first: The first day.
        last: The last day, included.

    Returns:
        How many were removed, by day; the days' counts are as many too high now, see `recount_failures`.
    """
    failures = tables.snapshot_failures
    on_these_days = failures.c.snapshot_date.between(first, last)
    failing = connection.execute(select(failures.c.user_id).where(on_these_days).distinct()).scalars().all()
    others = np.setdiff1d(np.array(failing, dtype=np.int64), user_ids).tolist()
    if not others:
        return {}
    statement = delete(failures).where(on_these_days, failures.c.user_id == any_(cast(others, ARRAY(BigInteger))))
    removed = connection.execute(statement.returning(failures.c.snapshot_date)).scalars().all()
    return {day: removed.count(day) for day in sorted(set(removed))}


def recount_failures(connection: Connection, tables: StoreTables, days: Sequence[date]) -> None:
    """Set the failed students of some days to what the table of failures holds; nobody else may write to it."""
    failures, counted = tables.snapshot_failures, tables.snapshot_days
    still_open = select(func.count()).where(failures.c.snapshot_date == counted.c.snapshot_date).scalar_subquery()
    connection.execute(update(counted).where(counted.c.snapshot_date.in_(days)).values(failed=still_open))


def count_retried(
    connection: adbc.Connection, tables: StoreTables, days: Sequence[date], publication: Publication
) -> None:
    """Take what came of some students that had failed into the counts of their days, in the same transaction.

    The counts are moved, not set: another batch may be at the same days. A day that was never recorded stays so.
    """
    counted = tables.snapshot_days
    fewer = publication.failed_before - publication.failed
    # One by one and ascending, so that two batches never wait for each other.
    for number in np.flatnonzero((publication.recovered != 0) | (fewer != 0)).tolist():
        statement = update(counted).where(counted.c.snapshot_date == days[number])
        moved: Mapping[str, ColumnElement[int]] = {
            "published": counted.c.published + int(publication.recovered[number]),
            "failed": func.greatest(counted.c.failed - int(fewer[number]), 0),
        }
        bulk.execute(connection, statement.values(moved))


def _between(column: ColumnElement[date], first: date | None, last: date | None) -> ColumnElement[bool]:
    condition = true() if first is None else column >= first
    return condition if last is None else condition & (column <= last)

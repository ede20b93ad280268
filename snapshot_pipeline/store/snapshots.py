"""How snapshots and failures get into our tables, and how the weekly rules read them back.

Put here: reading and writing of `performance_snapshots`, `snapshot_failures` and `snapshot_days`.
Do not put here: recommendations (`store.recommendations`), or what the figures mean (`metrics`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import adbc_driver_postgresql.dbapi as adbc
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import BigInteger, Connection, Date, column, delete, exists, func, select, table
from sqlalchemy.dialects.postgresql import insert

from snapshot_pipeline import bulk
from snapshot_pipeline.store.tables import StoreTables

_COMPUTED = table("computed_students", column("user_id", BigInteger))
_FAILED = table("failed_students", column("user_id", BigInteger), column("snapshot_date", Date))

_SNAPSHOT_TYPES = {
    "user_id": pa.int64(),
    "snapshot_date": pa.date32(),
    "pace_score": pa.float64(),
    "learning_pace": pa.string(),
    "quiz_average": pa.float64(),
    "lessons_completed_count": pa.int32(),
    "time_spent_minutes_today": pa.int64(),
    "quizzes_completed_count": pa.int32(),
    "exercises_submitted_count": pa.int32(),
    "last_activity_date": pa.date32(),
}
_FAILURE_TYPES = {"user_id": pa.int64(), "snapshot_date": pa.date32(), "reason": pa.string(), "detail": pa.string()}


@dataclass(frozen=True)
class ComputedDays:
    """What was computed for whom: the students and days whose rows a publication replaces.

    Attributes:
        user_ids: int64, shape (students,).
        first: The first day.
        last: The last day, included.
        computed_at: When, with its zone.
    """

    user_ids: NDArray[np.int64]
    first: date
    last: date
    computed_at: datetime


def replace_snapshots(
    connection: adbc.Connection,
    tables: StoreTables,
    computed: ComputedDays,
    published: pd.DataFrame,
    failures: pd.DataFrame,
) -> None:
    """Replace the rows of exactly the students and days computed, inside the caller's transaction.

    A student's day that failed keeps the snapshot of an earlier run, and one that succeeds loses its failure.

    Args:
        connection: An open ADBC transaction.
        tables: Our tables.
        computed: Whose rows are replaced, for which days.
        published: `metrics.snapshot.SnapshotBatch.published`.
        failures: `metrics.snapshot.SnapshotBatch.failures`.
    """
    snapshots, failed = tables.performance_snapshots, tables.snapshot_failures
    new_failures = _arrow(failures, _FAILURE_TYPES)
    bulk.create_temporary(connection, _COMPUTED.name, pa.table({"user_id": computed.user_ids}))
    bulk.create_temporary(connection, _FAILED.name, new_failures.select(["user_id", "snapshot_date"]))
    has_failed = exists().where(
        _FAILED.c.user_id == snapshots.c.user_id, _FAILED.c.snapshot_date == snapshots.c.snapshot_date
    )
    bulk.execute(
        connection,
        delete(snapshots).where(
            snapshots.c.user_id == _COMPUTED.c.user_id,
            snapshots.c.snapshot_date.between(computed.first, computed.last),
            ~has_failed,
        ),
    )
    bulk.execute(
        connection,
        delete(failed).where(
            failed.c.user_id == _COMPUTED.c.user_id, failed.c.snapshot_date.between(computed.first, computed.last)
        ),
    )
    bulk.append(connection, snapshots, _stamped(_arrow(published, _SNAPSHOT_TYPES), computed.computed_at))
    seen = _stamped(new_failures, computed.computed_at)
    for name in ("first_seen_at", "last_seen_at"):
        seen = seen.append_column(name, seen["computed_at"])
    bulk.append(connection, failed, seen.append_column("attempts", pa.repeat(pa.scalar(1, pa.int32()), seen.num_rows)))


@dataclass(frozen=True)
class DayCount:
    """How a day went: a row of `snapshot_days`.

    Attributes:
        day: The day.
        published: Students published.
        failed: Students failed.
    """

    day: date
    published: int
    failed: int

    @property
    def students(self) -> int:
        """Students that were due."""
        return self.published + self.failed

    @property
    def success_rate(self) -> float | None:
        """The share published; None with no student at all."""
        return self.published / self.students if self.students else None


def record_days(
    connection: Connection, tables: StoreTables, counts: Sequence[DayCount], computed_at: datetime, run_id: str
) -> None:
    """Note that days were computed as a whole, after all their batches."""
    rows = [
        {
            "snapshot_date": count.day,
            "published": count.published,
            "failed": count.failed,
            "computed_at": computed_at,
            "run_id": run_id,
        }
        for count in counts
    ]
    statement = insert(tables.snapshot_days)
    updated = {name: statement.excluded[name] for name in ("published", "failed", "computed_at", "run_id")}
    connection.execute(statement.on_conflict_do_update(index_elements=["snapshot_date"], set_=updated), rows)


def day_counts(connection: Connection, tables: StoreTables, first: date, last: date) -> list[DayCount]:
    """The days `first … last` that were computed, ascending; a day that is left out was not."""
    days = tables.snapshot_days
    query = (
        select(days.c.snapshot_date, days.c.published, days.c.failed)
        .where(days.c.snapshot_date.between(first, last))
        .order_by(days.c.snapshot_date)
    )
    return [DayCount(*row) for row in connection.execute(query)]


def last_day_count_before(connection: Connection, tables: StoreTables, day: date) -> DayCount | None:
    """The last computed day before `day`, if there is one."""
    days = tables.snapshot_days
    query = (
        select(days.c.snapshot_date, days.c.published, days.c.failed)
        .where(days.c.snapshot_date < day)
        .order_by(days.c.snapshot_date.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return DayCount(*row) if row else None


def failure_reasons(connection: Connection, tables: StoreTables, first: date, last: date) -> dict[str, int]:
    """How many failures of the days `first … last` are open, by reason."""
    failures = tables.snapshot_failures
    query = (
        select(failures.c.reason, func.count())
        .where(failures.c.snapshot_date.between(first, last))
        .group_by(failures.c.reason)
        .order_by(func.count().desc())
    )
    return {reason: count for reason, count in connection.execute(query)}


def mean_pace_by_day(connection: Connection, tables: StoreTables, first: date, last: date) -> dict[date, float]:
    """The mean pace score of each of the days `first … last` that has snapshots."""
    snapshots = tables.performance_snapshots
    query = (
        select(snapshots.c.snapshot_date, func.avg(snapshots.c.pace_score))
        .where(snapshots.c.snapshot_date.between(first, last))
        .group_by(snapshots.c.snapshot_date)
    )
    return {day: mean for day, mean in connection.execute(query)}


def read_snapshots(
    connection: adbc.Connection, tables: StoreTables, first_user: int, last_user: int, first: date, last: date
) -> pd.DataFrame:
    """What the weekly rules need of the snapshots of a range of students and days.

    Returns:
        `user_id`, `time_spent_minutes_today`, `lessons_completed_count`, `exercises_submitted_count` (integers),
        `snapshot_date`, `last_activity_date` (datetime64[s]).
    """
    snapshots = tables.performance_snapshots
    query = select(
        snapshots.c.user_id,
        snapshots.c.snapshot_date,
        snapshots.c.time_spent_minutes_today,
        snapshots.c.lessons_completed_count,
        snapshots.c.exercises_submitted_count,
        snapshots.c.last_activity_date,
    ).where(snapshots.c.user_id.between(first_user, last_user), snapshots.c.snapshot_date.between(first, last))
    frame: pd.DataFrame = bulk.fetch(connection, query).to_pandas(date_as_object=False)
    dates = ["snapshot_date", "last_activity_date"]
    frame[dates] = frame[dates].astype("datetime64[s]")
    return frame


def _arrow(frame: pd.DataFrame, types: dict[str, pa.DataType]) -> pa.Table:
    return pa.table(
        {name: pa.array(frame[name], from_pandas=True).cast(kind) for name, kind in types.items()},
    )


def _stamped(rows: pa.Table, computed_at: datetime) -> pa.Table:
    stamp = pa.scalar(computed_at, pa.timestamp("us", "UTC"))
    return rows.append_column("computed_at", pa.repeat(stamp, rows.num_rows))

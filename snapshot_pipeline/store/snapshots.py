"""How snapshots and failures get into our tables, and how the weekly rules read them back.

Put here: reading and writing of `performance_snapshots` and `snapshot_days`, and of what a computation leaves in
`snapshot_failures` and `snapshot_restatements`.
Do not put here: which failures are open (`store.failures`), what differs (`store.changes`), recommendations
(`store.recommendations`), or what the figures mean (`metrics`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import adbc_driver_postgresql.dbapi as adbc
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import (
    BigInteger,
    Connection,
    Date,
    Double,
    Integer,
    Table,
    Text,
    any_,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.store.changes import KEY, Cells, compare, restated
from snapshot_pipeline.store.tables import StoreTables
from snapshot_pipeline.store.writing import remove, stamped

_ARROW_TYPES = {
    BigInteger: pa.int64(),
    Integer: pa.int32(),
    Double: pa.float64(),
    Text: pa.string(),
    Date: pa.date32(),
}
_SNAPSHOT_TYPES = {
    column.name: _ARROW_TYPES[type(column.type)]
    for column in StoreTables.of("public").performance_snapshots.columns
    if column.name != "computed_at"
}
_FAILURE_TYPES = {"user_id": pa.int64(), "snapshot_date": pa.date32(), "reason": pa.string(), "detail": pa.string()}
_HISTORY_TYPES = {"first_seen_at": pa.timestamp("us", "UTC"), "attempts": pa.int32()}


@dataclass(frozen=True)
class ComputedDays:
    """What was computed for whom: the students and days whose rows a publication replaces.

    Attributes:
        user_ids: int64, ascending, shape (students,).
        first: The first day.
        last: The last day, included.
        computed_at: When, with its zone.
        run_id: By which run; noted with what it restates.
        reason: Why it was computed; noted with what it restates.
        is_first: Whether no day of these has a snapshot yet, so that there is nothing to compare with.
    """

    user_ids: NDArray[np.int64]
    first: date
    last: date
    computed_at: datetime
    run_id: str
    reason: str
    is_first: bool = False

    @property
    def cells(self) -> Cells:
        """The students' days, numbered."""
        return Cells(self.user_ids, self.first, self.last)


@dataclass(frozen=True)
class Publication:
    """What a publication came to, by day; int64, shape (days,).

    Attributes:
        restated: Published figures that are others now: rows of `snapshot_restatements`.
        recovered: Students that had failed and are published now.
        failed_before: Students of these that had failed.
        failed: Students of these that have failed now.
    """

    restated: NDArray[np.int64]
    recovered: NDArray[np.int64]
    failed_before: NDArray[np.int64]
    failed: NDArray[np.int64]


def replace_snapshots(
    connection: adbc.Connection,
    tables: StoreTables,
    computed: ComputedDays,
    published: pd.DataFrame,
    failures: pd.DataFrame,
) -> Publication:
    """Make the rows of exactly the students and days computed what was computed, inside the caller's transaction.

    Only what differs is written: a row whose figures are the same to the last bit is not touched, and keeps its
    `computed_at`. What differs is noted in `snapshot_restatements`. A student's day that failed keeps the snapshot of
    an earlier run, and one that succeeds loses its failure; one that fails again keeps the moment it was first seen.

    Args:
        connection: An open ADBC transaction.
        tables: Our tables.
        computed: Whose rows are replaced, for which days. With `is_first` a row that is there all the same is an
            integrity error (SQLSTATE 23505).
        published: `metrics.snapshot.SnapshotBatch.published`.
        failures: `metrics.snapshot.SnapshotBatch.failures`.
    """
    new, failed = as_snapshots(published), as_failures(failures)
    restated = _publish_snapshots(connection, tables, computed, new, computed.cells.of(failed))
    failed_before = _publish_failures(connection, tables, computed, failed)
    cells = computed.cells
    recovered = np.intersect1d(failed_before, cells.of(new))
    return Publication(
        restated=np.bincount(cells.day_numbers(restated), minlength=cells.days),
        recovered=_by_day(recovered, cells),
        failed_before=_by_day(failed_before, cells),
        failed=_by_day(cells.of(failed), cells),
    )


def _publish_snapshots(
    connection: adbc.Connection, tables: StoreTables, computed: ComputedDays, new: pa.Table, kept: NDArray[np.int64]
) -> pa.Table:
    """Write the snapshots that differ, and return what was restated."""
    target = tables.performance_snapshots
    nothing = pa.schema(_SNAPSHOT_TYPES).empty_table()
    old = nothing if computed.is_first else read_published(connection, tables, computed.cells)
    changes = compare(old, new, computed.cells, kept)
    restatements = restated(old, new, changes)
    _remove(connection, target, old.take(changes.removed), computed)
    written = new if len(changes.new) == new.num_rows else new.take(changes.written)
    bulk.append(connection, target, stamped(written, computed_at=computed.computed_at))
    noted = stamped(restatements, restated_at=computed.computed_at, run_id=computed.run_id, reason=computed.reason)
    bulk.append(connection, tables.snapshot_restatements, noted)
    return restatements


def _publish_failures(
    connection: adbc.Connection, tables: StoreTables, computed: ComputedDays, failed: pa.Table
) -> NDArray[np.int64]:
    """Replace the failures, with their history, and return the cells that had failed before."""
    target, cells = tables.snapshot_failures, computed.cells
    earlier = read_rows(connection, target, cells, {name: _FAILURE_TYPES[name] for name in KEY} | _HISTORY_TYPES)
    failed_before = cells.of(earlier)
    _remove(connection, target, earlier, computed)
    places = np.full(cells.count, -1, dtype=np.int64)
    places[failed_before] = np.arange(earlier.num_rows)
    # A null position takes a null value: a failure that is seen for the first time.
    positions = places[cells.of(failed)]
    known = earlier.take(pa.array(positions, mask=positions < 0))
    now = pa.scalar(computed.computed_at, pa.timestamp("us", "UTC"))
    seen = stamped(failed, computed_at=computed.computed_at, last_seen_at=computed.computed_at)
    seen = seen.append_column("first_seen_at", pc.coalesce(known["first_seen_at"], now))
    attempts = pc.add(pc.fill_null(known["attempts"], pa.scalar(0, pa.int32())), pa.scalar(1, pa.int32()))
    bulk.append(connection, target, seen.append_column("attempts", attempts))
    return failed_before


def read_rows(connection: adbc.Connection, source: Table, cells: Cells, types: dict[str, pa.DataType]) -> pa.Table:
    """The rows of one of our tables that belong to some students and days.

    Args:
        connection: An open ADBC transaction.
        source: A table with `user_id` and `snapshot_date`.
        cells: Whose rows, of which days.
        types: The columns, and the Arrow types that they are wanted in.
    """
    if not len(cells.user_ids):
        return pa.schema(types).empty_table()
    # One condition on a list, not a join: whatever number of rows the server believes in, it reads none of them twice.
    query = select(*(source.c[name] for name in types)).where(
        source.c.user_id == any_(bulk.integers(cells.user_ids.tolist())),
        source.c.snapshot_date.between(cells.first, cells.last),
    )
    return bulk.fetch(connection, query).cast(pa.schema(types))


def read_published(connection: adbc.Connection, tables: StoreTables, cells: Cells) -> pa.Table:
    """The snapshots of some students and days: the columns of `as_snapshots`, in no order."""
    return read_rows(connection, tables.performance_snapshots, cells, _SNAPSHOT_TYPES)


def read_failures(connection: adbc.Connection, tables: StoreTables, cells: Cells) -> pa.Table:
    """The open failures of some students and days: the columns of `as_failures`, in no order."""
    return read_rows(connection, tables.snapshot_failures, cells, _FAILURE_TYPES)


def as_snapshots(published: pd.DataFrame) -> pa.Table:
    """`metrics.snapshot.SnapshotBatch.published` as the table holds it, without `computed_at`."""
    return _arrow(published, _SNAPSHOT_TYPES)


def as_failures(failures: pd.DataFrame) -> pa.Table:
    """`metrics.snapshot.SnapshotBatch.failures` as the table holds it, without its history."""
    return _arrow(failures, _FAILURE_TYPES)


def _remove(connection: adbc.Connection, target: Table, rows: pa.Table, computed: ComputedDays) -> None:
    users, days = target.c.user_id, target.c.snapshot_date
    first_user, last_user = int(computed.user_ids[0]), int(computed.user_ids[-1])
    within = users.between(first_user, last_user), days.between(computed.first, computed.last)
    remove(connection, target, rows.select(KEY), *within)


def _by_day(cells: NDArray[np.int64], of: Cells) -> NDArray[np.int64]:
    return np.bincount(cells % of.days, minlength=of.days).astype(np.int64)


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
    connection: Connection,
    tables: StoreTables,
    counts: Sequence[DayCount],
    computed_at: datetime,
    run_id: str,
    fingerprints: Mapping[date, str | None],
) -> None:
    """Note that consecutive days were computed as a whole, after all their batches.

    When rows of one of the days are not those of its last computation, later days that were computed before have not
    seen them either. The next of these loses its fingerprint, so that the change is not forgotten with these days: the
    look for late data asks for that day and for all that follow.

    Args:
        connection: An open transaction.
        tables: Our tables.
        counts: The days, ascending.
        computed_at: When.
        run_id: By which run.
        fingerprints: What the platform's rows of each day looked like before they were read; None where that is not
            known, which counts as a change.
    """
    days = tables.snapshot_days
    known = read_fingerprints(connection, tables, counts[0].day, counts[-1].day)
    if any(fingerprints[count.day] is None or known.get(count.day) != fingerprints[count.day] for count in counts):
        following = select(func.min(days.c.snapshot_date)).where(days.c.snapshot_date > counts[-1].day)
        connection.execute(
            update(days).where(days.c.snapshot_date == following.scalar_subquery()).values(source_fingerprint=None)
        )
    rows = [
        {
            "snapshot_date": count.day,
            "published": count.published,
            "failed": count.failed,
            "computed_at": computed_at,
            "run_id": run_id,
            "source_fingerprint": fingerprints[count.day],
        }
        for count in counts
    ]
    statement = insert(days)
    updated = {name: statement.excluded[name] for name in rows[0] if name != "snapshot_date"}
    connection.execute(statement.on_conflict_do_update(index_elements=["snapshot_date"], set_=updated), rows)


def read_fingerprints(connection: Connection, tables: StoreTables, first: date, last: date) -> dict[date, str | None]:
    """The fingerprints of those of the days `first … last` that were computed; None where it is not known."""
    days = tables.snapshot_days
    query = select(days.c.snapshot_date, days.c.source_fingerprint).where(days.c.snapshot_date.between(first, last))
    return {day: fingerprint for day, fingerprint in connection.execute(query)}


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

    A day on which a student did nothing adds nothing to any sum, and is left out unless it is the last one.

    Returns:
        `user_id`, `time_spent_minutes_today`, `lessons_completed_count`, `exercises_submitted_count` (integers),
        `snapshot_date`, `last_activity_date` (datetime64[s]).
    """
    snapshots = tables.performance_snapshots
    counts = [
        snapshots.c.time_spent_minutes_today,
        snapshots.c.lessons_completed_count,
        snapshots.c.exercises_submitted_count,
    ]
    query = select(
        snapshots.c.user_id,
        snapshots.c.snapshot_date,
        *counts,
        snapshots.c.last_activity_date,
    ).where(
        snapshots.c.user_id.between(first_user, last_user),
        snapshots.c.snapshot_date.between(first, last),
        or_(snapshots.c.snapshot_date == last, *(count != 0 for count in counts)),
    )
    frame: pd.DataFrame = bulk.fetch(connection, query).to_pandas(date_as_object=False)
    dates = ["snapshot_date", "last_activity_date"]
    frame[dates] = frame[dates].astype("datetime64[s]")
    return frame


def _arrow(frame: pd.DataFrame, types: dict[str, pa.DataType]) -> pa.Table:
    return pa.table(
        {name: pa.array(frame[name], from_pandas=True).cast(kind) for name, kind in types.items()},
    )

"""Publish snapshots and failures, and read them in bulk."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime

import adbc_driver_postgresql.dbapi as adbc
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import Table, any_, select

from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.store.changes import (
    KEY,
    WHOLE_ROW,
    RowChanges,
    StudentDayIndex,
    compare,
    delete_rows,
    restatements,
    with_constants,
)
from snapshot_pipeline.store.tables import ENGAGEMENT_COLUMNS, StoreTables

_SNAPSHOT_TYPES = {
    column.name: bulk.arrow_type(column)
    for column in StoreTables.of("public").performance_snapshots.columns
    if column.name != "computed_at"
}
_FAILURE_TYPES = {"user_id": pa.int64(), "snapshot_date": pa.date32(), "reason": pa.string(), "detail": pa.string()}
_HISTORY_TYPES = {"first_seen_at": pa.timestamp("us", "UTC"), "attempts": pa.int32()}


@dataclass(frozen=True)
class PublicationScope:
    """The students and days whose rows a publication replaces.

    Attributes:
        user_ids: int64, ascending, shape (students,).
        computed_at: Time of the computation, with its zone.
        run_id: Recorded with restatements.
        reason: Why the days were computed; recorded with restatements.
        is_first: Whether these days have no snapshots yet, so that there is nothing to compare with.
        not_started: The students who have no lesson; they keep snapshots of lessons that were reset since.
        keeps_engagement: Whether stored rows keep their engagement columns, because the cohorts were not ranked.
    """

    user_ids: NDArray[np.int64]
    first: date
    last: date
    computed_at: datetime
    run_id: str
    reason: str
    is_first: bool = False
    not_started: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    keeps_engagement: bool = False

    @property
    def index(self) -> StudentDayIndex:
        """The student-days, numbered."""
        return StudentDayIndex(self.user_ids, self.first, self.last)


@dataclass(frozen=True)
class Publication:
    """Counts of a publication by day; int64, shape (days,).

    Attributes:
        restated: Published figures that changed: rows of `snapshot_restatements`.
        reranked: Published rows whose engagement columns changed, which restates nothing.
        removed: Published rows that were deleted, because no snapshot is due any more.
        more_published: Students published now, less those that were published before.
        more_failed: Students that fail now, less those that had failed before.
    """

    restated: NDArray[np.int64]
    reranked: NDArray[np.int64]
    removed: NDArray[np.int64]
    more_published: NDArray[np.int64]
    more_failed: NDArray[np.int64]


def replace_snapshots(
    connection: adbc.Connection,
    tables: StoreTables,
    scope: PublicationScope,
    published: pd.DataFrame,
    failures: pd.DataFrame,
) -> Publication:
    """Replace the rows of exactly the students and days in scope, inside the caller's transaction.

    Only differences are written: a row whose figures are equal to the last bit is not touched, and keeps its
    `computed_at`. Changed figures are recorded in `snapshot_restatements`, but not those of engagement columns, which
    depend on who is active in the cohort now. A failed student-day keeps the snapshot of an earlier run, and one that
    succeeds loses its failure; one that fails again keeps its `first_seen_at`. A student without lessons keeps all
    snapshots.

    Args:
        scope: With `is_first`, an existing row is an integrity error (SQLSTATE 23505).
        published: `metrics.snapshot.SnapshotBatch.published`.
        failures: `metrics.snapshot.SnapshotBatch.failures`.
    """
    new, failed = as_snapshots(published), as_failures(failures)
    index = scope.index
    not_started = index.numbers_of_students(scope.not_started)
    retained = np.concatenate([index.numbers_of(failed), not_started])
    old, restated, reranked = _replace_snapshots(connection, tables, scope, new, retained)
    is_removed = pc.equal(restated["column_name"], WHOLE_ROW)
    failed_before = _replace_failures(connection, tables, scope, failed)
    # A student who failed, or has no lesson any more, has kept a row that does not count.
    was_published = np.zeros(index.count, dtype=bool)
    was_published[old] = True
    was_published[failed_before] = False
    was_published[not_started] = False
    return Publication(
        restated=np.bincount(index.day_numbers(restated), minlength=index.days),
        reranked=reranked,
        removed=np.bincount(index.day_numbers(restated.filter(is_removed)), minlength=index.days),
        more_published=index.count_by_day(index.numbers_of(new)) - index.count_by_day(np.flatnonzero(was_published)),
        more_failed=index.count_by_day(index.numbers_of(failed)) - index.count_by_day(failed_before),
    )


def replace_engagement(
    connection: adbc.Connection, tables: StoreTables, scope: PublicationScope, published: pd.DataFrame
) -> NDArray[np.int64]:
    """Replace only the engagement columns of stored rows, inside the caller's transaction.

    A row of a student-day that is not in `published`, such as one that has failed now, is left as it is.

    Returns:
        How many rows changed, by day; shape (days,).
    """
    target, index = tables.performance_snapshots, scope.index
    ranked, stored = as_snapshots(published), read_published(connection, tables, index)
    old = stored.filter(pa.array(np.isin(index.numbers_of(stored), index.numbers_of(ranked))))
    new = _with_engagement_of(ranked, old, index)
    changes = compare(old, new, index, retained=np.zeros(0, np.int64))
    _delete(connection, target, old.take(changes.to_delete), scope)
    bulk.append(connection, target, with_constants(new.take(changes.to_write), computed_at=scope.computed_at))
    return _count_reranked(new, changes, index)


def read_published(connection: adbc.Connection, tables: StoreTables, index: StudentDayIndex) -> pa.Table:
    """The snapshots of some students and days, unordered, with the columns of `as_snapshots`."""
    return _read_rows(connection, tables.performance_snapshots, index, _SNAPSHOT_TYPES)


def read_failures(connection: adbc.Connection, tables: StoreTables, index: StudentDayIndex) -> pa.Table:
    """The open failures of some students and days, unordered, with the columns of `as_failures`."""
    return _read_rows(connection, tables.snapshot_failures, index, _FAILURE_TYPES)


def as_snapshots(published: pd.DataFrame) -> pa.Table:
    """`metrics.snapshot.SnapshotBatch.published` with the table's types, without `computed_at`.

    The engagement columns are null if it has none, because the cohorts were not ranked.
    """
    missing = dict.fromkeys((name for name in ENGAGEMENT_COLUMNS if name not in published), np.nan)
    return _as_arrow(published.assign(**missing), _SNAPSHOT_TYPES)


def as_failures(failures: pd.DataFrame) -> pa.Table:
    """`metrics.snapshot.SnapshotBatch.failures` with the table's types, without its history."""
    return _as_arrow(failures, _FAILURE_TYPES)


def _replace_snapshots(
    connection: adbc.Connection,
    tables: StoreTables,
    scope: PublicationScope,
    new: pa.Table,
    retained: NDArray[np.int64],
) -> tuple[NDArray[np.int64], pa.Table, NDArray[np.int64]]:
    """Write the snapshots that differ.

    Returns:
        The numbers of the stored student-days, the restatements, and by day how many rows were ranked otherwise.
    """
    target = tables.performance_snapshots
    empty = pa.schema(_SNAPSHOT_TYPES).empty_table()
    old = empty if scope.is_first else read_published(connection, tables, scope.index)
    if scope.keeps_engagement:
        new = _with_engagement_of(old, new, scope.index)
    changes = compare(old, new, scope.index, retained)
    restated = restatements(old, new, changes, ENGAGEMENT_COLUMNS)
    _delete(connection, target, old.take(changes.to_delete), scope)
    written = new if len(changes.inserted) == new.num_rows else new.take(changes.to_write)
    bulk.append(connection, target, with_constants(written, computed_at=scope.computed_at))
    recorded = with_constants(restated, restated_at=scope.computed_at, run_id=scope.run_id, reason=scope.reason)
    bulk.append(connection, tables.snapshot_restatements, recorded)
    return scope.index.numbers_of(old), restated, _count_reranked(new, changes, scope.index)


def _with_engagement_of(source: pa.Table, rows: pa.Table, index: StudentDayIndex) -> pa.Table:
    """`rows` with the engagement that `source` has of each student-day; null where it has none."""
    engagement = source.select(list(ENGAGEMENT_COLUMNS)).take(_positions_in(source, rows, index))
    for name in ENGAGEMENT_COLUMNS:
        rows = rows.set_column(rows.column_names.index(name), name, engagement[name])
    return rows


def _positions_in(stored: pa.Table, rows: pa.Table, index: StudentDayIndex) -> pa.Array:
    """The position in `stored` of each row's student-day; null where it has none."""
    by_number = np.full(index.count, -1, dtype=np.int64)
    by_number[index.numbers_of(stored)] = np.arange(stored.num_rows)
    positions = by_number[index.numbers_of(rows)]
    return pa.array(positions, mask=positions < 0)


def _count_reranked(new: pa.Table, changes: RowChanges, index: StudentDayIndex) -> NDArray[np.int64]:
    flags = [changes.differing[name] for name in ENGAGEMENT_COLUMNS]
    rows = new.take(changes.changed[np.any(flags, axis=0)])
    return np.bincount(index.day_numbers(rows), minlength=index.days)


def _replace_failures(
    connection: adbc.Connection, tables: StoreTables, scope: PublicationScope, failed: pa.Table
) -> NDArray[np.int64]:
    """Replace the failures, with their history; returns the numbers of the student-days that had failed before."""
    target, index = tables.snapshot_failures, scope.index
    earlier = _read_rows(connection, target, index, {name: _FAILURE_TYPES[name] for name in KEY} | _HISTORY_TYPES)
    failed_before = index.numbers_of(earlier)
    _delete(connection, target, earlier, scope)
    history = earlier.take(_positions_in(earlier, failed, index))  # null for a first failure
    now = pa.scalar(scope.computed_at, pa.timestamp("us", "UTC"))
    rows = with_constants(failed, computed_at=scope.computed_at, last_seen_at=scope.computed_at)
    rows = rows.append_column("first_seen_at", pc.coalesce(history["first_seen_at"], now))
    attempts = pc.add(pc.fill_null(history["attempts"], pa.scalar(0, pa.int32())), pa.scalar(1, pa.int32()))
    bulk.append(connection, target, rows.append_column("attempts", attempts))
    return failed_before


def _read_rows(
    connection: adbc.Connection, source: Table, index: StudentDayIndex, types: dict[str, pa.DataType]
) -> pa.Table:
    """The rows of some students and days from a table with `user_id` and `snapshot_date`, with the given types."""
    if not len(index.user_ids):
        return pa.schema(types).empty_table()
    # A condition on a list, not a join: whatever PostgreSQL estimates, it reads no row twice.
    query = select(*(source.c[name] for name in types)).where(
        source.c.user_id == any_(bulk.integers(index.user_ids.tolist())),
        source.c.snapshot_date.between(index.first, index.last),
    )
    return bulk.fetch(connection, query).cast(pa.schema(types))


def _delete(connection: adbc.Connection, target: Table, rows: pa.Table, scope: PublicationScope) -> None:
    first_user, last_user = int(scope.user_ids[0]), int(scope.user_ids[-1])
    in_scope = target.c.user_id.between(first_user, last_user), target.c.snapshot_date.between(scope.first, scope.last)
    delete_rows(connection, target, rows.select(KEY), *in_scope)


def _as_arrow(frame: pd.DataFrame, types: dict[str, pa.DataType]) -> pa.Table:
    return pa.table({name: pa.array(frame[name], from_pandas=True).cast(kind) for name, kind in types.items()})

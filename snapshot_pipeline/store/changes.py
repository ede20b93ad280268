"""Compare computed rows with stored ones, and write what differs; the comparison is pure, on Arrow tables."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime

import adbc_driver_postgresql.dbapi as adbc
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Table, column, delete, func, select, table, text

from snapshot_pipeline.postgres import bulk

KEY = ("user_id", "snapshot_date")
"""Columns that identify a row; every other column is a figure."""

WHOLE_ROW = "*"
"""The `column_name` of a restatement of a deleted row; its old value is the row as JSON."""

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_DELETED_KEYS = "deleted_keys"

# For this transaction only: a day without statistics counts as empty, so PostgreSQL would choose a nested loop that
# scans all keys for each row.
_DISABLE_NESTED_LOOPS = select(func.set_config("enable_nestloop", "off", True))


@dataclass(frozen=True)
class StudentDayIndex:
    """Numbers the student-days of the days `first … last`, student by student.

    Attributes:
        user_ids: int64, ascending, shape (students,).
    """

    user_ids: Ints
    first: date
    last: date

    @property
    def days(self) -> int:
        """Number of days."""
        return (self.last - self.first).days + 1

    @property
    def count(self) -> int:
        """Number of student-days."""
        return len(self.user_ids) * self.days

    def numbers_of(self, rows: pa.Table) -> Ints:
        """The number of each row's student-day; -1 for other students or days."""
        if not len(self.user_ids):
            return np.full(rows.num_rows, -1, dtype=np.int64)
        user_ids = rows["user_id"].to_numpy()
        students = np.minimum(np.searchsorted(self.user_ids, user_ids), len(self.user_ids) - 1)
        days = self.day_numbers(rows)
        is_inside = (self.user_ids[students] == user_ids) & (days >= 0) & (days < self.days)
        return np.where(is_inside, students * self.days + days, -1).astype(np.int64)

    def numbers_of_students(self, user_ids: Ints) -> Ints:
        """The numbers of all days of some of the students."""
        students = np.searchsorted(self.user_ids, user_ids)
        numbers: Ints = (students[:, None] * self.days + np.arange(self.days)).ravel()
        return numbers

    def day_numbers(self, rows: pa.Table) -> Ints:
        """The number of each row's day, from 0."""
        dates = rows["snapshot_date"].to_numpy().astype("datetime64[D]")
        numbers: Ints = (dates - np.datetime64(self.first, "D")).astype(np.int64)
        return numbers

    def count_by_day(self, numbers: Ints) -> Ints:
        """How many of the student-days belong to each day; shape (days,)."""
        return np.bincount(numbers % self.days, minlength=self.days).astype(np.int64)


@dataclass(frozen=True)
class RowChanges:
    """How the new rows differ from the old ones; all positions refer to the compared tables.

    Attributes:
        changed: New rows with a figure that differs from the stored one, be it in the last bit.
        replaced: The old rows that these replace, in the same order.
        inserted: New rows of student-days without an old row.
        deleted: Old rows of student-days without a new row.
        differing: For each figure, which of the changed rows differ in it; bool, shape (changed,).
    """

    changed: Ints
    replaced: Ints
    inserted: Ints
    deleted: Ints
    differing: dict[str, Flags]

    @property
    def to_write(self) -> Ints:
        """Positions of the new rows to write, ascending."""
        return np.sort(np.concatenate([self.changed, self.inserted]))

    @property
    def to_delete(self) -> Ints:
        """Positions of the old rows to delete, ascending."""
        return np.sort(np.concatenate([self.replaced, self.deleted]))


def compare(old: pa.Table, new: pa.Table, index: StudentDayIndex, retained: Ints) -> RowChanges:
    """Compare the new rows of some student-days with the stored ones.

    Floats are equal if their bits are; NaN equals null.

    Args:
        old: The stored rows, at most one per student-day; rows outside of the index are ignored.
        new: The computed rows, with the same columns and types.
        index: The student-days that were computed.
        retained: Numbers of student-days that keep their row although there is no new one.
    """
    old_numbers, new_numbers = index.numbers_of(old), index.numbers_of(new)
    old_positions = np.full(index.count + 1, -1, dtype=np.int64)  # the last element collects rows outside, number -1
    old_positions[old_numbers] = np.arange(old.num_rows)
    old_positions[-1] = -1
    counterparts = old_positions[new_numbers]
    both = np.flatnonzero(counterparts >= 0)
    figures = [name for name in new.column_names if name not in KEY]
    before, after = old.take(counterparts[both]), new.take(both)
    differing = {name: _differs(before[name], after[name]) for name in figures}
    changed = np.any(list(differing.values()), axis=0) if differing else np.zeros(len(both), dtype=bool)
    has_row = np.zeros(index.count + 1, dtype=bool)
    has_row[new_numbers] = True
    has_row[retained] = True
    has_row[-1] = True
    return RowChanges(
        changed=both[changed],
        replaced=counterparts[both[changed]],
        inserted=np.flatnonzero(counterparts < 0),
        deleted=np.flatnonzero(~has_row[old_numbers]),
        differing={name: flags[changed] for name, flags in differing.items()},
    )


def restatements(old: pa.Table, new: pa.Table, changes: RowChanges, unlisted: Collection[str] = ()) -> pa.Table:
    """One row per published figure that changed, and one per deleted row; inserted rows restate nothing.

    Args:
        unlisted: Columns whose changes are no restatements.

    Returns:
        `user_id`, `snapshot_date`, `column_name`, `old_value`, `new_value`: values as text or null. A deleted row has
        the column `*`, its figures as a JSON object, and no new value.
    """
    parts = [_deleted_rows(old.take(changes.deleted))]
    for name, flags in changes.differing.items():
        if name in unlisted:
            continue
        before, after = old.take(changes.replaced[flags]), new.take(changes.changed[flags])
        parts.append(_restated_column(after, name, before[name].cast(pa.string()), after[name].cast(pa.string())))
    return pa.concat_tables(parts)


def delete_rows(connection: adbc.Connection, target: Table, keys: pa.Table, *conditions: ColumnElement[bool]) -> None:
    """Delete rows of a table by their keys, inside the caller's transaction.

    Args:
        keys: Columns of the table that identify the rows, with their types.
        conditions: Conditions that all of the rows satisfy, which help PostgreSQL find them.
    """
    if not keys.num_rows:
        return
    deleted = table(_DELETED_KEYS, *(column(name) for name in keys.column_names))
    bulk.create_temporary(connection, _DELETED_KEYS, keys)
    bulk.execute(connection, _DISABLE_NESTED_LOOPS)
    same_key = (target.c[name] == deleted.c[name] for name in keys.column_names)
    bulk.execute(connection, delete(target).where(*same_key, *conditions))
    bulk.execute(connection, text(f"DROP TABLE {_DELETED_KEYS}"))


def with_constants(rows: pa.Table, **values: datetime | str) -> pa.Table:
    """Append columns that have the same value in all rows: a time with its zone, or a text."""
    for name, value in values.items():
        kind = pa.timestamp("us", "UTC") if isinstance(value, datetime) else pa.string()
        rows = rows.append_column(name, pa.repeat(pa.scalar(value, kind), rows.num_rows))
    return rows


def _differs(before: pa.ChunkedArray, after: pa.ChunkedArray) -> Flags:
    left, right = _comparable(before), _comparable(after)
    unequal = pc.fill_null(pc.not_equal(left, right), False)
    one_is_null = pc.xor(pc.is_null(left), pc.is_null(right))
    flags: Flags = pc.or_(unequal, one_is_null).to_numpy(zero_copy_only=False)
    return flags


def _comparable(values: pa.ChunkedArray) -> pa.Array:
    """Floats as their bits, with NaN as null; other values as they are."""
    array = values.combine_chunks()
    if not pa.types.is_floating(array.type):
        return array
    return pc.if_else(pc.is_nan(array), None, array).view(pa.int64() if array.type.bit_width == 64 else pa.int32())


def _deleted_rows(rows: pa.Table) -> pa.Table:
    figures = [name for name in rows.column_names if name not in KEY]
    texts = [rows[name].cast(pa.string()) for name in figures]
    objects = [
        json.dumps(dict(zip(figures, values, strict=True)))
        for values in zip(*(values.to_pylist() for values in texts), strict=True)
    ]
    return _restated_column(rows, WHOLE_ROW, pa.array(objects, pa.string()), pa.nulls(rows.num_rows, pa.string()))


def _restated_column(rows: pa.Table, name: str, old_values: pa.Array, new_values: pa.Array) -> pa.Table:
    return pa.table(
        {
            "user_id": rows["user_id"],
            "snapshot_date": rows["snapshot_date"],
            "column_name": pa.repeat(pa.scalar(name, pa.string()), rows.num_rows),
            "old_value": old_values,
            "new_value": new_values,
        }
    )

"""What a new computation changes: rows that are there, held against those that take their place.

Put here: the comparison of two sets of rows of the same students and days, and the list of figures that differ.
Do not put here: reading or writing (`store.snapshots`), or what the figures mean (`metrics`).
Pure: tables in, positions out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

KEY = ("user_id", "snapshot_date")
"""What names a row; every other column is a figure."""

WHOLE_ROW = "*"
"""The `column_name` of a restatement of a row that is not due any more; its old value is the row as JSON."""

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Cells:
    """The students and days that were computed, numbered student by student: a cell is one student's day.

    Attributes:
        user_ids: int64, ascending, shape (students,).
        first: The first day.
        last: The last day, included.
    """

    user_ids: Ints
    first: date
    last: date

    @property
    def days(self) -> int:
        """How many days."""
        return (self.last - self.first).days + 1

    @property
    def count(self) -> int:
        """How many cells."""
        return len(self.user_ids) * self.days

    def of(self, rows: pa.Table) -> Ints:
        """The cell of each row; -1 for one of another student or day.

        Args:
            rows: With `user_id` int64 and `snapshot_date` date32.
        """
        if not len(self.user_ids):
            return np.full(rows.num_rows, -1, dtype=np.int64)
        user_ids = rows["user_id"].to_numpy()
        students = np.minimum(np.searchsorted(self.user_ids, user_ids), len(self.user_ids) - 1)
        days = self.day_numbers(rows)
        is_inside = (self.user_ids[students] == user_ids) & (days >= 0) & (days < self.days)
        return np.where(is_inside, students * self.days + days, -1).astype(np.int64)

    def day_numbers(self, rows: pa.Table) -> Ints:
        """Which of the days each row belongs to, from 0."""
        dates = rows["snapshot_date"].to_numpy().astype("datetime64[D]")
        numbers: Ints = (dates - np.datetime64(self.first, "D")).astype(np.int64)
        return numbers


@dataclass(frozen=True)
class Changes:
    """What happens to each row; positions are those in the tables compared.

    Attributes:
        unchanged: Positions of new rows that are there already, to the last bit.
        changed: Positions of new rows of which a figure differs.
        replaced: Positions of the old rows that those take the place of, in the same order.
        new: Positions of new rows of cells that have no row yet.
        gone: Positions of old rows of cells that have no new row.
        differing: For each figure, which of the changed rows differ in it; bool, shape (changed,).
    """

    unchanged: Ints
    changed: Ints
    replaced: Ints
    new: Ints
    gone: Ints
    differing: dict[str, Flags]

    @property
    def written(self) -> Ints:
        """Positions of the new rows that have to be written, ascending."""
        return np.sort(np.concatenate([self.changed, self.new]))

    @property
    def removed(self) -> Ints:
        """Positions of the old rows that have to go, ascending."""
        return np.sort(np.concatenate([self.replaced, self.gone]))


def compare(old: pa.Table, new: pa.Table, cells: Cells, kept: Ints) -> Changes:
    """Hold the new rows of some cells against those that are there.

    Args:
        old: The rows that are there, at most one a cell; those outside of the cells are left alone.
        new: The rows that were computed: the same columns, of the same types.
        cells: The students and days that were computed.
        kept: Cells that keep the row they have although there is no new one: those that failed.

    Returns:
        A float is the same when its bits are; NaN is the same as null.
    """
    old_cells, new_cells = cells.of(old), cells.of(new)
    places = np.full(cells.count + 1, -1, dtype=np.int64)  # the last one takes the rows outside, cell -1
    places[old_cells] = np.arange(old.num_rows)
    places[-1] = -1
    counterparts = places[new_cells]
    here = np.flatnonzero(counterparts >= 0)
    figures = [name for name in new.column_names if name not in KEY]
    before, after = old.take(counterparts[here]), new.take(here)
    differing = {name: _differs(before[name], after[name]) for name in figures}
    changed = np.any(list(differing.values()), axis=0) if differing else np.zeros(len(here), dtype=bool)
    has_row = np.zeros(cells.count + 1, dtype=bool)
    has_row[new_cells] = True
    has_row[kept] = True
    has_row[-1] = True
    return Changes(
        unchanged=here[~changed],
        changed=here[changed],
        replaced=counterparts[here[changed]],
        new=np.flatnonzero(counterparts < 0),
        gone=np.flatnonzero(~has_row[old_cells]),
        differing={name: flags[changed] for name, flags in differing.items()},
    )


def restated(old: pa.Table, new: pa.Table, changes: Changes) -> pa.Table:
    """One row per figure that was there and is another one now, and one per row that is gone.

    Returns:
        `user_id`, `snapshot_date`, `column_name`, `old_value`, `new_value`: values as text, null for none. A row that
        is gone has the column `*`, its figures as a JSON object, and no new value. A row that comes new restates
        nothing.
    """
    parts = [_gone(old.take(changes.gone))]
    for name, flags in changes.differing.items():
        before, after = old.take(changes.replaced[flags]), new.take(changes.changed[flags])
        parts.append(_restatements(after, name, before[name].cast(pa.string()), after[name].cast(pa.string())))
    return pa.concat_tables(parts)


def _differs(before: pa.ChunkedArray, after: pa.ChunkedArray) -> Flags:
    left, right = _bits(before), _bits(after)
    unequal = pc.fill_null(pc.not_equal(left, right), False)
    one_is_null = pc.xor(pc.is_null(left), pc.is_null(right))
    flags: Flags = pc.or_(unequal, one_is_null).to_numpy(zero_copy_only=False)
    return flags


def _bits(column: pa.ChunkedArray) -> pa.Array:
    """The values as they compare: a float as its bits, NaN as null."""
    values = column.combine_chunks()
    if not pa.types.is_floating(values.type):
        return values
    return pc.if_else(pc.is_nan(values), None, values).view(pa.int64())


def _gone(rows: pa.Table) -> pa.Table:
    figures = [name for name in rows.column_names if name not in KEY]
    texts = [rows[name].cast(pa.string()) for name in figures]
    as_json = [_json_object(figures, values) for values in zip(*(text.to_pylist() for text in texts), strict=True)]
    nothing = pa.nulls(rows.num_rows, pa.string())
    return _restatements(rows, WHOLE_ROW, pa.array(as_json, pa.string()), nothing)


def _json_object(names: list[str], values: tuple[str | None, ...]) -> str:
    return json.dumps(dict(zip(names, values, strict=True)))


def _restatements(rows: pa.Table, column: str, old_values: pa.Array, new_values: pa.Array) -> pa.Table:
    return pa.table(
        {
            "user_id": rows["user_id"],
            "snapshot_date": rows["snapshot_date"],
            "column_name": pa.repeat(pa.scalar(column, pa.string()), rows.num_rows),
            "old_value": old_values,
            "new_value": new_values,
        }
    )

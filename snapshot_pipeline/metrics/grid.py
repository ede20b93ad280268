"""Students times days as dense arrays: how events become cells, and how cells become windows.

Put here: the few array operations that every figure is made of. A *grid* has one row per student and one column per day
of `LocalDays`, lead days included; a column's number is the day's index.
Do not put here: what a figure means.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Counts = NDArray[np.int32]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

Shape = tuple[int, int]


def inside(days: Ints, shape: Shape) -> Flags:
    """Which events fall on a day of the grid; an instant that is missing has the index -1 and does not."""
    return (days >= 0) & (days < shape[1])


def count_by_day(students: Ints, days: Ints, shape: Shape) -> Counts:
    """The number of events in each cell.

    Args:
        students: Row of each event, shape (events,).
        days: Column of each event, shape (events,); those outside the grid are left out.
        shape: (students, days) of the grid.
    """
    kept = np.flatnonzero(inside(days, shape))
    cells = students[kept] * shape[1] + days[kept]
    return np.bincount(cells, minlength=shape[0] * shape[1]).astype(np.int32).reshape(shape)


def sum_by_day(students: Ints, days: Ints, values: Ints, shape: Shape) -> Ints:
    """The sum of `values` in each cell, in integers, so that the order of the rows does not matter."""
    kept = np.flatnonzero(inside(days, shape))
    sums = np.zeros(shape[0] * shape[1], dtype=np.int64)
    np.add.at(sums, students[kept] * shape[1] + days[kept], values[kept])
    return sums.reshape(shape)


def latest_by_day(students: Ints, days: Ints, shape: Shape) -> Ints:
    """For each cell, the number of the last event on or before that day; -1 where there is none.

    Args:
        students: Row of each event, shape (events,), ascending.
        days: Column of each event, ascending within a student; -1 means before the grid and counts for every day,
            a day after the grid counts for none.
        shape: (students, days) of the grid.
    """
    columns = np.maximum(days, 0)
    numbers = np.flatnonzero(columns < shape[1])
    cells = students[numbers] * shape[1] + columns[numbers]
    last_of_cell = np.append(cells[1:] != cells[:-1], True) if len(cells) else np.zeros(0, dtype=bool)
    latest = np.full(shape, -1, dtype=np.int64)
    latest.ravel()[cells[last_of_cell]] = numbers[last_of_cell]
    np.maximum.accumulate(latest, axis=1, out=latest)
    return latest


def window_sums(counts: Counts | Flags, lengths: Ints) -> Counts:
    """The sum over the window of days that ends with each of the last columns.

    Args:
        counts: A grid.
        lengths: Days in each window, shape (students, computed days), for the last columns of the grid.

    Returns:
        The same shape as `lengths`.
    """
    totals = np.zeros((counts.shape[0], counts.shape[1] + 1), dtype=np.int32)
    np.cumsum(counts, axis=1, out=totals[:, 1:])
    computed = lengths.shape[1]
    ends = np.arange(counts.shape[1] - computed + 1, counts.shape[1] + 1)
    sums: Counts = totals[:, ends] - np.take_along_axis(totals, ends - lengths, axis=1)
    return sums

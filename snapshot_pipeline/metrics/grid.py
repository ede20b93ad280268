"""Grids, dense arrays of students × days: count and sum events by day, sums over windows, rounding.

A grid has one row per student and one column per day of `LocalDays`, lead days included; a column's number is the day's
index.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Counts = NDArray[np.int32]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

Shape = tuple[int, int]
"""(students, days)."""

_TIE = 1e-9
"""How far below a tie, in units of the last decimal, a value still counts as the tie.

Exact figures are fractions of small integers: they either are a tie or miss it by far more than this, while their
floats differ from them by far less (about 1e-12). So the noise of the last bits never decides a rounding.
"""


def inside(days: Ints, shape: Shape) -> Flags:
    """Which events fall on a day of the grid; a missing instant has the index -1 and does not."""
    return (days >= 0) & (days < shape[1])


def count_by_day(students: Ints, days: Ints, shape: Shape) -> Counts:
    """Number of events per student and day.

    Args:
        students: Row of each event, shape (events,).
        days: Column of each event, shape (events,); those outside the grid are ignored.
    """
    inner = np.flatnonzero(inside(days, shape))
    cells = students[inner] * shape[1] + days[inner]
    return np.bincount(cells, minlength=shape[0] * shape[1]).astype(np.int32).reshape(shape)


def sum_by_day(students: Ints, days: Ints, values: Ints, shape: Shape) -> Ints:
    """Sum of `values` per student and day; integers, so that the order of the events does not matter."""
    inner = np.flatnonzero(inside(days, shape))
    sums = np.zeros(shape[0] * shape[1], dtype=np.int64)
    np.add.at(sums, students[inner] * shape[1] + days[inner], values[inner])
    return sums.reshape(shape)


def latest_by_day(students: Ints, days: Ints, shape: Shape) -> Ints:
    """The position of each student's last event on or before each day; -1 if there is none.

    Args:
        students: Row of each event, shape (events,), ascending.
        days: Column of each event, ascending within a student; -1 is before the grid and counts for every day, a
            day after the grid for none.
    """
    columns = np.maximum(days, 0)
    positions = np.flatnonzero(columns < shape[1])
    cells = students[positions] * shape[1] + columns[positions]
    last_of_cell = np.append(cells[1:] != cells[:-1], True) if len(cells) else np.zeros(0, dtype=bool)
    latest = np.full(shape, -1, dtype=np.int64)
    latest.ravel()[cells[last_of_cell]] = positions[last_of_cell]
    np.maximum.accumulate(latest, axis=1, out=latest)
    return latest


def window_sums(counts: Counts | Flags, lengths: Ints) -> Counts:
    """Sums over the windows that end with each computed day.

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


def round_half_away(values: Floats, decimals: int = 2) -> Floats:
    """Round figures of 0 or more, half away from zero, as docs/metrics.md defines; NaN stays NaN."""
    scale = 10.0**decimals
    rounded: Floats = np.floor(values * scale + 0.5 + _TIE) / scale
    return rounded

"""Array types, dataclasses of arrays, and the calendar; instants are microseconds since 1970 UTC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta
from functools import cached_property
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from snapshot_pipeline.metrics.days import start_of_day

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

MINUTE = 60_000_000  # microseconds
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_Records = TypeVar("_Records", bound="Records")


@dataclass(frozen=True)
class Records:
    """The base of dataclasses whose fields are arrays of equal length, one element for each record."""

    def where(self: _Records, mask: Flags) -> _Records:
        """Return the records that the mask selects."""
        return type(self)(*(values[mask] for values in _arrays(self)))


def concatenate(parts: Sequence[_Records]) -> _Records:
    """Return the records of all parts, one part after the other."""
    return type(parts[0])(*(np.concatenate(columns) for columns in zip(*map(_arrays, parts), strict=True)))


def _arrays(records: Records) -> list[NDArray[Any]]:
    return [getattr(records, field.name) for field in fields(records)]


@dataclass(frozen=True)
class Calendar:
    """The local days that a sample covers, numbered from 0 at `first`."""

    first: date
    count: int
    zone: ZoneInfo

    @cached_property
    def starts(self) -> Ints:
        """The first instant of each day, then the end of the last day; shape (count + 1,)."""
        return np.array([self.start(number) for number in range(self.count + 1)], dtype=np.int64)

    @cached_property
    def weekdays(self) -> Ints:
        """0 for Monday … 6 for Sunday, shape (count,)."""
        return (self.first.weekday() + np.arange(self.count)) % 7

    @cached_property
    def days_to_deadline(self) -> Ints:
        """Days left until the Sunday that ends the fortnight, 0 to 13, shape (count,)."""
        # Day 14 of the proleptic calendar is a Sunday.
        return -(self.first.toordinal() + np.arange(self.count)) % 14

    @property
    def end(self) -> int:
        """The instant before which all rows are."""
        return int(self.starts[-1])

    def start(self, number: int) -> int:
        """Return the first instant of a day; days before `first` have negative numbers."""
        return int(start_of_day(self.first + timedelta(days=number), self.zone).timestamp()) * 1_000_000

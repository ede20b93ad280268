"""Local days: the calendar date of an instant in the platform's time zone. All handling of daylight saving is here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

LEAD_DAYS = 29
"""Days before a day that its windows include: the longest window is 30 days."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """The start of a local day, in UTC: midnight, or the first instant after a skipped midnight."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(timezone.utc)


def end_of_day(day: date, zone: ZoneInfo) -> datetime:
    """The start of the next local day, in UTC: `end(D)` of docs/metrics.md."""
    return start_of_day(day + timedelta(days=1), zone)


def contiguous_ranges(days: Sequence[date], max_days: int | None = None) -> list[tuple[date, date]]:
    """Join ascending days into ranges without gaps, both ends included, of at most `max_days` days."""
    ranges: list[tuple[date, date]] = []
    for day in days:
        is_next = bool(ranges) and ranges[-1][1] + timedelta(days=1) == day
        if is_next and (max_days is None or (day - ranges[-1][0]).days < max_days):
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return ranges


@dataclass(frozen=True)
class LocalDays:
    """The consecutive local days `first … last` (both included) and the 29 days before them.

    A day's *index* counts from 0 at `first - 29`, so the computed days have the indices 29, 30, …

    Attributes:
        first: The first computed day.
        last: The last computed day.
        zone: The platform's time zone.
    """

    first: date
    last: date
    zone: ZoneInfo

    @property
    def count(self) -> int:
        """Number of computed days."""
        return (self.last - self.first).days + 1

    @property
    def window_start(self) -> datetime:
        """The start of the earliest window, in UTC."""
        return start_of_day(self.first - timedelta(days=LEAD_DAYS), self.zone)

    @property
    def start(self) -> datetime:
        """The start of the first day, in UTC."""
        return start_of_day(self.first, self.zone)

    @property
    def end(self) -> datetime:
        """The end of the last day, in UTC."""
        return end_of_day(self.last, self.zone)

    @cached_property
    def boundaries(self) -> NDArray[np.int64]:
        """The start of every day from `first - 29` to `last + 1`, in microseconds since 1970 UTC, ascending."""
        first = self.first - timedelta(days=LEAD_DAYS)
        starts = (start_of_day(first + timedelta(days=n), self.zone) for n in range(self.count + LEAD_DAYS + 1))
        return np.array([(start - _EPOCH) // _MICROSECOND for start in starts], dtype=np.int64)

    @cached_property
    def dates(self) -> NDArray[np.datetime64]:
        """The computed days, `datetime64[D]`, shape (count,)."""
        return np.arange(np.datetime64(self.first), np.datetime64(self.last + timedelta(days=1)))

    def numbers_of(self, dates: pd.Series) -> NDArray[np.int64]:
        """The number of each date, a `datetime64`, among the computed days, from 0."""
        return (dates.to_numpy().astype("datetime64[D]") - np.datetime64(self.first, "D")).astype(np.int64)

    def index_of(self, instants: NDArray[np.int64]) -> NDArray[np.int64]:
        """The index of the local day of each instant.

        Args:
            instants: Microseconds since 1970 UTC, any shape.

        Returns:
            The same shape: -1 before `first - 29`, `count + 29` after `last`.
        """
        return np.searchsorted(self.boundaries, instants, side="right").astype(np.int64) - 1

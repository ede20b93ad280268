"""Local days: which calendar date in the platform's zone an instant belongs to.

Put here: everything that daylight saving touches. All other arithmetic counts days as integers.
Do not put here: partitions or schedules (`orchestration.partitions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

LEAD_DAYS = 29
"""How many days before a day its figures may look back: the longest window is 30 days."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """The instant at which a local day begins, in UTC: midnight, or the first instant after it where none exists."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(timezone.utc)


def end_of_day(day: date, zone: ZoneInfo) -> datetime:
    """The instant at which the next local day begins, in UTC: `end(D)` of `metrics.md`."""
    return start_of_day(day + timedelta(days=1), zone)


def contiguous_ranges(days: Sequence[date], at_most: int | None = None) -> list[tuple[date, date]]:
    """Join ascending days into ranges without a gap; both ends included.

    Args:
        days: The days.
        at_most: How many days a range may have; None for any number.
    """
    joined: list[tuple[date, date]] = []
    for day in days:
        is_next = bool(joined) and joined[-1][1] + timedelta(days=1) == day
        if is_next and (at_most is None or (day - joined[-1][0]).days < at_most):
            joined[-1] = (joined[-1][0], day)
        else:
            joined.append((day, day))
    return joined


@dataclass(frozen=True)
class LocalDays:
    """The consecutive local days `first … last` (both included) and the 29 days before them.

    A day's *index* counts from 0 at `first - 29`, so that the days computed have the indices 29, 30, …

    Attributes:
        first: The first day computed.
        last: The last day computed.
        zone: The platform's time zone.
    """

    first: date
    last: date
    zone: ZoneInfo

    @property
    def count(self) -> int:
        """How many days are computed."""
        return (self.last - self.first).days + 1

    @property
    def window_start(self) -> datetime:
        """The instant, in UTC, before which no row of a window lies."""
        return start_of_day(self.first - timedelta(days=LEAD_DAYS), self.zone)

    @property
    def start(self) -> datetime:
        """The instant, in UTC, at which the first day begins."""
        return start_of_day(self.first, self.zone)

    @property
    def end(self) -> datetime:
        """The instant, in UTC, at which the last day has ended."""
        return end_of_day(self.last, self.zone)

    @cached_property
    def boundaries(self) -> NDArray[np.int64]:
        """The start of every day from `first - 29` to `last + 1`, in microseconds since 1970 UTC, ascending."""
        first = self.first - timedelta(days=LEAD_DAYS)
        starts = (start_of_day(first + timedelta(days=n), self.zone) for n in range(self.count + LEAD_DAYS + 1))
        return np.array([(start - _EPOCH) // _MICROSECOND for start in starts], dtype=np.int64)

    @cached_property
    def dates(self) -> NDArray[np.datetime64]:
        """The days computed, `datetime64[D]`, shape (count,)."""
        return np.arange(np.datetime64(self.first), np.datetime64(self.last + timedelta(days=1)))

    def index_of(self, instants: NDArray[np.int64]) -> NDArray[np.int64]:
        """The index of the local day of each instant.

        Args:
            instants: Microseconds since 1970 UTC, any shape.

        Returns:
            The same shape: -1 before `first - 29`, `count + 29` after `last`.
        """
        return np.searchsorted(self.boundaries, instants, side="right").astype(np.int64) - 1

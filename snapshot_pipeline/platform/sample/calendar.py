"""The days that a sample covers, and the clock.

Put here: instants (microseconds since 1970 UTC), local days, weekdays, deadlines.
Do not put here: what anybody does on those days (`studies`, `attempts`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np

from snapshot_pipeline.metrics.days import start_of_day
from snapshot_pipeline.platform.sample.arrays import Ints

MINUTE = 60_000_000  # microseconds, like every instant here
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@dataclass(frozen=True)
class Calendar:
    """The local days that are covered, and a week before them; a day's number counts from 0 at `first`."""

    first: date
    count: int
    zone: ZoneInfo

    @cached_property
    def starts(self) -> Ints:
        """The instant at which each day begins, and the end of the last one: shape (count + 1,)."""
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
        """The instant before which every row lies."""
        return int(self.starts[-1])

    def start(self, number: int) -> int:
        """The instant at which a day begins; days before the first have negative numbers."""
        return int(start_of_day(self.first + timedelta(days=number), self.zone).timestamp()) * 1_000_000

"""What a contender is, what it is asked to do, and what a run of it came to.

Put here: the types that all contenders share. Do not put here: a contender.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any, Protocol

from benchmarks.worlds import ZONE, World
from snapshot_pipeline.metrics.days import LEAD_DAYS, end_of_day, start_of_day

OURS = "benchmark_ours"
"""The schema that the rows of the pipeline itself are in, which all others are held against."""


@dataclass(frozen=True)
class Days:
    """The task of computing a range of days, from `first` to `last`, both included."""

    world: World
    first: date
    last: date

    @property
    def count(self) -> int:
        """How many days."""
        return (self.last - self.first).days + 1

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """What the statements and the loops are given: the days, and the instants at which they begin."""
        return {
            "first": self.first,
            "last": self.last,
            "zone": ZONE.key,
            "first_id": 1,
            "last_id": 2**62,
            "window_start": start_of_day(self.first - timedelta(days=LEAD_DAYS), ZONE),
            "start": start_of_day(self.first, ZONE),
            "end": end_of_day(self.last, ZONE),
            "boundaries": self.boundaries,
        }

    @property
    def boundaries(self) -> list[datetime]:
        """The instants at which the days from 29 before the first to the last begin."""
        first = self.first - timedelta(days=LEAD_DAYS)
        return [start_of_day(first + timedelta(days=n), ZONE) for n in range(self.count + LEAD_DAYS)]


@dataclass(frozen=True)
class Week:
    """The task of recommending for the week that begins on a Monday; its days have been computed by ours."""

    world: World
    week_start: date

    @property
    def sunday(self) -> date:
        """The week's last day."""
        return self.week_start + timedelta(days=6)

    @property
    def parameters(self) -> dict[str, Any]:
        """What the statement and the loop are given."""
        return {
            "week_start": self.week_start,
            "sunday": self.sunday,
            "end": end_of_day(self.sunday, ZONE),
            "review_start": start_of_day(self.sunday - timedelta(days=29), ZONE),
        }


@dataclass(frozen=True)
class Run:
    """What one run came to.

    Attributes:
        seconds: Wall time, from the first question to the last commit.
        rows: Rows written, or read where nothing is written.
        peak_bytes: The most memory that the run's own process held; None where the server does all the work.
        process_seconds: Wall time of the whole process, its start included; None where it is not a process of its own.
        scaled_from: The number of students that were worked on, where `seconds` is scaled up from a part of them.
    """

    seconds: float
    rows: int
    peak_bytes: int | None = None
    process_seconds: float | None = None
    scaled_from: int | None = None


class Contender(Protocol):
    """One way of doing a task."""

    @property
    def task(self) -> Days | Week:
        """What is done, and where."""

    @property
    def name(self) -> str:
        """How tables and plots call it."""

    @property
    def schema(self) -> str | None:
        """Where its rows are; None for a floor, which makes no rows."""

    @property
    def compared(self) -> str:
        """Which rows it makes, as a condition on their key: all, where it does not work on a part of the students."""

    def prepare(self) -> None:
        """Make what has to be there before the first run."""

    def clean(self) -> None:
        """Make the tables as they were before the first run: empty."""

    def run(self) -> Run:
        """Do the task once."""

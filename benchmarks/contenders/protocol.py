"""The interface of a contender, its tasks, and the result of a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any, Protocol

from benchmarks.datasets import ZONE, Dataset
from snapshot_pipeline.metrics.days import LEAD_DAYS, end_of_day, start_of_day

OURS = "benchmark_ours"
"""The schema that the rows of the pipeline itself are in, which all others are held against."""


@dataclass(frozen=True)
class Days:
    """The task of computing a range of days, from `first` to `last`, both included."""

    dataset: Dataset
    first: date
    last: date

    @property
    def count(self) -> int:
        """Number of days."""
        return (self.last - self.first).days + 1

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Parameters of the statements and loops: the days, and the instants at which they begin."""
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
    """The task of recommending for the week that begins on a Monday; its Sunday has been computed by ours."""

    dataset: Dataset
    week_start: date

    @property
    def sunday(self) -> date:
        """The week's last day."""
        return self.week_start + timedelta(days=6)

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters of the statement and the loop."""

        def start(days_before: int) -> datetime:
            return start_of_day(self.sunday - timedelta(days=days_before), ZONE)

        return {
            "week_start": self.week_start,
            "sunday": self.sunday,
            "zone": ZONE.key,
            "end": end_of_day(self.sunday, ZONE),
            "break_days": [start(2), start(1), start(0)],
            "activity_start": start(13),
            "exercises_start": start(27),
            "long_begun": start(27),
            "review_start": start(29),
        }


@dataclass(frozen=True)
class Run:
    """Result of one run.

    Attributes:
        seconds: Wall time, from the first query to the last commit.
        rows: Rows written, or rows read if nothing is written.
        peak_bytes: Peak memory of the run's process; None if the server does all the work.
        process_seconds: Wall time of the whole process, start-up included; None if it is not a process of its own.
        scaled_from: The sample size, if `seconds` is scaled up from a sample of students.
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
        """The task and its data set."""

    @property
    def name(self) -> str:
        """Its name in tables and plots."""

    @property
    def schema(self) -> str | None:
        """The schema of its rows; None for a contender that writes none."""

    @property
    def compared(self) -> str:
        """SQL condition for the rows that it computes; `true` unless it works on a sample of students."""

    def prepare(self) -> None:
        """Create what the first run needs."""

    def clean(self) -> None:
        """Empty the tables, as before the first run."""

    def run(self) -> Run:
        """Do the task once."""

"""The pace score over the last weeks: its mean, and where the middle half of the students is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from snapshot_pipeline.plots.plot import Plot, finished
from snapshot_pipeline.plots.series import Figures, as_array, last_known, line
from snapshot_pipeline.plots.style import (
    GRID,
    HEIGHT,
    INK,
    MUTED,
    SKY,
    VERMILION,
    dated,
    empty_message,
    framed,
    gridded,
    legend,
    long,
    period,
    styled,
)

_THRESHOLDS = {40: "Medium", 60: "Fast", 80: "Accelerated"}


@dataclass(frozen=True)
class PaceTrend:
    """The figures; one of each per day, None where the day is missing or has no student.

    Attributes:
        days: Consecutive days, ascending.
        mean: The mean pace score, 0 to 100.
        lower: The first quartile.
        median: The second.
        upper: The third.
    """

    days: Sequence[date]
    mean: Figures
    lower: Figures
    median: Figures
    upper: Figures


def draw(figures: PaceTrend) -> Plot:
    """A band between the quartiles, a line each for median and mean; beside them, where each label begins."""
    title = "Pace score"
    with styled():
        days = period(figures.days[0], figures.days[-1])
        figure = framed(HEIGHT, title, f"Points of 100, by day, {days}", "day_summary")
        if last_known(figures.mean) is None:
            empty_message(figure, "No day has a student.")
            return finished(figure, title, "No day has a student.")
        axes = figure.add_subplot()
        places = range(len(figures.days))
        axes.fill_between(places, as_array(figures.lower), as_array(figures.upper), color=SKY, alpha=0.38, linewidth=0)
        for values, color, dashes in ((figures.median, INK, "-"), (figures.mean, VERMILION, (0, (3, 1.6)))):
            line(axes, as_array(values), color, dashes)
        highest = max(value for value in figures.upper if value is not None)
        top = min(100, max(50, highest * 1.12))
        for bound, name in _THRESHOLDS.items():
            if bound < top:
                axes.axhline(bound, color=GRID, linewidth=1.5, zorder=0)
                at_the_right: dict[str, Any] = {
                    "xy": (1, bound),
                    "xycoords": ("axes fraction", "data"),
                    "textcoords": "offset points",
                }
                axes.annotate(name, xytext=(4, 0), va="center", color=MUTED, fontsize=7.5, **at_the_right)
        axes.set(ylim=(0, top), xlim=(-0.5, len(figures.days) - 0.5), ylabel="points")
        dated(axes, figures.days)
        gridded(axes, "y")
        legend(figure, {"median": INK, "mean": VERMILION, "middle half of the students": SKY})
        return finished(figure, title, _in_words(figures))


def _in_words(figures: PaceTrend) -> str:
    first = next(place for place, value in enumerate(figures.mean) if value is not None)
    last, mean = last_known(figures.mean) or (first, 0.0)
    return (
        f"Mean pace score: {figures.mean[first]:.1f} on {long(figures.days[first])}, {mean:.1f} on "
        f"{long(figures.days[last])}; median then {figures.median[last]:.1f}, the middle half of the students from "
        f"{figures.lower[last]:.1f} to {figures.upper[last]:.1f}."
    )

"""The mean, median and quartiles of the pace score over the last weeks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from snapshot_pipeline.plots.plot import Plot, to_plot
from snapshot_pipeline.plots.style import (
    GRID,
    HEIGHT,
    INK,
    MUTED,
    SKY,
    VERMILION,
    Series,
    add_empty_message,
    add_grid,
    add_legend,
    as_array,
    draw_line,
    label_days,
    last_known,
    new_figure,
    plot_style,
)
from snapshot_pipeline.plots.text import long_date, period

_THRESHOLDS = {40: "Medium", 60: "Fast", 80: "Accelerated"}


@dataclass(frozen=True)
class PaceTrend:
    """One figure of each kind per day; None for a day that is missing or has no students.

    Attributes:
        days: Consecutive days, ascending.
        mean: The mean pace score, 0 to 100.
        lower: The first quartile.
        upper: The third quartile.
    """

    days: Sequence[date]
    mean: Series
    lower: Series
    median: Series
    upper: Series


def draw(figures: PaceTrend) -> Plot:
    """Draw a band between the quartiles, lines for median and mean, and the thresholds of the labels."""
    title = "Pace score"
    with plot_style():
        days = period(figures.days[0], figures.days[-1])
        figure = new_figure(HEIGHT, title, f"Points of 100, by day, {days}", "day_summary")
        if last_known(figures.mean) is None:
            add_empty_message(figure, "No day has students.")
            return to_plot(figure, title, "No day has students.")
        axes = figure.add_subplot()
        positions = range(len(figures.days))
        axes.fill_between(
            positions, as_array(figures.lower), as_array(figures.upper), color=SKY, alpha=0.38, linewidth=0
        )
        for values, color, dashes in ((figures.median, INK, "-"), (figures.mean, VERMILION, (0, (3, 1.6)))):
            draw_line(axes, as_array(values), color, dashes)
        highest = max(value for value in figures.upper if value is not None)
        top = min(100, max(50, highest * 1.12))
        for bound, name in _THRESHOLDS.items():
            if bound < top:
                axes.axhline(bound, color=GRID, linewidth=1.5, zorder=0)
                right_edge: dict[str, Any] = {
                    "xy": (1, bound),
                    "xycoords": ("axes fraction", "data"),
                    "textcoords": "offset points",
                }
                axes.annotate(name, xytext=(4, 0), va="center", color=MUTED, fontsize=7.5, **right_edge)
        axes.set(ylim=(0, top), xlim=(-0.5, len(figures.days) - 0.5), ylabel="points")
        label_days(axes, figures.days)
        add_grid(axes, "y")
        add_legend(figure, {"median": INK, "mean": VERMILION, "middle half of the students": SKY})
        return to_plot(figure, title, _alt_text(figures))


def _alt_text(figures: PaceTrend) -> str:
    first = next(position for position, value in enumerate(figures.mean) if value is not None)
    last, mean = last_known(figures.mean) or (first, 0.0)
    return (
        f"Mean pace score: {figures.mean[first]:.1f} on {long_date(figures.days[first])}, {mean:.1f} on "
        f"{long_date(figures.days[last])}; median then {figures.median[last]:.1f}, the middle half of the students "
        f"from {figures.lower[last]:.1f} to {figures.upper[last]:.1f}."
    )

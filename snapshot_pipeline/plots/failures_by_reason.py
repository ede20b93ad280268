"""The number of failures by reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from matplotlib.ticker import MaxNLocator

from snapshot_pipeline.plots.plot import Plot, to_plot
from snapshot_pipeline.plots.style import (
    BAD,
    INK,
    add_empty_message,
    add_grid,
    new_figure,
    plot_style,
)
from snapshot_pipeline.plots.text import display_name, period


@dataclass(frozen=True)
class FailuresByReason:
    """The failures of the days `first … last`, as student days by reason."""

    first: date
    last: date
    counts: Mapping[str, int]


def draw(figures: FailuresByReason) -> Plot:
    """Draw a bar per reason, the most frequent on top."""
    days = period(figures.first, figures.last)
    title = f"Failures by reason, {days}"
    ranked = sorted(figures.counts.items(), key=lambda entry: (-entry[1], entry[0]))
    with plot_style():
        height = 132 + 28 * max(len(ranked), 2)
        figure = new_figure(height, title, "Students and days that could not be computed", "snapshot_failures")
        if not ranked:
            add_empty_message(figure, "No student failed.")
            return to_plot(figure, title, "No student failed.")
        axes = figure.add_subplot()
        axes.barh(range(len(ranked)), [count for _, count in ranked], 0.62, color=BAD)
        for row, (_, count) in enumerate(ranked):
            axes.annotate(
                f"{count:,}", (count, row), (6, 0), textcoords="offset points", va="center", fontweight="bold"
            )
        axes.set_yticks(range(len(ranked)), [display_name(reason) for reason, _ in ranked])
        axes.tick_params(axis="y", labelcolor=INK, labelsize=9)
        axes.set(ylim=(len(ranked) - 0.5, -0.5), xlim=(0, ranked[0][1] * 1.15), xlabel="student days")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
        add_grid(axes, "x")
        listed = "; ".join(f"{display_name(reason)} {count:,}" for reason, count in ranked)
        return to_plot(figure, title, f"Failures of {days}: {listed}.")

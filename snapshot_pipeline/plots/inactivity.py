"""The share of students without activity for 7 and for 14 days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from snapshot_pipeline.plots.plot import Plot, to_plot
from snapshot_pipeline.plots.style import (
    BLUE,
    HEIGHT,
    ORANGE,
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


@dataclass(frozen=True)
class Inactivity:
    """One figure of each kind per day; None for a day that is missing or has no students.

    Attributes:
        days: Consecutive days, ascending.
        share_7: Share of students without activity for 7 days or more, 0 to 1.
        share_14: The same for 14 days or more.
    """

    days: Sequence[date]
    share_7: Series
    share_14: Series


def draw(figures: Inactivity) -> Plot:
    """Draw two lines, each labeled with its last value."""
    title = "Inactive students"
    with plot_style():
        days = period(figures.days[0], figures.days[-1])
        figure = new_figure(HEIGHT, title, f"Percent of the students, by day, {days}", "day_summary")
        if last_known(figures.share_7) is None:
            add_empty_message(figure, "No day has students.")
            return to_plot(figure, title, "No day has students.")
        axes = figure.add_subplot()
        highest = max(share for share in figures.share_7 if share is not None) * 100
        for shares, color in ((figures.share_7, ORANGE), (figures.share_14, BLUE)):
            draw_line(axes, as_array(shares) * 100, color)
            if ending := last_known(shares):
                axes.plot(ending[0], ending[1] * 100, "o", color=color, markersize=4)
                label: dict[str, Any] = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
                axes.annotate(f"{ending[1] * 100:.0f} %", (ending[0], ending[1] * 100), fontweight="bold", **label)
        axes.set(ylim=(0, min(100, max(highest * 1.15, 5))), ylabel="% of students")
        axes.set_xlim(-0.5, len(figures.days) * 1.09)
        label_days(axes, figures.days)
        add_grid(axes, "y")
        add_legend(figure, {"7 days or more": ORANGE, "14 days or more": BLUE})
        return to_plot(figure, title, _alt_text(figures))


def _alt_text(figures: Inactivity) -> str:
    position, share = last_known(figures.share_7) or (0, 0.0)
    longer = (figures.share_14[position] or 0) * 100
    return (
        f"On {long_date(figures.days[position])}, {share * 100:.0f} % of the students had been inactive for 7 days or "
        f"more, {longer:.0f} % for 14 days or more."
    )

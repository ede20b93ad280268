"""The distribution of students over the pace labels at the end of each week."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from snapshot_pipeline.plots.plot import Plot, to_plot
from snapshot_pipeline.plots.style import (
    CARD,
    HEIGHT,
    MUTED,
    ON_COLOR,
    PACE_COLORS,
    add_empty_message,
    add_legend,
    label_days,
    new_figure,
    plot_style,
)
from snapshot_pipeline.plots.text import display_name, long_date

_MIN_LABELED = 7.0
"""Percent; a lower segment has no room for its number."""

_MIN_COLUMNS = 4
"""Room for at least so many columns, so that a single one is not too wide."""


@dataclass(frozen=True)
class PaceShares:
    """The students on the Sundays of some weeks.

    Attributes:
        sundays: Ascending.
        counts: Number of students by pace label on each; None for a missing day.
    """

    sundays: Sequence[date]
    counts: Sequence[Mapping[str, int] | None]


def draw(figures: PaceShares) -> Plot:
    """Draw a stacked column per week, the slowest label at the bottom, with percentages."""
    title = "Students by pace"
    with plot_style():
        figure = new_figure(HEIGHT, title, "Percent of the students, on the Sunday of each week", "day_summary")
        shares = [_shares(counts or {}) for counts in figures.counts]
        if not any(shares):
            add_empty_message(figure, "No week has students.")
            return to_plot(figure, title, "No week has students.")
        axes = figure.add_subplot()
        for position, week in enumerate(shares):
            bottom = 0.0
            if not week:
                axes.text(position, 50, "missing", ha="center", va="center", rotation=90, fontsize=7.5, color=MUTED)
            for label, share in week.items():
                color = PACE_COLORS[label]
                axes.bar(position, share, 0.8, bottom, color=color, edgecolor=CARD, linewidth=0.75)
                if share >= _MIN_LABELED:
                    middle: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7.5, "color": ON_COLOR[color]}
                    axes.text(position, bottom + share / 2, f"{share:.0f}", **middle)
                bottom += share
        axes.set(ylim=(0, 100), xlim=(-0.55, max(len(shares), _MIN_COLUMNS) - 0.45), ylabel="% of students")
        axes.tick_params(length=0)
        label_days(axes, figures.sundays, max_labels=8)
        add_legend(figure, {display_name(label): color for label, color in PACE_COLORS.items()})
        return to_plot(figure, title, _alt_text(figures, shares))


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    total = sum(counts.values())
    return {label: 100 * counts.get(label, 0) / total for label in PACE_COLORS} if total else {}


def _alt_text(figures: PaceShares, shares: Sequence[Mapping[str, float]]) -> str:
    position = max(number for number, week in enumerate(shares) if week)
    parts = ", ".join(f"{display_name(label)} {share:.0f} %" for label, share in shares[position].items())
    return f"Students by pace on {long_date(figures.sundays[position])}: {parts}."

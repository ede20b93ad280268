"""The recommendations of a week by type, compared with the weeks before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from matplotlib.ticker import MaxNLocator

from snapshot_pipeline.plots.plot import Plot, to_plot
from snapshot_pipeline.plots.style import (
    HEIGHT,
    INK,
    RECOMMENDATION_COLORS,
    add_empty_message,
    add_grid,
    new_figure,
    plot_style,
)
from snapshot_pipeline.plots.text import display_name, long_date, period

MAX_WEEKS = 8


@dataclass(frozen=True)
class RecommendationsByWeek:
    """The recommendations of some weeks.

    Attributes:
        weeks: The Mondays, ascending; the last `MAX_WEEKS` are drawn.
        counts: Number of recommendations per week, by type; a missing type has none.
    """

    weeks: Sequence[date]
    counts: Mapping[str, Sequence[int]]


def draw(figures: RecommendationsByWeek) -> Plot:
    """Draw a group of columns per type, a column per week: earlier weeks pale, the last one labeled."""
    weeks = list(figures.weeks)[-MAX_WEEKS:]
    counts = {kind: list(figures.counts.get(kind, [0] * len(weeks)))[-MAX_WEEKS:] for kind in RECOMMENDATION_COLORS}
    title = f"Recommendations by type, week of {long_date(weeks[-1])}"
    before = f"; pale: the weeks {period(weeks[0], weeks[-2])}" if len(weeks) > 2 else "; pale: the week before"
    before = before if len(weeks) > 1 else ""
    with plot_style():
        figure = new_figure(HEIGHT, title, f"Number of recommendations{before}", "adaptive_recommendations")
        if not any(sum(numbers) for numbers in counts.values()):
            add_empty_message(figure, "There are no recommendations.")
            return to_plot(figure, title, "There are no recommendations.")
        axes = figure.add_subplot()
        highest = max(max(numbers) for numbers in counts.values())
        width = 0.8 / len(weeks)
        for group, (kind, color) in enumerate(RECOMMENDATION_COLORS.items()):
            numbers, left = counts[kind], group - 0.4
            positions = [left + width * (n + 0.5) for n in range(len(weeks))]
            axes.bar(positions[:-1], numbers[:-1], width * 0.86, color=color, alpha=0.4)
            axes.bar(positions[-1:], numbers[-1:], width * 0.86, color=color)
            # Above the highest column of the group, so that no column overlaps the number.
            right, top = positions[-1] + width / 2, max(numbers) + highest * 0.02
            axes.text(right, top, f"{numbers[-1]:,}", ha="right", va="bottom", fontweight="bold", fontsize=8.25)
        names = [display_name(kind).replace(" ", "\n") for kind in RECOMMENDATION_COLORS]
        axes.set_xticks(range(len(names)), names)
        axes.tick_params(axis="x", length=0, labelcolor=INK, labelsize=8.25)
        axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(0, highest * 1.12))
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, steps=[1, 2, 5, 10]))
        add_grid(axes, "y")
        return to_plot(figure, title, _alt_text(weeks, counts))


def _alt_text(weeks: Sequence[date], counts: Mapping[str, Sequence[int]]) -> str:
    def describe(kind: str) -> str:
        *before, now = counts[kind]
        mean = f" (before: {sum(before) / len(before):,.0f} a week)" if before else ""
        return f"{display_name(kind)} {now:,}{mean}"

    return f"Recommendations of the week of {long_date(weeks[-1])}: {'; '.join(describe(kind) for kind in counts)}."

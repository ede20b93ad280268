"""Numbers of a week by kind, compared with the weeks before: a group of columns per kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from matplotlib.ticker import MaxNLocator

from snapshot_pipeline.plots import style
from snapshot_pipeline.plots.plot import Plot, empty_plot, to_plot
from snapshot_pipeline.plots.style import SHOWN
from snapshot_pipeline.plots.text import long_date, period

MAX_WEEKS = 8


@dataclass(frozen=True)
class Groups:
    """The kinds of a plot, and its words.

    Attributes:
        title: The title before the week.
        unit: What is counted.
        source: The table.
        empty: The sentence of a plot without numbers.
        subject: What the text for screen readers begins with.
        names: The name of each kind, in the order of the groups.
    """

    title: str
    unit: str
    source: str
    empty: str
    subject: str
    names: Mapping[str, str]


def draw_weekly_columns(by_week: Mapping[date, Mapping[str, int]], groups: Groups) -> Plot:
    """Draw a group of columns per kind, a column per week: earlier weeks pale, the last one labeled.

    Args:
        by_week: Numbers by Monday and kind, at least one week; a missing kind has none. The last `MAX_WEEKS` weeks are
            drawn.
    """
    weeks = sorted(by_week)[-MAX_WEEKS:]
    counts = {kind: [by_week[week].get(kind, 0) for week in weeks] for kind in groups.names}
    title = f"{groups.title}, week of {long_date(weeks[-1])}"
    before = f"; pale: the weeks {period(weeks[0], weeks[-2])}" if len(weeks) > 2 else "; pale: the week before"
    before = before if len(weeks) > 1 else ""
    with style.plot_style():
        figure = style.new_figure(style.HEIGHT, title, f"{groups.unit}{before}", groups.source)
        if not any(sum(numbers) for numbers in counts.values()):
            return empty_plot(figure, title, groups.empty)
        axes = figure.add_subplot()
        highest = max(max(numbers) for numbers in counts.values())
        width = 0.8 / len(weeks)
        for group, numbers in enumerate(counts.values()):
            left = group - 0.4
            positions = [left + width * (n + 0.5) for n in range(len(weeks))]
            axes.bar(positions[:-1], numbers[:-1], width * 0.86, color=SHOWN, alpha=0.4)
            axes.bar(positions[-1:], numbers[-1:], width * 0.86, color=SHOWN)
            # Above the highest column of the group, so that no column overlaps the number.
            right, top = positions[-1] + width / 2, max(numbers) + highest * 0.02
            axes.text(right, top, f"{numbers[-1]:,}", ha="right", va="bottom", fontweight="bold", fontsize=8.25)
        names = [name.replace(" ", "\n", 1) for name in groups.names.values()]
        axes.set_xticks(range(len(names)), names)
        axes.tick_params(axis="x", length=0, labelcolor=style.INK, labelsize=8.25)
        axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(0, highest * 1.12))
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, steps=[1, 2, 5, 10]))
        style.add_grid(axes, "y")
        return to_plot(figure, title, _alt_text(weeks, counts, groups))


def _alt_text(weeks: Sequence[date], counts: Mapping[str, Sequence[int]], groups: Groups) -> str:
    def describe(kind: str) -> str:
        *before, now = counts[kind]
        mean = f" (before: {sum(before) / len(before):,.0f} a week)" if before else ""
        return f"{groups.names[kind]} {now:,}{mean}"

    return f"{groups.subject} of the week of {long_date(weeks[-1])}: {'; '.join(describe(kind) for kind in counts)}."

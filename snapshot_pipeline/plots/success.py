"""Plots of published and failed students: a calendar of success rates, and failures by reason."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import numpy as np
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from snapshot_pipeline.plots import style
from snapshot_pipeline.plots.plot import Plot, empty_plot, to_plot
from snapshot_pipeline.plots.style import BAD, GOOD, GRID, INK, ON_COLOR, WATCH
from snapshot_pipeline.plots.text import WEEKDAYS, display_name, long_date, period, short_date

MAX_WEEKS = 13
"""More columns would leave no room for numbers in the cells."""

_CELL = np.array([(0.05, 0.07), (0.95, 0.07), (0.95, 0.93), (0.05, 0.93), (0.05, 0.07)])

_MISSING = "\N{EN DASH}"


def draw_calendar(first: date, last: date, rates: Mapping[date, float | None], minimum: float) -> Plot:
    """Draw a column per week with a colored cell per day, and in it the success rate in percent.

    Args:
        first: First day; only the last `MAX_WEEKS` weeks are drawn.
        last: Last day, included.
        rates: Success rate of each computed day, 0 to 1; None on a day without students.
        minimum: The minimum success rate, 0 to 1.
    """
    monday = max(_monday(first), _monday(last) - timedelta(weeks=MAX_WEEKS - 1))
    days = [monday + timedelta(days=n) for n in range((last - monday).days + 1)]
    days = [day for day in days if day >= first]
    title = f"Success rate by day, {period(days[0], days[-1])}"
    least = f"{minimum * 100:g} %"
    with style.plot_style():
        figure = style.new_figure(288, title, "Share of published students in percent", "snapshot_days")
        axes = figure.add_subplot()
        cells: dict[str, list[Path]] = {}
        for day in days:
            color, column, row = _color(day, rates, minimum), (day - monday).days // 7, day.weekday()
            cells.setdefault(color, []).append(Path(_CELL + np.array([column, row]), closed=True))
            text = _format_rate(rates[day]) if day in rates else _MISSING
            ink = ON_COLOR.get(color, INK)
            cell = axes.text(column + 0.5, row + 0.52, text, ha="center", va="center", fontsize=7, color=ink)
            cell.set_in_layout(False)
        for color, paths in cells.items():  # all cells of a color are one path, which keeps the SVG small
            axes.add_patch(PathPatch(Path.make_compound_path(*paths), facecolor=color, linewidth=0))
        weeks = (_monday(last) - monday).days // 7 + 1
        axes.set(xlim=(-0.06, max(weeks, 8) + 0.02), ylim=(7, -0.02))
        step = 1 if weeks <= 8 else 2
        named = range((weeks - 1) % step, weeks, step)
        labels = [short_date(monday + timedelta(weeks=n)) for n in named]
        axes.set_xticks([n + 0.5 for n in named], labels, fontsize=7.5)
        axes.set_yticks([n + 0.5 for n in range(7)], [weekday[:3] for weekday in WEEKDAYS])
        axes.tick_params(length=0)
        axes.spines["bottom"].set_visible(False)
        axes.set_xlabel("week starting on", loc="left")
        style.add_legend(figure, {"all": GOOD, f"at least {least}": WATCH, "less": BAD, "not computed": GRID})
        known = [(rate, day) for day in days if (rate := rates.get(day)) is not None]
        lowest = f" The lowest was {_format_rate(min(known)[0])} % on {long_date(min(known)[1])}." if known else ""
        return to_plot(
            figure,
            title,
            f"Success rate of the {len(days)} days {period(days[0], days[-1])}: days below {least}: "
            f"{sum(rate < minimum for rate, _ in known)}; days that were not computed: "
            f"{sum(day not in rates for day in days)}.{lowest}",
        )


def _color(day: date, rates: Mapping[date, float | None], minimum: float) -> str:
    rate = rates.get(day)
    if rate is None:
        return GRID
    return GOOD if rate == 1 else WATCH if rate >= minimum else BAD


def _format_rate(rate: float | None) -> str:
    """A rate in percent with at most four characters, never rounded up."""
    if rate is None:
        return "0"
    return "100" if rate == 1 else f"{int(rate * 1000) / 10:.1f}"


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def draw_failures(day: date, counts: Mapping[str, int]) -> Plot:
    """Draw a bar per reason with the number of students that failed on a day, the most frequent on top."""
    title = f"Failures by reason, {long_date(day)}"
    ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    with style.plot_style():
        height = 132 + 28 * max(len(ranked), 2)
        figure = style.new_figure(height, title, "Students and days that could not be computed", "snapshot_failures")
        if not ranked:
            return empty_plot(figure, title, "No student failed.")
        axes = figure.add_subplot()
        axes.barh(range(len(ranked)), [count for _, count in ranked], 0.62, color=BAD)
        for row, (_, count) in enumerate(ranked):
            axes.annotate(
                f"{count:,}", (count, row), (6, 0), textcoords="offset points", va="center", fontweight="bold"
            )
        axes.set_yticks(range(len(ranked)), [display_name(reason) for reason, _ in ranked])
        axes.tick_params(axis="y", labelcolor=INK, labelsize=9)
        axes.set(ylim=(len(ranked) - 0.5, -0.5), xlim=(0, ranked[0][1] * 1.15), xlabel="student-days")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
        style.add_grid(axes, "x")
        listed = "; ".join(f"{display_name(reason)} {count:,}" for reason, count in ranked)
        return to_plot(figure, title, f"Failures of {long_date(day)}: {listed}.")

"""A calendar of success rates: one column per week, one row per weekday."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from snapshot_pipeline.plots.plot import Plot, to_plot
from snapshot_pipeline.plots.style import (
    BAD,
    BLUE,
    GRID,
    INK,
    ON_COLOR,
    SKY,
    add_legend,
    new_figure,
    plot_style,
)
from snapshot_pipeline.plots.text import long_date, period, short_date

MAX_WEEKS = 13
"""More columns would leave no room for numbers in the cells."""

_CELL = np.array([(0.05, 0.07), (0.95, 0.07), (0.95, 0.93), (0.05, 0.93), (0.05, 0.07)])

_MISSING = "\N{EN DASH}"


@dataclass(frozen=True)
class SuccessCalendar:
    """The success rates of the days `first … last`; only the last `MAX_WEEKS` are drawn.

    Attributes:
        rates: Success rate of each computed day, 0 to 1; None on a day without students.
        minimum: The minimum success rate, 0 to 1.
    """

    first: date
    last: date
    rates: Mapping[date, float | None]
    minimum: float


def draw(figures: SuccessCalendar) -> Plot:
    """Draw a colored cell per day with the rate in percent."""
    first = max(_monday(figures.first), _monday(figures.last) - timedelta(weeks=MAX_WEEKS - 1))
    days = [first + timedelta(days=n) for n in range((figures.last - first).days + 1)]
    days = [day for day in days if day >= figures.first]
    title = f"Success rate by day, {period(days[0], days[-1])}"
    with plot_style():
        figure = new_figure(288, title, "Share of published students in percent", "snapshot_days")
        axes = figure.add_subplot()
        weeks = (_monday(figures.last) - first).days // 7 + 1
        _draw_cells(axes, {day: ((day - first).days // 7, day.weekday()) for day in days}, figures)
        axes.set(xlim=(-0.06, max(weeks, 8) + 0.02), ylim=(7, -0.02))
        mondays = [first + timedelta(weeks=n) for n in range(weeks)]
        step = 1 if weeks <= 8 else 2
        named = range((weeks - 1) % step, weeks, step)
        axes.set_xticks([n + 0.5 for n in named], [short_date(mondays[n]) for n in named], fontsize=7.5)
        axes.set_yticks([n + 0.5 for n in range(7)], ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"])
        axes.tick_params(length=0)
        axes.spines["bottom"].set_visible(False)
        axes.set_xlabel("week starting on", loc="left")
        add_legend(
            figure, {"all": BLUE, f"at least {_percent(figures.minimum)}": SKY, "less": BAD, "not computed": GRID}
        )
        return to_plot(figure, title, _alt_text(figures, days))


def _draw_cells(axes: Axes, positions: Mapping[date, tuple[int, int]], figures: SuccessCalendar) -> None:
    """Draw the cells; all cells of a color are one path, which keeps the SVG small."""
    cells: dict[str, list[Path]] = {}
    for day, (column, row) in positions.items():
        color = _color(day, figures)
        cells.setdefault(color, []).append(Path(_CELL + np.array([column, row]), closed=True))
        text = _format_rate(figures.rates[day]) if day in figures.rates else _MISSING
        ink = ON_COLOR.get(color, INK)
        cell = axes.text(column + 0.5, row + 0.52, text, ha="center", va="center", fontsize=7, color=ink)
        cell.set_in_layout(False)
    for color, paths in cells.items():
        axes.add_patch(PathPatch(Path.make_compound_path(*paths), facecolor=color, linewidth=0))


def _color(day: date, figures: SuccessCalendar) -> str:
    rate = figures.rates.get(day)
    if rate is None:
        return GRID
    return BLUE if rate == 1 else SKY if rate >= figures.minimum else BAD


def _format_rate(rate: float | None) -> str:
    """A rate in percent with at most four characters, never rounded up."""
    if rate is None:
        return "0"
    return "100" if rate == 1 else f"{int(rate * 1000) / 10:.1f}"


def _alt_text(figures: SuccessCalendar, days: list[date]) -> str:
    below = [day for day in days if (rate := figures.rates.get(day)) is not None and rate < figures.minimum]
    missing = [day for day in days if day not in figures.rates]
    rates = [(rate, day) for day in days if (rate := figures.rates.get(day)) is not None]
    lowest = f" The lowest was {_format_rate(min(rates)[0])} % on {long_date(min(rates)[1])}." if rates else ""
    return (
        f"Success rate of the {len(days)} days {period(days[0], days[-1])}: days below {_percent(figures.minimum)}: "
        f"{len(below)}; days that were not computed: {len(missing)}.{lowest}"
    )


def _percent(share: float) -> str:
    return f"{share * 100:g} %"


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())

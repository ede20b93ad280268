"""The plots: cost against students, days and years of history; one style.

Readable on light and dark pages: no background, text and grid in a gray that contrasts with both. The colors are those
of Okabe and Ito, which people with color vision deficiency can distinguish; each line also has its own marker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from benchmarks.results import Result
from benchmarks.timing import Timed

_GREY = "#7a7a7a"
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "text.color": _GREY,
    "axes.labelcolor": _GREY,
    "axes.edgecolor": _GREY,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _GREY,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "svg.fonttype": "none",
}
_LOOKS = {
    "ours": ("#0a84d0", "o", "-"),
    "ours through Dagster": ("#56b4e9", "s", "--"),
    "sql": ("#d55e00", "^", "-"),
    "sql, 2 connections": ("#e69f00", "v", "--"),
    "loop": ("#cc79a7", "D", "-"),
    "floor: read": ("#00a077", "x", ":"),
    "floor: load": ("#00a077", "+", ":"),
}


@dataclass(frozen=True)
class Plot:
    """One plot.

    Attributes:
        across: What the horizontal axis counts.
        lines: Points, ascending, by contender.
        is_logarithmic: Whether both axes are.
    """

    file: str
    title: str
    across: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    is_logarithmic: bool


def draw_all(results: Sequence[Result], directory: Path) -> list[Path]:
    """Draw every plot for which there are at least two points of a line."""
    plots = (_by_students(results), _by_days(results), _by_history(results), _weeks_by_students(results))
    return [_draw(plot, directory) for plot in plots if any(len(points) > 1 for points in plot.lines.values())]


def plot_signals(curves: Mapping[str, Sequence[float]], days: Sequence[int], path: Path) -> None:
    """Draw the AUC of each signal by the day of the course."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7, 4), dpi=110, layout="constrained")
        axes = figure.add_subplot()
        for (name, values), (color, marker, dashes) in zip(curves.items(), _LOOKS.values(), strict=False):
            axes.plot(days, values, color=color, marker=marker, linestyle=dashes, label=name)
        axes.set(title="Who will fail or withdraw: AUC of each figure", xlabel="day of the course", ylabel="AUC")
        axes.set_xticks(days)
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        figure.savefig(path, transparent=True, metadata={"Software": None})


def _by_students(results: Sequence[Result]) -> Plot:
    nights = [result for result in results if result.kind == "days" and result.computed_days == 1 and result.days > 60]
    points = {name: [(night.students, timed.seconds) for night, timed in _with(nights, name)] for name in _LOOKS}
    return Plot("one_day_by_students.png", "One day, by the number of students", "students", points, True)


def _weeks_by_students(results: Sequence[Result]) -> Plot:
    weeks = [result for result in results if result.kind == "week"]
    points = {name: [(week.students, timed.seconds) for week, timed in _with(weeks, name)] for name in _LOOKS}
    return Plot(
        "week_by_students.png", "Recommendations of a week, by the number of students", "students", points, True
    )


def _by_days(results: Sequence[Result]) -> Plot:
    ranges = [result for result in results if result.kind == "days"]
    worlds = {(result.students, result.days): 0 for result in ranges}
    for result in ranges:
        worlds[result.students, result.days] += 1
    students, days = max(worlds, key=lambda world: worlds[world], default=(0, 0))
    of_world = [result for result in ranges if (result.students, result.days) == (students, days)]
    points = {
        name: [(result.computed_days, timed.seconds) for result, timed in _with(of_world, name)]
        for name in _LOOKS
        if name != "loop"
    }
    return Plot("range_by_days.png", f"A range of days for {students:,} students", "days in the range", points, True)


def _by_history(results: Sequence[Result]) -> Plot:
    points: dict[str, list[tuple[float, float]]] = {"ours": [], "sql": []}
    students = 0
    for result in results:
        if result.kind == "history":
            students = result.students
            for timed in result.timed:
                contender, years = timed.name.split(", ")
                points[contender].append((int(years.split()[0]), timed.seconds))
    return Plot("one_day_by_history.png", f"One day of {students:,} students", "years of history", points, False)


def _with(results: Sequence[Result], name: str) -> list[tuple[Result, Timed]]:
    return [(result, timed) for result in results if (timed := result.of(name))]


def _draw(plot: Plot, directory: Path) -> Path:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7, 4), dpi=110, layout="constrained")
        axes = figure.add_subplot()
        for name, points in plot.lines.items():
            if points:
                color, marker, dashes = _LOOKS[name]
                axes.plot(*zip(*points, strict=True), color=color, marker=marker, linestyle=dashes, label=name)
        axes.set(title=plot.title, xlabel=plot.across, ylabel="seconds (median)")
        _scale(axes, plot)
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        path = directory / plot.file
        figure.savefig(path, transparent=True, metadata={"Software": None})
    return path


def _scale(axes: Axes, plot: Plot) -> None:
    across = sorted({x for points in plot.lines.values() for x, _ in points})
    if plot.is_logarithmic:
        axes.set(xscale="log", yscale="log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0)
    axes.set_xticks(across, [f"{x:,.0f}" for x in across])
    axes.xaxis.set_minor_locator(NullLocator())

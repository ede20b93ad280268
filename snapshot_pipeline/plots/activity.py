"""Activity on each day of a week, compared with the week before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from matplotlib.axes import Axes

from snapshot_pipeline.plots.plot import Plot, to_plot
from snapshot_pipeline.plots.style import (
    BLUE,
    GREEN,
    HEIGHT,
    INK,
    MUTED,
    ORANGE,
    Series,
    add_empty_message,
    add_grid,
    as_array,
    last_known,
    new_figure,
    plot_style,
)
from snapshot_pipeline.plots.text import long_date, period

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True)
class Activity:
    """Seven figures of each kind, from Monday on; None for a missing day.

    Attributes:
        lessons: Lessons completed.
        minutes: Minutes spent.
        before: Active students, lessons and minutes of the week before.
    """

    days: Sequence[date]
    active_students: Series
    lessons: Series
    minutes: Series
    before: tuple[Series, Series, Series]


def draw(figures: Activity) -> Plot:
    """Draw three bar charts by day, with a mark for the same weekday of the week before."""
    title = "Activity by day"
    rows: list[tuple[str, Series, str]] = [
        ("active students", figures.active_students, BLUE),
        ("lessons completed", figures.lessons, GREEN),
        ("hours spent", _hours(figures.minutes), ORANGE),
    ]
    before = (figures.before[0], figures.before[1], _hours(figures.before[2]))
    comparison = "; the mark is the week before" if any(last_known(series) for series in before) else ""
    with plot_style():
        figure = new_figure(HEIGHT, title, f"{period(figures.days[0], figures.days[-1])}{comparison}", "day_summary")
        if last_known(figures.active_students) is None:
            add_empty_message(figure, "No day of the week has data.")
            return to_plot(figure, title, "No day of the week has data.")
        panels = figure.subplots(3, 1, sharex=True)
        for axes, (name, values, color), earlier in zip(panels, rows, before, strict=True):
            _draw_row(axes, name, values, color, earlier)
        names = [f"{weekday}\n{day.day}" for weekday, day in zip(_WEEKDAYS, figures.days, strict=True)]
        panels[-1].set_xticks(range(7), names)
        return to_plot(figure, title, "; ".join(_alt_text(figures, name, values) for name, values, _ in rows) + ".")


def _draw_row(axes: Axes, name: str, values: Series, color: str, before: Series) -> None:
    axes.bar(range(7), as_array(values), 0.66, color=color)
    for position, earlier in enumerate(before):
        if earlier is not None:
            axes.plot(
                [position - 0.43, position + 0.43], [earlier] * 2, color=INK, linewidth=1.5, solid_capstyle="butt"
            )
    highest = max([value for value in (*values, *before) if value is not None] + [1])
    for position, value in enumerate(values):
        if value is None:
            axes.text(position, 0, "missing", ha="center", va="bottom", fontsize=7, color=MUTED)
            continue
        above = max(value, before[position] or 0)
        axes.annotate(
            f"{value:,.0f}",
            (position, above),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=7.5,
        )
    axes.set(ylim=(0, highest * 1.5), xlim=(-0.5, 6.5), yticks=[])
    axes.set_title(name, loc="left", fontsize=8.25, color=MUTED, pad=2)
    add_grid(axes, "y")
    axes.tick_params(axis="x", length=0, labelcolor=INK)


def _hours(minutes: Series) -> list[float | None]:
    return [None if value is None else value / 60 for value in minutes]


def _alt_text(figures: Activity, name: str, values: Series) -> str:
    known = [(value, day) for value, day in zip(values, figures.days, strict=True) if value is not None]
    (least, quietest), (most, busiest) = min(known), max(known)
    return (
        f"{name.capitalize()} by day: most {most:,.0f} on {long_date(busiest)}, "
        f"fewest {least:,.0f} on {long_date(quietest)}"
    )

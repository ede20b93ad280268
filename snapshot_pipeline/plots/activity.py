"""Plots of activity: the days of a week, and inactive students."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from matplotlib.axes import Axes

from snapshot_pipeline.plots import style
from snapshot_pipeline.plots.plot import Plot, empty_plot, to_plot
from snapshot_pipeline.plots.style import BAD, INK, MUTED, SHOWN, WATCH, Series
from snapshot_pipeline.plots.text import WEEKDAYS, long_date, period

_MIN_WEEKS = 3
"""Room for at least so many weeks, so that a short line is not stretched."""


def draw_activity(
    days: Sequence[date],
    active_students: Series,
    lessons: Series,
    minutes: Series,
    before: tuple[Series, Series, Series],
) -> Plot:
    """Draw three bar charts by day, with a mark for the same weekday of the week before.

    Args:
        days: The seven days of the week, from Monday on. Each series has a number for each, or None for a missing day.
        lessons: Lessons completed.
        minutes: Minutes spent.
        before: Active students, lessons and minutes of the week before.
    """
    title = "Activity by day"
    rows: list[tuple[str, Series, Series]] = [
        ("active students", active_students, before[0]),
        ("lessons completed", lessons, before[1]),
        ("hours spent", _hours(minutes), _hours(before[2])),
    ]
    comparison = "; the mark is the week before" if any(style.last_known(series) for series in before) else ""
    with style.plot_style():
        subtitle = f"{period(days[0], days[-1])}{comparison}"
        figure = style.new_figure(style.HEIGHT, title, subtitle, "day_summary")
        if style.last_known(active_students) is None:
            return empty_plot(figure, title, "No day of the week has data.")
        panels = figure.subplots(3, 1, sharex=True)
        for axes, row in zip(panels, rows, strict=True):
            _draw_row(axes, *row)
        names = [f"{weekday[:3]}\n{day.day}" for weekday, day in zip(WEEKDAYS, days, strict=True)]
        panels[-1].set_xticks(range(7), names)
        return to_plot(figure, title, "; ".join(_describe_row(days, name, values) for name, values, *_ in rows) + ".")


def _draw_row(axes: Axes, name: str, values: Series, before: Series) -> None:
    axes.bar(range(7), style.as_array(values), 0.66, color=SHOWN)
    for position, earlier in enumerate(before):
        if earlier is not None:
            ends = [position - 0.43, position + 0.43]
            axes.plot(ends, [earlier] * 2, color=INK, linewidth=1.5, solid_capstyle="butt")
    highest = max([value for value in (*values, *before) if value is not None] + [1])
    for position, value in enumerate(values):
        if value is None:
            axes.text(position, 0, "missing", ha="center", va="bottom", fontsize=7, color=MUTED)
            continue
        top = (position, max(value, before[position] or 0))
        axes.annotate(f"{value:,.0f}", top, (0, 2), textcoords="offset points", ha="center", va="bottom", fontsize=7.5)
    axes.set(ylim=(0, highest * 1.5), xlim=(-0.5, 6.5), yticks=[])
    axes.set_title(name, loc="left", fontsize=8.25, color=MUTED, pad=2)
    style.add_grid(axes, "y")
    axes.tick_params(axis="x", length=0, labelcolor=INK)


def _hours(minutes: Series) -> list[float | None]:
    return [None if value is None else value / 60 for value in minutes]


def _describe_row(days: Sequence[date], name: str, values: Series) -> str:
    known = [(value, day) for value, day in zip(values, days, strict=True) if value is not None]
    (least, quietest), (most, busiest) = min(known), max(known)
    return (
        f"{name.capitalize()} by day: most {most:,.0f} on {long_date(busiest)}, "
        f"fewest {least:,.0f} on {long_date(quietest)}"
    )


def draw_inactivity(sundays: Sequence[date], share_7: Series, share_14: Series) -> Plot:
    """Draw two lines, each labeled with its last value.

    Args:
        sundays: Of consecutive weeks, ascending.
        share_7: Share of students without activity for 7 days or more, 0 to 1; None for a Sunday that is missing or has
            no students.
        share_14: The same for 14 days or more.
    """
    title = "Inactive students"
    with style.plot_style():
        subtitle = "Percent of the students, on the Sunday of each week"
        figure = style.new_figure(style.HEIGHT, title, subtitle, "day_summary")
        last = style.last_known(share_7)
        if last is None:
            return empty_plot(figure, title, "No week has students.")
        axes = figure.add_subplot()
        for shares, color in ((share_7, WATCH), (share_14, BAD)):
            style.draw_line(axes, style.as_array(shares) * 100, color)
            if ending := style.last_known(shares):
                point = (ending[0], ending[1] * 100)
                axes.plot(*point, "o", color=color, markersize=4)
                axes.annotate(
                    f"{point[1]:.0f} %", point, (5, 0), textcoords="offset points", va="center", fontweight="bold"
                )
        highest = max(share for share in share_7 if share is not None) * 100
        axes.set(ylim=(0, min(100, max(highest * 1.15, 5))), ylabel="% of students")
        axes.set_xlim(-0.3, max(len(sundays) - 1, _MIN_WEEKS) + 0.7)
        style.label_days(axes, sundays, max_labels=8)
        style.add_grid(axes, "y")
        style.add_legend(figure, {"7 days or more": WATCH, "14 days or more": BAD})
        return to_plot(
            figure,
            title,
            f"On {long_date(sundays[last[0]])}, {last[1] * 100:.0f} % of the students had been inactive for 7 days or "
            f"more, {(share_14[last[0]] or 0) * 100:.0f} % for 14 days or more.",
        )

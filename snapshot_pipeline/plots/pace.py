"""Plots of the pace: students by label, the score over time, and cohorts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from snapshot_pipeline.plots import style
from snapshot_pipeline.plots.plot import Plot, empty_plot, to_plot
from snapshot_pipeline.plots.style import INK, MUTED, PACE_COLORS, SKY, VERMILION, Series
from snapshot_pipeline.plots.text import count_noun, display_name, long_date, period, plain

MAX_COHORTS = 8

_THRESHOLDS = {40: "Medium", 60: "Fast", 80: "Accelerated"}

_MIN_LABELED = 7.0
"""Percent; a lower segment has no room for its number."""

_MIN_COLUMNS = 4
"""Room for at least so many columns, so that a single one is not too wide."""


def draw_distribution(
    day: date,
    counts: Mapping[str, int],
    earlier_day: date | None = None,
    earlier_counts: Mapping[str, int] | None = None,
) -> Plot:
    """Draw the share of students per label as a bar, with a mark for an earlier day if it is known.

    Args:
        counts: Number of students by pace label (`SLOW`, `MEDIUM`, `FAST`, `ACCELERATED`); a missing label counts as 0.
    """
    title = f"Students by pace, {long_date(day)}"
    now, before = _shares(counts), _shares(earlier_counts or {})
    comparison = f"; the mark is {long_date(earlier_day)}" if before and earlier_day else ""
    with style.plot_style():
        subtitle = f"Share of students in percent{comparison}"
        figure = style.new_figure(236, title, subtitle, "performance_snapshots")
        if not now:
            return empty_plot(figure, title, "No student has a snapshot of this day.")
        axes = figure.add_subplot()
        for row, (label, color) in enumerate(PACE_COLORS.items()):
            axes.barh(row, now[label], 0.62, color=color)
            if before:
                axes.plot([before[label]] * 2, [row - 0.42, row + 0.42], color=INK, solid_capstyle="butt")
            end = max(now[label], before.get(label, 0))
            label_style: dict[str, Any] = {"xy": (end, row), "textcoords": "offset points", "va": "center"}
            axes.annotate(f"{now[label]:.1f} %", xytext=(6, 0), fontweight="bold", **label_style)
            axes.annotate(f"{counts.get(label, 0):,}", xytext=(54, 0), color=MUTED, fontsize=8.25, **label_style)
        axes.set_yticks(range(len(PACE_COLORS)), [display_name(label) for label in PACE_COLORS])
        axes.tick_params(axis="y", labelcolor=INK, labelsize=9)
        longest = max(*now.values(), *before.values())
        axes.set(xlim=(0, longest * 1.36), xticks=range(0, int(longest) + 1, 10 if longest > 20 else 5))
        axes.set_xlabel("% of students")
        style.add_grid(axes, "x")
        parts = [
            f"{display_name(label)} {now[label]:.1f} % ({count_noun(counts.get(label, 0), 'student')})"
            + (f", earlier {before[label]:.1f} %" if before else "")
            for label in PACE_COLORS
        ]
        return to_plot(figure, title, f"Students by pace on {long_date(day)}: {'; '.join(parts)}.")


def draw_weekly_shares(sundays: Sequence[date], counts: Sequence[Mapping[str, int] | None]) -> Plot:
    """Draw a stacked column per week, the slowest label at the bottom, with percentages.

    Args:
        sundays: Ascending.
        counts: Number of students by pace label on each; None for a missing day.
    """
    title = "Students by pace"
    with style.plot_style():
        subtitle = "Percent of the students, on the Sunday of each week"
        figure = style.new_figure(style.HEIGHT, title, subtitle, "day_summary")
        shares = [_shares(by_label or {}) for by_label in counts]
        if not any(shares):
            return empty_plot(figure, title, "No week has students.")
        axes = figure.add_subplot()
        for position, week in enumerate(shares):
            bottom = 0.0
            if not week:
                axes.text(position, 50, "missing", ha="center", va="center", rotation=90, fontsize=7.5, color=MUTED)
            for label, share in week.items():
                color = PACE_COLORS[label]
                axes.bar(position, share, 0.8, bottom, color=color, edgecolor=style.CARD, linewidth=0.75)
                if share >= _MIN_LABELED:
                    middle, ink = bottom + share / 2, style.ON_COLOR[color]
                    axes.text(position, middle, f"{share:.0f}", ha="center", va="center", fontsize=7.5, color=ink)
                bottom += share
        axes.set(ylim=(0, 100), xlim=(-0.55, max(len(shares), _MIN_COLUMNS) - 0.45), ylabel="% of students")
        axes.tick_params(length=0)
        style.label_days(axes, sundays, max_labels=8)
        style.add_legend(figure, {display_name(label): color for label, color in PACE_COLORS.items()})
        last = max(position for position, week in enumerate(shares) if week)
        parts = ", ".join(f"{display_name(label)} {share:.0f} %" for label, share in shares[last].items())
        return to_plot(figure, title, f"Students by pace on {long_date(sundays[last])}: {parts}.")


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    """Percent by label; empty without students."""
    total = sum(counts.get(label, 0) for label in PACE_COLORS)
    return {label: 100 * counts.get(label, 0) / total for label in PACE_COLORS} if total else {}


def draw_trend(days: Sequence[date], mean: Series, lower: Series, median: Series, upper: Series) -> Plot:
    """Draw a band between the quartiles, lines for median and mean, and the thresholds of the labels.

    Args:
        days: Consecutive days, ascending. The other arguments have a pace score for each, 0 to 100, or None for a day
            that is missing or has no students.
        lower: The first quartile.
        upper: The third quartile.
    """
    title = "Pace score"
    with style.plot_style():
        subtitle = f"Points of 100, by day, {period(days[0], days[-1])}"
        figure = style.new_figure(style.HEIGHT, title, subtitle, "day_summary")
        end = style.last_known(mean)
        if end is None:
            return empty_plot(figure, title, "No day has students.")
        axes = figure.add_subplot()
        band = (style.as_array(lower), style.as_array(upper))
        axes.fill_between(range(len(days)), *band, color=SKY, alpha=0.38, linewidth=0)
        style.draw_line(axes, style.as_array(median), INK)
        style.draw_line(axes, style.as_array(mean), VERMILION, (0, (3, 1.6)))
        top = min(100, max(50, max(value for value in upper if value is not None) * 1.12))
        right_edge: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        for bound, name in _THRESHOLDS.items():
            if bound < top:
                axes.axhline(bound, color=style.GRID, linewidth=1.5, zorder=0)
                axes.annotate(name, (1, bound), (4, 0), va="center", color=MUTED, fontsize=7.5, **right_edge)
        axes.set(ylim=(0, top), xlim=(-0.5, len(days) - 0.5), ylabel="points")
        style.label_days(axes, days)
        style.add_grid(axes, "y")
        style.add_legend(figure, {"median": INK, "mean": VERMILION, "middle half of the students": SKY})
        first, first_mean = next((position, value) for position, value in enumerate(mean) if value is not None)
        last, last_mean = end
        return to_plot(
            figure,
            title,
            f"Mean pace score: {first_mean:.1f} on {long_date(days[first])}, {last_mean:.1f} on "
            f"{long_date(days[last])}; median then {median[last]:.1f}, the middle half of the students "
            f"from {lower[last]:.1f} to {upper[last]:.1f}.",
        )


@dataclass(frozen=True)
class CohortPace:
    """The pace of one cohort.

    Attributes:
        name: Specialization and level.
        students: Number of students.
        lower: The first quartile of the pace score.
        upper: The third quartile.
        median_before: The median a week before, if known.
    """

    name: str
    students: int
    lower: float
    median: float
    upper: float
    median_before: float | None = None


def draw_cohorts(day: date, cohorts: Sequence[CohortPace]) -> Plot:
    """Draw a row per cohort, the fastest on top: quartiles, median, and the median a week before.

    Only the `MAX_COHORTS` with the most students are drawn.
    """
    title = "Pace by cohort"
    largest = sorted(cohorts, key=lambda cohort: (-cohort.students, cohort.name))[:MAX_COHORTS]
    rows = sorted(largest, key=lambda cohort: (-cohort.median, cohort.name))
    left_out = len(cohorts) - len(rows)
    others = f"; {count_noun(left_out, 'smaller cohort')} not shown" if left_out else ""
    with style.plot_style():
        subtitle = f"{long_date(day)}, students in brackets{others}"
        figure = style.new_figure(style.HEIGHT, title, subtitle, "cohort_summary")
        if not rows:
            return empty_plot(figure, title, "No cohort has students.")
        axes = figure.add_subplot()
        for row, cohort in enumerate(rows):
            axes.plot([cohort.lower, cohort.upper], [row, row], color=SKY, linewidth=5, solid_capstyle="butt")
            if cohort.median_before is not None:
                axes.plot(cohort.median_before, row, "D", color=VERMILION, markersize=3.8, zorder=2.1)
            axes.plot(cohort.median, row, "o", color=INK, markersize=5)
        axes.set_yticks(range(len(rows)), [f"{plain(cohort.name, 24)} ({cohort.students:,})" for cohort in rows])
        axes.tick_params(axis="y", labelcolor=INK, labelsize=8.25)
        axes.set(xlim=(0, 100), ylim=(max(len(rows), 3) - 0.4, -0.6), xticks=range(0, 101, 20))
        axes.set_xlabel("pace score, points")
        style.add_grid(axes, "x")
        style.add_legend(figure, {"median": INK, "a week before": VERMILION, "middle half": SKY})
        parts = [
            f"{plain(cohort.name)} {cohort.median:.1f} ({count_noun(cohort.students, 'student')})" for cohort in rows
        ]
        return to_plot(figure, title, f"Median pace score by cohort on {long_date(day)}: {'; '.join(parts)}.")

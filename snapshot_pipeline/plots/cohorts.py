"""The pace of each cohort on a day, compared with a week before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from snapshot_pipeline.plots.plot import Plot, to_plot
from snapshot_pipeline.plots.style import (
    HEIGHT,
    INK,
    SKY,
    VERMILION,
    add_empty_message,
    add_grid,
    add_legend,
    new_figure,
    plot_style,
)
from snapshot_pipeline.plots.text import count_noun, long_date, plain

MAX_COHORTS = 8


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


@dataclass(frozen=True)
class CohortPaces:
    """The cohorts of a day; the `MAX_COHORTS` with the most students are drawn."""

    day: date
    cohorts: Sequence[CohortPace]


def draw(figures: CohortPaces) -> Plot:
    """Draw a row per cohort, the fastest on top: quartiles, median, and the median a week before."""
    title = "Pace by cohort"
    largest = sorted(figures.cohorts, key=lambda cohort: (-cohort.students, cohort.name))[:MAX_COHORTS]
    rows = sorted(largest, key=lambda cohort: (-cohort.median, cohort.name))
    left_out = len(figures.cohorts) - len(rows)
    others = f"; {count_noun(left_out, 'smaller cohort')} not shown" if left_out else ""
    with plot_style():
        subtitle = f"{long_date(figures.day)}, students in brackets{others}"
        figure = new_figure(HEIGHT, title, subtitle, "cohort_summary")
        if not rows:
            add_empty_message(figure, "No cohort has students.")
            return to_plot(figure, title, "No cohort has students.")
        axes = figure.add_subplot()
        for row, cohort in enumerate(rows):
            axes.plot([cohort.lower, cohort.upper], [row, row], color=SKY, linewidth=5, solid_capstyle="butt")
            if cohort.median_before is not None:
                axes.plot(cohort.median_before, row, "D", color=VERMILION, markersize=3.8, zorder=2.1)
            axes.plot(cohort.median, row, "o", color=INK, markersize=5)
        names = [f"{plain(cohort.name, 24)} ({cohort.students:,})" for cohort in rows]
        axes.set_yticks(range(len(rows)), names)
        axes.tick_params(axis="y", labelcolor=INK, labelsize=8.25)
        axes.set(
            xlim=(0, 100), ylim=(max(len(rows), 3) - 0.4, -0.6), xticks=range(0, 101, 20), xlabel="pace score, points"
        )
        add_grid(axes, "x")
        add_legend(figure, {"median": INK, "a week before": VERMILION, "middle half": SKY})
        return to_plot(figure, title, _alt_text(figures.day, rows))


def _alt_text(day: date, rows: Sequence[CohortPace]) -> str:
    parts = [f"{plain(cohort.name)} {cohort.median:.1f} ({count_noun(cohort.students, 'student')})" for cohort in rows]
    return f"Median pace score by cohort on {long_date(day)}: {'; '.join(parts)}."

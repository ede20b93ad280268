"""The three plots of the report. Importing this module imports Matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from snapshot_pipeline.plots.activity import draw_activity, draw_inactivity
from snapshot_pipeline.plots.plot import Plot
from snapshot_pipeline.plots.recommendations import draw_weeks
from snapshot_pipeline.report.figures import ReportFigures


def draw_plots(figures: ReportFigures) -> list[Plot]:
    """Recommendations by week, activity by day, inactivity by week."""
    week, weeks, before = figures.week, figures.weeks, figures.before
    activity = ("active_students", "lessons_completed", "minutes_spent")
    students, lessons, minutes = (_column(figures, week.days, name) for name in activity)
    earlier_students, earlier_lessons, earlier_minutes = (_column(figures, before.days, name) for name in activity)
    ends = [each.end for each in weeks]
    return [
        draw_weeks(recommendations_by_week(figures)),
        draw_activity(week.days, students, lessons, minutes, (earlier_students, earlier_lessons, earlier_minutes)),
        draw_inactivity(
            [each.sunday for each in weeks],
            [end.share(end.inactive_7_days) if end else None for end in ends],
            [end.share(end.inactive_14_days) if end else None for end in ends],
        ),
    ]


def recommendations_by_week(figures: ReportFigures) -> dict[date, Mapping[str, int]]:
    """The recommendations of the weeks that have any, and of the week itself."""
    by_week = {week.start: figures.recommendations.get(week.start, {}) for week in figures.weeks}
    return {week: by_type for week, by_type in by_week.items() if by_type or week == figures.week_start}


def _column(figures: ReportFigures, days: Sequence[date], name: str) -> list[float | None]:
    """One figure of all students by day; None for a missing day."""
    return [getattr(figures.days[day], name) if day in figures.days else None for day in days]

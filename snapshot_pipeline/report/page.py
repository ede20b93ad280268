"""The report as one HTML file without network access, scripts or fonts, and its plots; imports Matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from markupsafe import Markup

from snapshot_pipeline.plots.activity import draw_activity, draw_inactivity
from snapshot_pipeline.plots.plot import Plot
from snapshot_pipeline.plots.recommendations import draw_weeks
from snapshot_pipeline.report.changes import tiles
from snapshot_pipeline.report.environment import environment
from snapshot_pipeline.report.figures import ReportFigures
from snapshot_pipeline.report.sections import advice_rows, cohort_table, reason_rows, week_rows
from snapshot_pipeline.report.words import advice, denominator, headline, notices, small_print, title, work


def render(figures: ReportFigures, plots: Sequence[Plot]) -> str:
    """The HTML of a report; the same figures and plots give the same bytes."""
    recommendations, *activity = (Markup(plot.svg) for plot in plots)  # noqa: S704  # our own, with escaped texts
    return (
        environment()
        .get_template("week.html.jinja")
        .render(
            title=title(figures),
            headline=headline(figures),
            notices=notices(figures),
            tiles=tiles(figures),
            denominator=denominator(figures),
            cohorts=cohort_table(figures),
            is_computed=figures.week.at_risk is not None,
            reasons=reason_rows(figures),
            advice=advice(figures),
            advice_rows=advice_rows(figures),
            recommendations=recommendations,
            work=work(figures),
            week_rows=week_rows(figures),
            activity=activity,
            small_print=small_print(figures),
        )
    )


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

"""The six plots of the report. Importing this module imports Matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from snapshot_pipeline.plots.activity import draw_activity, draw_inactivity
from snapshot_pipeline.plots.pace import CohortPace, draw_cohorts, draw_trend, draw_weekly_shares
from snapshot_pipeline.plots.plot import Plot
from snapshot_pipeline.plots.recommendations import draw_weeks
from snapshot_pipeline.report.figures import ReportFigures, cohort_name


def draw_plots(figures: ReportFigures) -> list[Plot]:
    """Activity, pace, students by pace, inactivity, cohorts, recommendations."""
    week, weeks, before = figures.week, figures.weeks, figures.before
    all_days = [day for each in weeks for day in each.days]
    paces = [_column(figures, all_days, name) for name in ("pace_mean", "pace_p25", "pace_median", "pace_p75")]
    activity = ("active_students", "lessons_completed", "minutes_spent")
    students, lessons, minutes = (_column(figures, week.days, name) for name in activity)
    earlier_students, earlier_lessons, earlier_minutes = (_column(figures, before.days, name) for name in activity)
    groups = [figures.days.get(day) for day in all_days]
    return [
        draw_activity(week.days, students, lessons, minutes, (earlier_students, earlier_lessons, earlier_minutes)),
        draw_trend(all_days, *paces),
        draw_weekly_shares([each.sunday for each in weeks], [each.end.paces if each.end else None for each in weeks]),
        draw_inactivity(
            all_days,
            [group.share(group.inactive_7_days) if group else None for group in groups],
            [group.share(group.inactive_14_days) if group else None for group in groups],
        ),
        draw_cohorts(week.sunday, _cohort_paces(figures)),
        draw_weeks(recommendations_by_week(figures)),
    ]


def recommendations_by_week(figures: ReportFigures) -> dict[date, Mapping[str, int]]:
    """The recommendations of the weeks that have any, and of the week itself."""
    by_week = {week.start: figures.recommendations.get(week.start, {}) for week in figures.weeks}
    return {week: by_type for week, by_type in by_week.items() if by_type or week == figures.week_start}


def _cohort_paces(figures: ReportFigures) -> list[CohortPace]:
    before = figures.before.cohorts
    return [
        CohortPace(
            name=cohort_name(cohort),
            students=group.students,
            lower=group.pace_p25,
            median=group.pace_median,
            upper=group.pace_p75,
            median_before=before[cohort].pace_median if cohort in before else None,
        )
        for cohort, group in sorted(figures.week.cohorts.items())
        if group.pace_p25 is not None and group.pace_median is not None and group.pace_p75 is not None
    ]


def _column(figures: ReportFigures, days: Sequence[date], name: str) -> list[float | None]:
    """One figure of all students by day; None for a missing day."""
    return [getattr(figures.days[day], name) if day in figures.days else None for day in days]

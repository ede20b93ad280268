"""The six plots of the report. Importing this module imports Matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from snapshot_pipeline.plots import activity, cohorts, inactivity, pace_shares, pace_trend, recommendations_by_week
from snapshot_pipeline.plots.plot import Plot
from snapshot_pipeline.report.figures import ReportFigures, cohort_name


def draw_plots(figures: ReportFigures) -> list[Plot]:
    """Activity, pace, students by pace, inactivity, cohorts, recommendations."""
    return [
        _activity(figures),
        _pace(figures),
        pace_shares.draw(
            pace_shares.PaceShares(
                [week.sunday for week in figures.weeks],
                [None if week.end is None else week.end.paces for week in figures.weeks],
            )
        ),
        _inactivity(figures),
        _cohorts(figures),
        recommendations_by_week.draw(recommendations_by_week_of(figures)),
    ]


def recommendations_by_week_of(figures: ReportFigures) -> recommendations_by_week.RecommendationsByWeek:
    """The recommendations of the weeks that have any, and of the week itself."""
    weeks = [week.start for week in figures.weeks if week.start in figures.recommendations]
    weeks = weeks if weeks and weeks[-1] == figures.week_start else [*weeks, figures.week_start]
    types = sorted({name for by_type in figures.recommendations.values() for name in by_type})
    return recommendations_by_week.RecommendationsByWeek(
        weeks, {name: [figures.recommendations.get(week, {}).get(name, 0) for week in weeks] for name in types}
    )


def _activity(figures: ReportFigures) -> Plot:
    names = ("active_students", "lessons_completed", "minutes_spent")
    students, lessons, minutes = (_column(figures, figures.week.days, name) for name in names)
    before = tuple(_column(figures, figures.before.days, name) for name in names)
    return activity.draw(
        activity.Activity(figures.week.days, students, lessons, minutes, (before[0], before[1], before[2]))
    )


def _pace(figures: ReportFigures) -> Plot:
    days = _all_days(figures)
    names = ("pace_mean", "pace_p25", "pace_median", "pace_p75")
    return pace_trend.draw(pace_trend.PaceTrend(days, *(_column(figures, days, name) for name in names)))


def _inactivity(figures: ReportFigures) -> Plot:
    days = _all_days(figures)
    groups = [figures.days.get(day) for day in days]
    return inactivity.draw(
        inactivity.Inactivity(
            days,
            [None if group is None else group.share(group.inactive_7_days) for group in groups],
            [None if group is None else group.share(group.inactive_14_days) for group in groups],
        )
    )


def _cohorts(figures: ReportFigures) -> Plot:
    before = figures.before.cohorts
    shown = [
        cohorts.CohortPace(
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
    return cohorts.draw(cohorts.CohortPaces(figures.week.sunday, shown))


def _all_days(figures: ReportFigures) -> list[date]:
    first = figures.weeks[0].start
    return [first + timedelta(days=number) for number in range((figures.week.sunday - first).days + 1)]


def _column(figures: ReportFigures, days: Sequence[date], name: str) -> list[float | None]:
    """One figure of all students by day; None for a missing day."""
    return [getattr(figures.days[day], name) if day in figures.days else None for day in days]

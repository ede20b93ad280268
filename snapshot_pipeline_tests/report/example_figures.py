"""Hand-made `ReportFigures`, small enough to compute the expected results by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from snapshot_pipeline.report.figures import AdviceOutcome, AtRiskFigures, Cohort, GroupFigures, ReportFigures

MONDAY = date(2026, 2, 23)
SUNDAY = date(2026, 3, 1)
MONDAY_BEFORE = date(2026, 2, 16)
SUNDAY_BEFORE = date(2026, 2, 22)

GROUP = GroupFigures(
    students=200,
    failed=0,
    active_students=50,
    pace_mean=45.04,
    pace_p25=30.0,
    pace_median=44.0,
    pace_p75=60.0,
    slow_students=80,
    medium_students=60,
    fast_students=40,
    accelerated_students=20,
    quiz_average_mean=71.5,
    minutes_spent=600,
    lessons_completed=100,
    inactive_7_days=30,
    inactive_14_days=10,
)

NO_STUDENTS = GroupFigures(0, 0, 0, None, None, None, None, 0, 0, 0, 0, None, 0, 0, 0, 0)

FAST: Cohort = ("Data science", "Beginner")
SLOW: Cohort = ("Backend", "Advanced")
SMALL: Cohort = ("Design", "")


def group(**changes: Any) -> GroupFigures:
    return replace(GROUP, **changes)


def two_weeks() -> ReportFigures:
    """Return two weeks; each day of the second has 10 more lessons and an hour less, and its Sunday a higher pace."""
    days = {MONDAY_BEFORE + timedelta(days=n): GROUP for n in range(7)}
    days |= {MONDAY + timedelta(days=n): group(lessons_completed=110, minutes_spent=540) for n in range(7)}
    days[SUNDAY] = group(
        students=204,
        pace_mean=45.96,
        fast_students=41,
        inactive_7_days=28,
        lessons_completed=110,
        minutes_spent=540,
        failed=3,
    )
    return ReportFigures(
        week_start=MONDAY,
        first_day=date(2026, 1, 1),
        days=days,
        cohorts={
            SUNDAY_BEFORE: {
                FAST: group(students=80, inactive_7_days=20, inactive_14_days=4),
                SLOW: group(students=60, inactive_7_days=9, inactive_14_days=6),
                SMALL: group(students=3, inactive_7_days=1, inactive_14_days=0),
            },
            SUNDAY: {
                FAST: group(students=80, pace_median=47.1, inactive_7_days=19, inactive_14_days=5),
                SLOW: group(students=60, pace_median=42.0, inactive_7_days=9, inactive_14_days=6),
                SMALL: group(students=4, pace_median=99.0, inactive_7_days=0, inactive_14_days=0),
            },
        },
        active={MONDAY_BEFORE: 123, MONDAY: 100},
        recommendations={
            MONDAY_BEFORE: {"CONTINUE_LEARNING": 90, "TAKE_BREAK": 5},
            MONDAY: {"CONTINUE_LEARNING": 100, "TAKE_BREAK": 4},
        },
        failures={"score_out_of_range": 2, "negative_time_spent": 1},
        at_risk={
            MONDAY_BEFORE: AtRiskFigures(
                {"listed": 9, "dormant": 3}, {"MISSED_QUIZZES": 7, "DORMANT": 3}, None, None, {FAST: 7, SLOW: 5}
            ),
            MONDAY: AtRiskFigures(
                {"listed": 8, "dormant": 3, "not_started": 1},
                {"LOW_RESULTS": 2, "MISSED_QUIZZES": 8, "DORMANT": 3, "NOT_STARTED": 1},
                3,
                3,
                {FAST: 8, SLOW: 4},
            ),
        },
        outcomes={"TAKE_BREAK": AdviceOutcome(5, 1, 0, 0)},
    )


def first_week() -> ReportFigures:
    """Return the second of the two weeks as the first week of the platform."""
    weeks = two_weeks()
    return replace(
        weeks,
        first_day=MONDAY,
        days={day: figures for day, figures in weeks.days.items() if day >= MONDAY},
        cohorts={SUNDAY: weeks.cohorts[SUNDAY]},
        active={MONDAY_BEFORE: 0, MONDAY: 100},
        recommendations={MONDAY: weeks.recommendations[MONDAY]},
        at_risk={MONDAY: replace(weeks.at_risk[MONDAY], new=None, left=None)},
        outcomes={},
    )


def without(figures: ReportFigures, *days: date) -> ReportFigures:
    """Return the figures without some days."""
    return replace(
        figures,
        days={day: of_day for day, of_day in figures.days.items() if day not in days},
        cohorts={day: of_day for day, of_day in figures.cohorts.items() if day not in days},
    )


def no_students() -> ReportFigures:
    """Return two weeks without students."""
    days = {MONDAY_BEFORE + timedelta(days=n): NO_STUDENTS for n in range(14)}
    return ReportFigures(MONDAY, date(2026, 1, 1), days, {}, {MONDAY: 0, MONDAY_BEFORE: 0}, {}, {}, {}, {})

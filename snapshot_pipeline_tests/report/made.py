"""ReportFigures of a week made by hand, small enough to be worked out in one's head."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from snapshot_pipeline.report.figures import Cohort, GroupFigures, ReportFigures

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

NOBODY = GroupFigures(0, 0, 0, None, None, None, None, 0, 0, 0, 0, None, 0, 0, 0, 0)

FAST: Cohort = ("Data science", "Beginner")
SLOW: Cohort = ("Backend", "Advanced")
SMALL: Cohort = ("Design", "")


def group(**changes: Any) -> GroupFigures:
    return replace(GROUP, **changes)


def two_weeks() -> ReportFigures:
    """Two whole weeks: in the second 10 more lessons and an hour less on each day, and a faster Sunday."""
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
            SUNDAY_BEFORE: {FAST: group(students=80), SLOW: group(students=60), SMALL: group(students=3)},
            SUNDAY: {
                FAST: group(students=81, pace_median=47.1),
                SLOW: group(students=60, pace_median=42.0),
                SMALL: group(students=3, pace_median=99.0),
            },
        },
        active={MONDAY_BEFORE: 123, MONDAY: 100},
        recommendations={
            MONDAY_BEFORE: {"CONTINUE_LEARNING": 90, "TAKE_BREAK": 5},
            MONDAY: {"CONTINUE_LEARNING": 100, "TAKE_BREAK": 4},
        },
        failures={"score_out_of_range": 2, "negative_time_spent": 1},
    )


def first_week() -> ReportFigures:
    """The same without any week before it: the platform began on the Monday."""
    whole = two_weeks()
    return replace(
        whole,
        first_day=MONDAY,
        days={day: one for day, one in whole.days.items() if day >= MONDAY},
        cohorts={SUNDAY: whole.cohorts[SUNDAY]},
        active={MONDAY_BEFORE: 0, MONDAY: 100},
        recommendations={MONDAY: whole.recommendations[MONDAY]},
    )


def without(figures: ReportFigures, *days: date) -> ReportFigures:
    """The same with some days missing."""
    return replace(
        figures,
        days={day: one for day, one in figures.days.items() if day not in days},
        cohorts={day: one for day, one in figures.cohorts.items() if day not in days},
    )


def nobody() -> ReportFigures:
    """Two weeks without a student."""
    days = {MONDAY_BEFORE + timedelta(days=n): NOBODY for n in range(14)}
    return ReportFigures(MONDAY, date(2026, 1, 1), days, {}, {MONDAY: 0, MONDAY_BEFORE: 0}, {}, {})

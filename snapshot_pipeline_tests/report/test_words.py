"""The headline, tiles and sentences of the report, with complete and incomplete weeks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from snapshot_pipeline.report.changes import Change, compare, tiles
from snapshot_pipeline.report.figures import AdviceOutcome, AtRiskFigures, ReportFigures
from snapshot_pipeline.report.words import advice, denominator, headline, notices, small_print, work
from snapshot_pipeline_tests.report.example_figures import (
    FAST,
    MONDAY,
    MONDAY_BEFORE,
    SLOW,
    SUNDAY,
    SUNDAY_BEFORE,
    first_week,
    group,
    no_students,
    two_weeks,
    without,
)

NBSP = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"


def changed(inactive: tuple[int, int], active: tuple[int, int], at_risk: tuple[int, int]) -> ReportFigures:
    """Return two weeks with these numbers of the week before and of the week; the changes are all in Backend."""
    week = two_weeks()
    sundays = dict(zip((SUNDAY_BEFORE, SUNDAY), inactive, strict=True))
    numbers = dict(zip((MONDAY_BEFORE, MONDAY), at_risk, strict=True))
    return replace(
        week,
        days={**week.days, **{day: group(students=2000, inactive_14_days=count) for day, count in sundays.items()}},
        cohorts={
            day: {FAST: group(inactive_14_days=3), SLOW: group(inactive_14_days=count - 3, inactive_7_days=count)}
            for day, count in sundays.items()
        },
        active=dict(zip((MONDAY_BEFORE, MONDAY), active, strict=True)),
        at_risk={
            monday: AtRiskFigures({"listed": count}, {}, None, None, {FAST: 5, SLOW: count - 5})
            for monday, count in numbers.items()
        },
    )


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        (
            changed((190, 310), (1204, 1190), (60, 61)),
            "14-day inactivity rose from 190 to 310 students, most in Backend · Advanced (+120).",
        ),
        (
            changed((310, 190), (1204, 1190), (60, 61)),
            f"14-day inactivity fell from 310 to 190 students, most in Backend · Advanced ({MINUS}120).",
        ),
        (
            changed((10, 10), (1204, 1190), (60, 90)),
            "The number of students at risk rose from 60 to 90, most in Backend · Advanced (+30).",
        ),
        # 200 of 1,204 are 5.8 chance fluctuations of that number, 30 of 60 only 3.9.
        (changed((10, 10), (1204, 1004), (60, 90)), "The number of active students fell from 1,204 to 1,004."),
        (
            changed((10, 14), (120, 125), (60, 61)),
            "Little has changed since last week: 61 students are at risk, 14 inactive for 14 days and 125 of 2,000 "
            "active in the week.",
        ),
        (
            first_week(),
            "There is no earlier week, so nothing is compared: 12 students are at risk, 10 inactive for 14 days and "
            "100 of 204 active in the week.",
        ),
        (
            replace(without(two_weeks(), SUNDAY_BEFORE), at_risk={}),
            "The week before is missing, so nothing is compared: 10 students are inactive for 14 days and 100 of 204 "
            "active in the week.",
        ),
        (no_students(), "No student had a snapshot at the end of this week."),
        (
            without(two_weeks(), SUNDAY),
            "Sunday, 1 Mar 2026 is missing, so the students of this week cannot be counted.",
        ),
    ],
)
def test_the_headline_says_what_changed_most_and_where(figures: ReportFigures, expected: str):
    assert headline(figures) == expected


def test_a_headline_of_one_cohort_names_no_place_and_one_student_is_singular():
    figures = changed((8, 1), (120, 120), (60, 60))
    one_cohort = {day: {SLOW: cohorts[SLOW]} for day, cohorts in figures.cohorts.items()}
    assert headline(replace(figures, cohorts=one_cohort)) == "14-day inactivity fell from 8 to 1 student."


def test_the_tiles_compare_with_last_week_and_judge_in_words():
    assert [str(tile) for tile in tiles(two_weeks())] == [
        "At risk: 12 (as last week); 8 with a low score, 3 silent for 28 days and 1 not started",
        "New this week: 3",
        "Left the list: 3",
        f"Inactive for 14 days: 10 (as last week); 4.9{NBSP}% of the students",
        f"Active in the week: 100 ({MINUS}23, worse); 49.0{NBSP}% of the students",
    ]
    assert [tile.value for tile in tiles(without(replace(two_weeks(), at_risk={}), SUNDAY))] == ["–"] * 5  # noqa: RUF001
    assert tiles(replace(two_weeks(), at_risk={}))[0].detail == "not computed for this week"


def test_more_and_less_are_better_or_worse_as_the_figure_says():
    assert compare(12, 10, "worse") == Change("+2", "worse")
    assert compare(8, 10, "worse") == Change(f"{MINUS}2", "better")
    assert compare(8, 10, "better") == Change(f"{MINUS}2", "worse")
    assert compare(10, 10, "better") == Change("as last week")
    assert compare(10, None, "better") == Change()


def test_all_shares_have_one_denominator_which_is_named():
    assert denominator(two_weeks()).startswith(
        "All shares are of the 204 students with a snapshot at the end of Sunday, 1 Mar 2026;"
    )
    assert denominator(no_students()) == ""


def test_the_work_of_the_week_is_compared_only_with_a_complete_week():
    compared = f"770 lessons were completed (10{NBSP}% more), in 63 hours of study (10{NBSP}% less)."
    assert work(two_weeks()) == compared
    assert work(first_week()) == "770 lessons were completed, in 63 hours of study."
    assert work(without(two_weeks(), MONDAY)) == ""
    days = {day: group(lessons_completed=0, minutes_spent=0) for day in two_weeks().days}
    days[SUNDAY] = group(lessons_completed=1, minutes_spent=60)
    assert work(replace(two_weeks(), days=days)) == "1 lesson was completed, in 1 hour of study."


@pytest.mark.parametrize(
    ("recommendations", "outcomes", "expected"),
    [
        ({"TAKE_BREAK": 4, "CONTINUE_LEARNING": 100}, {}, "4 recommendations are given for the coming week."),
        ({"CONTINUE_LEARNING": 1}, {}, "0 recommendations are given for the coming week."),
        ({}, {}, "There are no recommendations for this week."),
        (
            {"TAKE_BREAK": 1},
            {"TAKE_BREAK": AdviceOutcome(5, 1, 0, 0), "RESUME_LEARNING": AdviceOutcome(40, 2, 40, 12)},
            "1 recommendation is given for the coming week. Of last week's 45, 3 were dismissed; of the 40 that name a "
            "lesson to complete, 12 were followed.",
        ),
        (
            {"TAKE_BREAK": 1},
            {"START_LEARNING": AdviceOutcome(2, 1, 1, 1)},
            "1 recommendation is given for the coming week. Of last week's 2, 1 was dismissed; of the 1 that names a "
            "lesson to complete, 1 was followed.",
        ),
    ],
)
def test_the_recommendations_and_what_became_of_last_weeks(
    recommendations: dict[str, int], outcomes: dict[str, AdviceOutcome], expected: str
):
    figures = replace(two_weeks(), recommendations={MONDAY: recommendations}, outcomes=outcomes)
    assert advice(figures) == expected


def test_missing_days_are_named():
    assert notices(two_weeks()) == notices(first_week()) == []
    assert notices(without(two_weeks(), MONDAY.replace(day=26))) == [
        "Thursday, 26 Feb 2026 is missing, so weekly totals are unknown."
    ]
    assert notices(without(two_weeks(), SUNDAY)) == [
        "Sunday, 1 Mar 2026 is missing, so weekly totals are unknown, and so are the figures of Sunday."
    ]
    assert notices(without(two_weeks(), SUNDAY_BEFORE)) == ["In the week before, Sunday, 22 Feb 2026 is missing."]


def test_student_days_not_computed_are_in_small_print():
    assert small_print(two_weeks()) == (
        "3 student-days could not be computed, most often because of “score out of range” (2)."
    )
    assert small_print(replace(two_weeks(), failures={})) == "Every student has figures for every day."
    assert small_print(no_students()) == ""

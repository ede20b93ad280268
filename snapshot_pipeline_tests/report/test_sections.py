"""The sections of the report: order and axis of the cohorts, reasons, recommendations, the week in figures."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapshot_pipeline.report.changes import Change
from snapshot_pipeline.report.figures import AdviceOutcome
from snapshot_pipeline.report.sections import Axis, advice_rows, cohort_table, reason_rows, week_rows
from snapshot_pipeline_tests.report.example_figures import (
    MONDAY,
    MONDAY_BEFORE,
    SUNDAY,
    SUNDAY_BEFORE,
    first_week,
    group,
    no_students,
    two_weeks,
    without,
)


def test_cohorts_come_worst_first_and_equal_ones_by_median_pace():
    """A third, whether of 30 or of 60, is the same share; the share at risk plays no part."""
    cohorts = {
        ("Few", ""): group(students=30, inactive_14_days=3, pace_median=10.0),
        ("Fast", ""): group(students=60, inactive_14_days=20, pace_median=50.0),
        ("Slow", ""): group(students=30, inactive_14_days=10, pace_median=40.0),
        ("Worst", ""): group(students=4, inactive_14_days=3, pace_median=90.0),
        ("None", ""): group(students=9, inactive_14_days=0, pace_median=1.0),
    }
    table = cohort_table(replace(two_weeks(), cohorts={SUNDAY: cohorts}))
    assert [row.name for row in table.rows] == ["Worst", "Slow", "Fast", "Few", "None"]


def test_all_cohorts_are_shown_with_their_change():
    many = {(f"Topic {number:02}", ""): group(students=100, inactive_14_days=number) for number in range(40)}
    before = {name: group(students=100, inactive_14_days=10) for name in many if name[0] != "Topic 39"}
    rows = cohort_table(replace(two_weeks(), cohorts={SUNDAY: many, SUNDAY_BEFORE: before})).rows
    assert len(rows) == 40
    changes = {row.name: row.change for row in rows}
    assert changes["Topic 39"] == Change()  # new
    assert changes["Topic 38"] == Change("+28.0", "worse")
    assert changes["Topic 10"] == Change("as last week")
    assert changes["Topic 00"] == Change("\N{MINUS SIGN}10.0", "better")


@pytest.mark.parametrize(
    ("shares", "first", "last"),
    [
        ((0.31, 0.38), 30, 40),
        ((0.02, 0.034), 2, 4),
        ((0, 0.9), 0, 100),
        ((0.1,), 10, 11),
        ((1,), 99, 100),
        ((), 0, 100),
    ],
)
def test_the_axis_is_zoomed_to_the_data(shares: tuple[float, ...], first: float, last: float):
    axis = Axis.around(shares)
    assert (axis.first, axis.last) == (first, last)


@given(st.lists(st.floats(0, 1), max_size=40))
def test_every_share_lies_on_an_axis_with_few_ticks(shares: list[float]):
    axis = Axis.around(shares)
    assert all(0 <= axis.position(share) <= 100 for share in shares)
    positions = [position for position, _ in axis.ticks()]
    assert positions[0] == 0
    assert positions[-1] == 100
    assert 2 <= len(positions) <= 5


def test_the_most_frequent_reason_comes_first_and_is_compared():
    rows = reason_rows(two_weeks())
    assert [(row.name, row.students, str(row.change), row.width) for row in rows] == [
        ("Missed quizzes that half of the peers have taken", "8", "+1, worse", 100),
        ("No activity for 28 days or more", "3", "as last week", 37.5),
        ("Low quiz scores", "2", "+2, worse", 25),
        ("Has not started a lesson", "1", "+1, worse", 12.5),
    ]
    assert reason_rows(no_students()) == []


def test_the_default_next_step_comes_last_and_has_no_outcome():
    week = replace(
        two_weeks(),
        recommendations={
            MONDAY: {"CONTINUE_LEARNING": 100, "START_LEARNING": 4, "KEEP_GOING": 2},
            MONDAY_BEFORE: {"CONTINUE_LEARNING": 90, "START_LEARNING": 7},
        },
        outcomes={"START_LEARNING": AdviceOutcome(7, 2, 6, 3)},
    )
    assert [tuple(vars(row).values()) for row in advice_rows(week)] == [
        ("Start learning", "4", "7", "2", "3"),
        ("Keep going", "2", "0", "–", "–"),  # noqa: RUF001
        ("Next lesson (default)", "100", "90", "–", "–"),  # noqa: RUF001
    ]
    assert advice_rows(two_weeks())[0].followed == "–"  # noqa: RUF001  # it names no lesson


def test_a_change_is_the_difference_of_the_rounded_figures():
    """45.04 and 45.96 are shown as 45.0 and 46.0; a change of 0.9 beside them would look like a mistake."""
    days = {**two_weeks().days, SUNDAY: group(pace_median=45.96), SUNDAY_BEFORE: group(pace_median=45.04)}
    rows = {row.name: (row.now, row.before, row.change) for row in week_rows(replace(two_weeks(), days=days))}
    assert rows["Median pace score, points"] == ("46.0", "45.0", "+1.0")
    assert rows["Active in the week"] == ("100", "123", "−23")  # noqa: RUF001


def test_sums_of_an_incomplete_week_are_unknown():
    rows = {row.name: row for row in week_rows(without(two_weeks(), MONDAY))}
    assert (rows["Lessons completed"].now, rows["Lessons completed"].before) == ("–", "700")  # noqa: RUF001
    assert {row.change for row in week_rows(first_week())} == {"–"}  # noqa: RUF001

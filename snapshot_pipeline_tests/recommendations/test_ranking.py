"""`recommend`: the five best per student, dismissals, and the columns of the result."""

from __future__ import annotations

import dataclasses
import json
from datetime import date

import pandas as pd
import pytest

from snapshot_pipeline.recommendations import WeekFacts, recommend
from snapshot_pipeline_tests.recommendations.example_weeks import attempt, lesson, snapshot, student, week

ALL_TYPES = [
    "TAKE_BREAK",
    "RESUME_LEARNING",
    "REVIEW_LESSON",
    "START_LEARNING",
    "PRACTICE_MORE",
    "CONTINUE_LEARNING",
]
COLUMNS = ["user_id", "recommendation_type", "priority", "title", "message", "metadata"]


def week_in_which_every_rule_applies(
    user_ids: tuple[int, ...] = (1,), dismissals: tuple[tuple[int, str], ...] = ()
) -> WeekFacts:
    """Return contradictory facts, so that all six rules apply: one more than are published."""
    long_ago = date(2026, 5, 1)
    return week(
        students=[student(user_id, has_started=False) for user_id in user_ids],
        snapshots=[
            snapshot(user_id, minutes=700, lessons=5, exercises=1, last_activity_date=long_ago) for user_id in user_ids
        ],
        attempts=[attempt(user_id, 1000 + user_id, 10, 55.5) for user_id in user_ids],
        lessons=[lesson(10)],
        dismissals=dismissals,
    )


def types_of(recommendations: pd.DataFrame, user_id: int) -> list[str]:
    return recommendations.loc[recommendations["user_id"] == user_id, "recommendation_type"].tolist()


def test_a_student_gets_the_five_with_the_highest_priority():
    recommendations = recommend(week_in_which_every_rule_applies())
    assert recommendations["recommendation_type"].tolist() == ALL_TYPES[:5]
    assert recommendations["priority"].tolist() == [95, 90, 85, 80, 75]


@pytest.mark.parametrize("dismissed", ALL_TYPES)
def test_a_dismissed_recommendation_is_replaced_by_the_sixth(dismissed):
    recommendations = recommend(week_in_which_every_rule_applies(dismissals=((1, dismissed),)))
    assert recommendations["recommendation_type"].tolist() == [name for name in ALL_TYPES if name != dismissed]


def test_a_dismissal_of_one_student_does_not_affect_another():
    recommendations = recommend(
        week_in_which_every_rule_applies((1, 2), dismissals=((1, "TAKE_BREAK"), (2, "NO_LONGER_A_TYPE")))
    )
    assert "TAKE_BREAK" not in types_of(recommendations, 1)
    assert types_of(recommendations, 2) == ALL_TYPES[:5]


def test_a_student_who_dismissed_all_types_gets_none():
    assert recommend(week_in_which_every_rule_applies(dismissals=tuple((1, name) for name in ALL_TYPES))).empty


def test_rows_are_sorted_by_student_and_priority_for_any_input_order():
    facts = week_in_which_every_rule_applies((30, 1, 200, 7))
    recommendations = recommend(facts)
    assert recommendations["user_id"].tolist() == [user_id for user_id in (1, 7, 30, 200) for _ in range(5)]
    assert recommendations.index.tolist() == list(range(20))
    reversed_frames = {
        field.name: getattr(facts, field.name).iloc[::-1]
        for field in dataclasses.fields(facts)
        if field.name != "week_start"
    }
    pd.testing.assert_frame_equal(recommend(dataclasses.replace(facts, **reversed_frames)), recommendations)


def test_users_outside_the_batch_are_ignored():
    facts = week_in_which_every_rule_applies((1, 2))
    first_student_only = dataclasses.replace(facts, students=facts.students[facts.students["user_id"] == 1])
    pd.testing.assert_frame_equal(recommend(first_student_only), recommend(week_in_which_every_rule_applies()))


def test_metadata_are_plain_values_that_json_can_encode():
    facts = week_in_which_every_rule_applies((1, 2), dismissals=((2, "TAKE_BREAK"),))
    recommendations = recommend(facts)
    metadata = {row.recommendation_type: row.metadata for row in recommendations.itertuples()}
    assert metadata == {
        "TAKE_BREAK": {"total_minutes": 700},
        "RESUME_LEARNING": {"days_inactive": 45},
        "REVIEW_LESSON": {"lesson_ids": [10], "scores": [55.5]},
        "START_LEARNING": {},
        "PRACTICE_MORE": {"lessons_done": 5, "exercises_done": 1},
        "CONTINUE_LEARNING": {"lesson_id": 10, "lesson_title": "Fractions"},
    }
    for value in recommendations["metadata"]:
        assert json.loads(json.dumps(value)) == value


def test_every_row_has_its_title_and_message():
    recommendations = recommend(week_in_which_every_rule_applies((1, 2), dismissals=((2, "START_LEARNING"),)))
    texts = {row.recommendation_type: (row.title, row.message) for row in recommendations.itertuples()}
    assert texts["TAKE_BREAK"] == (
        "Time for a break",
        "You studied 700 minutes in three days. A pause now will help you keep going.",
    )
    assert texts["CONTINUE_LEARNING"] == ("Your next lesson", "“Fractions” is the next lesson in your course.")


def test_students_with_equal_metadata_share_one_object():
    facts = week(
        students=[student(user_id) for user_id in (1, 2, 3)],
        snapshots=[snapshot(1, minutes=700), snapshot(2, minutes=800), snapshot(3, minutes=700)],
    )
    first, second, third = recommend(facts).itertuples()
    assert (first.message, second.message) == (
        "You studied 700 minutes in three days. A pause now will help you keep going.",
        "You studied 800 minutes in three days. A pause now will help you keep going.",
    )
    assert (first.metadata, second.metadata) == ({"total_minutes": 700}, {"total_minutes": 800})
    assert third.metadata is first.metadata
    assert third.message == first.message


def test_a_student_without_snapshots_gets_start_and_next_lesson():
    recommendations = recommend(week(students=[student(5, has_started=False)], lessons=[lesson(10)]))
    assert recommendations["recommendation_type"].tolist() == ["START_LEARNING", "CONTINUE_LEARNING"]


@pytest.mark.parametrize("empty", ["students", "snapshots", "attempts", "completions", "lessons", "dismissals"])
def test_any_frame_may_be_empty(empty):
    facts = week_in_which_every_rule_applies((1, 2), dismissals=((2, "TAKE_BREAK"),))
    facts = dataclasses.replace(facts, completions=pd.DataFrame({"user_id": [1, 2], "lesson_id": [3, 10]}))
    full = recommend(facts)
    recommendations = recommend(dataclasses.replace(facts, **{empty: getattr(facts, empty).iloc[:0]}))
    assert recommendations.columns.tolist() == COLUMNS
    assert recommendations.dtypes.tolist() == full.dtypes.tolist()
    assert recommendations.empty == (empty == "students")


def test_an_empty_week_has_no_rows_but_all_columns():
    recommendations = recommend(week())
    assert recommendations.columns.tolist() == COLUMNS
    assert recommendations.empty
    assert recommendations["user_id"].dtype == "int64"
    assert recommendations["priority"].dtype == "int64"


def test_the_input_frames_are_not_modified():
    facts = week_in_which_every_rule_applies((2, 1), dismissals=((2, "TAKE_BREAK"),))
    before = {name: frame.copy() for name, frame in vars(facts).items() if name != "week_start"}
    recommend(facts)
    for name, frame in before.items():
        pd.testing.assert_frame_equal(getattr(facts, name), frame)

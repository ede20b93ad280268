"""`recommend`: the three best per student, dismissals, and the columns of the result."""

from __future__ import annotations

import dataclasses
import json

import pandas as pd
import pytest

from snapshot_pipeline.recommendations import WeekFacts, recommend
from snapshot_pipeline_tests.recommendations.example_weeks import activity, attempt, lesson, student, week

COLUMNS = ["user_id", "recommendation_type", "priority", "title", "message", "metadata"]
FOUR_TYPES = ["RESUME_LEARNING", "REVIEW_LESSON", "PRACTICE_MORE", "CONTINUE_LEARNING"]
BEST = ["RESUME_LEARNING", "REVIEW_LESSON", "PRACTICE_MORE"]


def inactive_week(
    user_ids: tuple[int, ...] = (1,),
    dismissals: tuple[tuple[int, str], ...] = (),
    dismissed_lessons: tuple[tuple[int, int], ...] = (),
) -> WeekFacts:
    """Return facts in which four rules apply to each student; the first removes the last."""
    return week(
        students=[student(user_id) for user_id in user_ids],
        activities=[activity(user_id, lessons=5, exercises=1, days_ago=20) for user_id in user_ids],
        attempts=[attempt(user_id, 1000 + user_id, 10, 55.5) for user_id in user_ids],
        lessons=[lesson(10)],
        dismissals=dismissals,
        dismissed_lessons=dismissed_lessons,
    )


def types_of(recommendations: pd.DataFrame, user_id: int) -> list[str]:
    return recommendations.loc[recommendations["user_id"] == user_id, "recommendation_type"].tolist()


def test_a_student_gets_the_three_with_the_highest_priority():
    """Contradictory facts, so that four are left: inactive, and 700 minutes on the last days."""
    facts = inactive_week(dismissals=((1, "TAKE_BREAK"),))
    facts = dataclasses.replace(facts, activity=facts.activity.assign(minutes=700))
    recommendations = recommend(facts)
    assert recommendations["recommendation_type"].tolist() == BEST
    assert recommendations["priority"].tolist() == [90, 85, 75]
    assert types_of(recommend(dataclasses.replace(facts, dismissals=facts.dismissals.iloc[:0])), 1) == [
        "TAKE_BREAK",
        "RESUME_LEARNING",
        "REVIEW_LESSON",
    ]


def test_take_break_removes_practice_and_the_next_lesson():
    facts = week(
        students=[student(1), student(2)],
        activities=[activity(1, minutes=700, lessons=9), activity(2, minutes=10, lessons=9)],
        lessons=[lesson(10)],
    )
    recommendations = recommend(facts)
    assert types_of(recommendations, 1) == ["TAKE_BREAK"]
    assert types_of(recommendations, 2) == ["PRACTICE_MORE", "CONTINUE_LEARNING"]


def test_resume_learning_removes_the_next_lesson_which_it_carries():
    facts = week(students=[student(1)], activities=[activity(1, days_ago=15)], lessons=[lesson(10)])
    (row,) = recommend(facts).itertuples()
    assert row.recommendation_type == "RESUME_LEARNING"
    assert row.metadata == {"days_inactive": 15, "lesson_id": 10, "lesson_title": "Fractions"}
    assert row.message == "Your last activity was 15 days ago: go on with “Fractions”."


@pytest.mark.parametrize(
    ("dismissed", "expected"),
    [
        ("RESUME_LEARNING", ["REVIEW_LESSON", "PRACTICE_MORE", "CONTINUE_LEARNING"]),
        ("PRACTICE_MORE", ["RESUME_LEARNING", "REVIEW_LESSON"]),
        ("CONTINUE_LEARNING", BEST),
    ],
)
def test_a_dismissed_type_is_left_out_before_it_removes_another(dismissed, expected):
    recommendations = recommend(inactive_week(dismissals=((1, dismissed),)))
    assert recommendations["recommendation_type"].tolist() == expected


def test_a_dismissal_of_one_student_does_not_affect_another():
    recommendations = recommend(inactive_week((1, 2), ((1, "RESUME_LEARNING"), (2, "NO_LONGER_A_TYPE")), ((1, 10),)))
    assert types_of(recommendations, 1) == ["PRACTICE_MORE", "CONTINUE_LEARNING"]
    assert types_of(recommendations, 2) == BEST


def test_a_student_who_dismissed_all_types_gets_none():
    assert recommend(inactive_week((1,), tuple((1, name) for name in FOUR_TYPES), ((1, 10),))).empty


def test_a_student_who_completed_the_course_gets_no_start_resume_or_next_lesson():
    facts = dataclasses.replace(inactive_week(), completions=pd.DataFrame({"user_id": [1], "lesson_id": [10]}))
    assert recommend(facts)["recommendation_type"].tolist() == ["REVIEW_LESSON", "PRACTICE_MORE"]


def test_rows_are_sorted_by_student_and_priority_for_any_input_order():
    facts = inactive_week((30, 1, 200, 7))
    recommendations = recommend(facts)
    assert recommendations["user_id"].tolist() == [user_id for user_id in (1, 7, 30, 200) for _ in range(3)]
    assert recommendations.index.tolist() == list(range(12))
    reversed_frames = {
        field.name: getattr(facts, field.name).iloc[::-1]
        for field in dataclasses.fields(facts)
        if isinstance(getattr(facts, field.name), pd.DataFrame)
    }
    pd.testing.assert_frame_equal(recommend(dataclasses.replace(facts, **reversed_frames)), recommendations)


def test_users_outside_the_batch_are_ignored():
    facts = inactive_week((1, 2))
    first_student_only = dataclasses.replace(facts, students=facts.students[facts.students["user_id"] == 1])
    pd.testing.assert_frame_equal(recommend(first_student_only), recommend(inactive_week()))


def test_metadata_are_plain_values_that_json_can_encode():
    facts = inactive_week((1, 2), dismissals=((2, "RESUME_LEARNING"),))
    busy_and_new = week(
        students=[student(3, has_started=False), student(4, has_started=False, level=None), student(5)],
        activities=[activity(5, minutes=700)],
        lessons=[lesson(10)],
    )
    recommendations = pd.concat([recommend(facts), recommend(busy_and_new)])
    metadata = {(row.user_id, row.recommendation_type): row.metadata for row in recommendations.itertuples()}
    review, practice = {"lesson_ids": [10], "scores": [55.5]}, {"lessons_done": 5, "exercises_done": 1}
    following = {"lesson_id": 10, "lesson_title": "Fractions"}
    assert metadata == {
        (1, "RESUME_LEARNING"): {"days_inactive": 20, **following},
        (1, "REVIEW_LESSON"): review,
        (1, "PRACTICE_MORE"): practice,
        (2, "REVIEW_LESSON"): review,
        (2, "PRACTICE_MORE"): practice,
        (2, "CONTINUE_LEARNING"): following,
        (3, "START_LEARNING"): following,
        (4, "START_LEARNING"): {},
        (5, "TAKE_BREAK"): {"total_minutes": 700},
    }
    for value in recommendations["metadata"]:
        assert json.loads(json.dumps(value)) == value


def test_every_row_has_its_title_and_message():
    facts = week(
        students=[student(1), student(2), student(3, has_started=False), student(4, has_started=False, level=None)],
        activities=[activity(1, minutes=700)],
        lessons=[lesson(10)],
    )
    texts = [(row.title, row.message) for row in recommend(facts).itertuples()]
    assert texts == [
        ("Time for a break", "You studied 700 minutes in three days. A pause now will help you keep going."),
        ("Your next lesson", "“Fractions” is the next lesson in your course."),
        ("Ready for your first lesson?", "“Fractions” is the first lesson in your course."),
        ("Ready for your first lesson?", "You have not started a lesson yet: pick one that looks interesting."),
    ]


def test_students_with_equal_metadata_share_one_object():
    facts = week(
        students=[student(user_id) for user_id in (1, 2, 3)],
        activities=[activity(1, minutes=700), activity(2, minutes=800), activity(3, minutes=700)],
    )
    first, second, third = recommend(facts).itertuples()
    assert (first.message, second.message) == (
        "You studied 700 minutes in three days. A pause now will help you keep going.",
        "You studied 800 minutes in three days. A pause now will help you keep going.",
    )
    assert (first.metadata, second.metadata) == ({"total_minutes": 700}, {"total_minutes": 800})
    assert third.metadata is first.metadata
    assert third.message == first.message


def test_a_student_without_activity_gets_the_first_lesson_only_once():
    recommendations = recommend(week(students=[student(5, has_started=False)], lessons=[lesson(10)]))
    assert recommendations["recommendation_type"].tolist() == ["START_LEARNING"]


@pytest.mark.parametrize(
    "empty", ["students", "activity", "attempts", "completions", "lessons", "dismissals", "dismissed_lessons"]
)
def test_any_frame_may_be_empty(empty):
    facts = inactive_week((1, 2), dismissals=((2, "RESUME_LEARNING"),), dismissed_lessons=((2, 10),))
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
    facts = inactive_week((2, 1), dismissals=((2, "RESUME_LEARNING"),))
    before = {name: frame.copy() for name, frame in vars(facts).items() if isinstance(frame, pd.DataFrame)}
    recommend(facts)
    for name, frame in before.items():
        pd.testing.assert_frame_equal(getattr(facts, name), frame)

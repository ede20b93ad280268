"""Each rule at its thresholds: the students to whom it applies, and the metadata."""

from __future__ import annotations

import dataclasses
from datetime import date

import pandas as pd
import pytest

from snapshot_pipeline.recommendations.rules import (
    RECOMMENDATION_TYPES,
    RecommendationType,
    continue_learning,
    practice_more,
    resume_learning,
    review_lesson,
    start_learning,
    take_break,
)
from snapshot_pipeline_tests.recommendations.example_weeks import attempt, lesson, snapshot, student, week


def rows_of(result: pd.DataFrame) -> list[tuple[object, ...]]:
    return sorted(result.itertuples(index=False, name=None))


# The week


def test_a_week_start_that_is_not_a_monday_is_refused():
    facts = week()
    with pytest.raises(ValueError, match="2026-06-09, a Tuesday"):
        dataclasses.replace(facts, week_start=date(2026, 6, 9))


# TAKE_BREAK


def test_take_break_needs_600_minutes_in_three_days():
    facts = week(
        snapshots=[
            *[snapshot(1, day, minutes=200) for day in range(3)],
            *[snapshot(2, day, minutes=200) for day in range(2)],
            snapshot(2, 2, minutes=199),
        ]
    )
    assert rows_of(take_break(facts)) == [(1, 600)]


def test_take_break_applies_to_one_long_day_without_other_snapshots():
    assert rows_of(take_break(week(snapshots=[snapshot(1, 2, minutes=655)]))) == [(1, 655)]


@pytest.mark.parametrize("days_before_sunday", [3, -1])
def test_take_break_ignores_days_before_friday_and_after_sunday(days_before_sunday):
    facts = week(snapshots=[snapshot(1, 0, minutes=599), snapshot(1, days_before_sunday, minutes=1000)])
    assert take_break(facts).empty


# RESUME_LEARNING


def test_resume_learning_needs_seven_inactive_days_before_next_monday():
    facts = week(
        snapshots=[
            snapshot(1, last_activity_date=date(2026, 6, 8)),
            snapshot(2, last_activity_date=date(2026, 6, 9)),
            snapshot(3, last_activity_date=date(2025, 6, 15)),
        ]
    )
    assert rows_of(resume_learning(facts)) == [(1, 7), (3, 365)]


@pytest.mark.parametrize("days_before_sunday", [1, -1])
def test_resume_learning_uses_only_the_snapshot_of_sunday(days_before_sunday):
    facts = week(snapshots=[snapshot(1, days_before_sunday, last_activity_date=date(2026, 1, 1))])
    assert resume_learning(facts).empty


# REVIEW_LESSON


def test_review_lesson_needs_a_score_below_70():
    facts = week(attempts=[attempt(1, 10, 5, 69.99), attempt(2, 11, 5, 70.0)])
    assert rows_of(review_lesson(facts)) == [(1, [5], [69.99])]


def test_review_lesson_ignores_a_lesson_whose_latest_score_is_high():
    facts = week(attempts=[attempt(1, 10, 5, 90, hour=14), attempt(1, 11, 5, 20, hour=13)])
    assert review_lesson(facts).empty


def test_review_lesson_applies_to_a_low_latest_score_after_a_high_one():
    facts = week(attempts=[attempt(1, 11, 5, 20, hour=14), attempt(1, 12, 5, 90, hour=13)])
    assert rows_of(review_lesson(facts)) == [(1, [5], [20.0])]


def test_the_higher_id_is_the_latest_of_two_attempts_at_the_same_instant():
    facts = week(attempts=[attempt(1, 11, 5, 90), attempt(1, 10, 5, 20), attempt(1, 20, 6, 90), attempt(1, 21, 6, 30)])
    assert rows_of(review_lesson(facts)) == [(1, [6], [30.0])]


def test_review_lesson_lists_the_three_lowest_scores_and_ties_by_id():
    scores = {9: 40, 4: 10, 7: 40, 8: 40, 5: 69}
    facts = week(attempts=[attempt(1, 100 - lesson_id, lesson_id, score) for lesson_id, score in scores.items()])
    assert rows_of(review_lesson(facts)) == [(1, [4, 7, 8], [10.0, 40.0, 40.0])]


def test_review_lesson_keeps_students_separate():
    facts = week(attempts=[attempt(2, 1, 5, 10), attempt(1, 2, 5, 20), attempt(2, 3, 6, 5), attempt(3, 4, 6, 99)])
    assert rows_of(review_lesson(facts)) == [(1, [5], [20.0]), (2, [6, 5], [5.0, 10.0])]


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_not_finite_is_not_low_but_is_the_latest(score):
    facts = week(attempts=[attempt(1, 10, 5, 20, hour=8), attempt(1, 11, 5, score, hour=9)])
    assert review_lesson(facts).empty


def test_a_negative_score_is_low():
    assert rows_of(review_lesson(week(attempts=[attempt(1, 10, 5, -3)]))) == [(1, [5], [-3.0])]


# START_LEARNING


def test_start_learning_applies_only_to_students_without_any_start():
    facts = week(students=[student(1), student(2, has_started=False)])
    assert rows_of(start_learning(facts)) == [(2,)]


# PRACTICE_MORE


def test_practice_more_needs_5_lessons_and_fewer_than_2_exercises():
    facts = week(
        snapshots=[
            snapshot(1, 0, lessons=3),
            snapshot(1, 13, lessons=2, exercises=1),
            snapshot(2, 0, lessons=4, exercises=1),
            snapshot(3, 0, lessons=5, exercises=1),
            snapshot(3, 13, exercises=1),
            snapshot(4, 5, lessons=6),
        ]
    )
    assert rows_of(practice_more(facts)) == [(1, 5, 1), (4, 6, 0)]


@pytest.mark.parametrize("days_before_sunday", [14, -1])
def test_practice_more_ignores_days_outside_the_two_weeks(days_before_sunday):
    facts = week(
        snapshots=[
            snapshot(1, 0, lessons=4),
            snapshot(1, days_before_sunday, lessons=1),
            snapshot(2, 0, lessons=5, exercises=1),
            snapshot(2, days_before_sunday, exercises=1),
        ]
    )
    assert rows_of(practice_more(facts)) == [(2, 5, 1)]


# CONTINUE_LEARNING


def test_the_next_lesson_is_the_first_one_not_completed():
    facts = week(
        students=[student(1)],
        lessons=[lesson(30, 1), lesson(20, 2, title="Decimals"), lesson(10, 3), lesson(40, 4)],
        completions=[(1, 10), (1, 30)],
    )
    assert rows_of(continue_learning(facts)) == [(1, 20, "Decimals")]


def test_a_student_without_completions_gets_the_first_lesson():
    facts = week(students=[student(1)], lessons=[lesson(10, 2), lesson(20, 1)])
    assert rows_of(continue_learning(facts)) == [(1, 20, "Fractions")]


def test_a_completed_course_has_no_next_lesson():
    facts = week(students=[student(1)], lessons=[lesson(10), lesson(20)], completions=[(1, 20), (1, 10)])
    assert continue_learning(facts).empty


def test_lessons_are_sorted_by_order_then_id_with_missing_orders_last():
    lessons = [lesson(1, None), lesson(9, 1), lesson(8, 1), lesson(2, None), lesson(7, 0)]
    order = [7, 8, 9, 1, 2]
    for already, expected in enumerate(order):
        completions = [(1, lesson_id) for lesson_id in order[:already]]
        result = continue_learning(week(students=[student(1)], lessons=lessons, completions=completions))
        assert result["lesson_id"].tolist() == [expected]


def test_the_next_lesson_is_in_the_specialization_and_level_of_the_student():
    facts = week(
        students=[student(1), student(2, level="EXPERT"), student(3, specialization="ART"), student(4)],
        lessons=[lesson(10), lesson(11, 2), lesson(20, level="EXPERT"), lesson(30, specialization="ART")],
        completions=[(1, 20), (1, 30), (4, 10), (2, 10)],
    )
    result = continue_learning(facts)
    assert dict(zip(result["user_id"], result["lesson_id"], strict=True)) == {1: 10, 2: 20, 3: 30, 4: 11}


def test_completions_of_one_student_do_not_affect_another():
    facts = week(
        students=[student(2), student(1)],
        lessons=[lesson(10, 1), lesson(20, 2), lesson(30, 3)],
        completions=[(1, 10), (2, 20), (7, 10)],
    )
    result = continue_learning(facts)
    assert dict(zip(result["user_id"], result["lesson_id"], strict=True)) == {1: 20, 2: 10}


def test_a_completed_lesson_that_is_no_longer_published_is_ignored():
    facts = week(students=[student(1)], lessons=[lesson(10, 5)], completions=[(1, 999)])
    assert rows_of(continue_learning(facts)) == [(1, 10, "Fractions")]


def test_a_duplicate_completion_counts_once():
    facts = week(
        students=[student(1)],
        lessons=[lesson(10, 1), lesson(20, 2), lesson(30, 3)],
        completions=[(1, 10), (1, 20), (1, 10)],
    )
    assert rows_of(continue_learning(facts)) == [(1, 30, "Fractions")]


@pytest.mark.parametrize("missing", [{"specialization": None}, {"level": None}])
def test_without_specialization_or_level_there_is_no_next_lesson(missing):
    no_course = {"specialization": "MATH", "level": "BASIC"} | missing
    facts = week(students=[student(1, **no_course)], lessons=[lesson(10, **no_course), lesson(20)])
    assert continue_learning(facts).empty


def test_a_lesson_without_a_title_has_an_empty_title():
    facts = week(students=[student(1)], lessons=[lesson(10, title=None)])
    assert rows_of(continue_learning(facts)) == [(1, 10, "")]


def test_str_and_object_columns_find_the_same_next_lesson():
    facts = week(students=[student(1), student(2, level=None)], lessons=[lesson(10)], completions=[])
    texts = {"specialization": "string", "level": "string"}
    facts = dataclasses.replace(facts, students=facts.students.astype(texts))
    assert rows_of(continue_learning(facts)) == [(1, 10, "Fractions")]


# All rules


@pytest.mark.parametrize("recommendation_type", RECOMMENDATION_TYPES, ids=lambda kind: kind.name)
def test_a_rule_without_matches_returns_an_empty_frame(recommendation_type: RecommendationType):
    result = recommendation_type.find(week())
    assert result.empty
    assert result["user_id"].dtype == "int64"


def test_names_and_priorities_of_recommendation_types_are_unique():
    assert len({kind.name for kind in RECOMMENDATION_TYPES}) == len(RECOMMENDATION_TYPES)
    assert len({kind.priority for kind in RECOMMENDATION_TYPES}) == len(RECOMMENDATION_TYPES)

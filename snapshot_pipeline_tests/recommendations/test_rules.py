"""Each rule at its thresholds: the students to whom it applies, and the metadata."""

from __future__ import annotations

import dataclasses
import math
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
from snapshot_pipeline_tests.recommendations.example_weeks import activity, attempt, lesson, student, week


def rows_of(result: pd.DataFrame) -> list[tuple[object, ...]]:
    return sorted(result.itertuples(index=False, name=None))


# The week


def test_a_week_start_that_is_not_a_monday_is_refused():
    facts = week()
    with pytest.raises(ValueError, match="2026-06-09, a Tuesday"):
        dataclasses.replace(facts, week_start=date(2026, 6, 9))


# TAKE_BREAK


def test_take_break_needs_600_minutes():
    facts = week(activities=[activity(1, minutes=600), activity(2, minutes=599)])
    assert rows_of(take_break(facts)) == [(1, 600)]


# RESUME_LEARNING


def test_resume_learning_without_a_score_needs_14_days_without_activity():
    facts = week(
        students=[student(user_id) for user_id in (1, 2, 3, 4)],
        activities=[
            activity(1, days_ago=14),
            activity(2, days_ago=13),
            activity(3, days_ago=364),
            activity(4, days_ago=None),
        ],
        lessons=[lesson(10)],
    )
    assert rows_of(resume_learning(facts)) == [(1, 14, 10, "Fractions"), (3, 364, 10, "Fractions")]


def test_resume_learning_needs_a_low_score_and_7_days_or_no_score_and_14():
    days_and_scores = [(7, 34.99), (6, 10.0), (7, 35.0), (30, 35.0), (13, math.nan), (14, math.nan), (28, 0.0)]
    facts = week(
        students=[student(user_id, score=score) for user_id, (_, score) in enumerate(days_and_scores)],
        activities=[activity(user_id, days_ago=days) for user_id, (days, _) in enumerate(days_and_scores)],
        lessons=[lesson(10)],
    )
    assert [row[0] for row in rows_of(resume_learning(facts))] == [0, 5, 6]


def test_resume_learning_is_only_for_students_who_have_started():
    facts = week(students=[student(1, has_started=False)], activities=[activity(1, days_ago=20)], lessons=[lesson(10)])
    assert resume_learning(facts).empty


def test_resume_learning_needs_a_lesson_that_is_left():
    facts = week(
        students=[student(1), student(2, level=None), student(3)],
        activities=[activity(user_id, days_ago=20) for user_id in (1, 2, 3)],
        lessons=[lesson(10), lesson(11, 2)],
        completions=[(1, 10), (1, 11), (3, 10)],
    )
    assert rows_of(resume_learning(facts)) == [(3, 20, 11, "Fractions")]


# REVIEW_LESSON


def test_review_lesson_needs_a_score_below_the_threshold():
    facts = week(attempts=[attempt(1, 10, 5, 59.99), attempt(2, 11, 5, 60.0)], lessons=[lesson(5)])
    assert rows_of(review_lesson(facts)) == [(1, [5], [59.99])]
    stricter = dataclasses.replace(facts, review_below_score=59.99)
    assert review_lesson(stricter).empty


def test_review_lesson_compares_the_score_that_it_shows():
    """Float noise below a threshold is not a low score."""
    facts = week(attempts=[attempt(1, 10, 5, 59.99999999999999), attempt(2, 11, 5, 59.994)], lessons=[lesson(5)])
    assert rows_of(review_lesson(facts)) == [(2, [5], [59.99])]


def test_review_lesson_ignores_a_quiz_whose_latest_score_is_high():
    facts = week(attempts=[attempt(1, 10, 5, 90, hour=14), attempt(1, 11, 5, 20, hour=13)], lessons=[lesson(5)])
    assert review_lesson(facts).empty


def test_review_lesson_applies_to_a_low_latest_score_after_a_high_one():
    facts = week(attempts=[attempt(1, 11, 5, 20, hour=14), attempt(1, 12, 5, 90, hour=13)], lessons=[lesson(5)])
    assert rows_of(review_lesson(facts)) == [(1, [5], [20.0])]


def test_a_later_high_score_in_another_quiz_of_the_lesson_does_not_hide_a_low_one():
    facts = week(
        attempts=[
            attempt(1, 10, 5, 30, hour=8, quiz_id=51),
            attempt(1, 11, 5, 95, hour=9, quiz_id=52),
            attempt(1, 12, 5, 50, hour=7, quiz_id=53),
        ],
        lessons=[lesson(5)],
    )
    assert rows_of(review_lesson(facts)) == [(1, [5], [30.0])]


def test_review_lesson_leaves_out_lessons_that_are_not_published():
    facts = week(attempts=[attempt(1, 10, 5, 20), attempt(1, 11, 6, 30)], lessons=[lesson(6)])
    assert rows_of(review_lesson(facts)) == [(1, [6], [30.0])]


def test_a_dismissed_lesson_is_left_out_and_the_next_lowest_follows():
    facts = week(
        attempts=[attempt(user_id, 10 * user_id + n, n, n * 10) for user_id in (1, 2) for n in range(1, 5)],
        lessons=[lesson(n) for n in range(1, 5)],
        dismissed_lessons=[(1, 1), (1, 3), (3, 2)],
    )
    assert rows_of(review_lesson(facts)) == [(1, [2, 4], [20.0, 40.0]), (2, [1, 2, 3], [10.0, 20.0, 30.0])]


def test_the_higher_id_is_the_latest_of_two_attempts_at_the_same_instant():
    facts = week(
        attempts=[attempt(1, 11, 5, 90), attempt(1, 10, 5, 20), attempt(1, 20, 6, 90), attempt(1, 21, 6, 30)],
        lessons=[lesson(5), lesson(6)],
    )
    assert rows_of(review_lesson(facts)) == [(1, [6], [30.0])]


def test_review_lesson_lists_the_three_lowest_scores_and_ties_by_id():
    scores = {9: 40, 4: 10, 7: 40, 8: 40, 5: 59}
    facts = week(
        attempts=[attempt(1, 100 - lesson_id, lesson_id, score) for lesson_id, score in scores.items()],
        lessons=[lesson(lesson_id) for lesson_id in scores],
    )
    assert rows_of(review_lesson(facts)) == [(1, [4, 7, 8], [10.0, 40.0, 40.0])]


def test_review_lesson_keeps_students_separate():
    facts = week(
        attempts=[attempt(2, 1, 5, 10), attempt(1, 2, 5, 20), attempt(2, 3, 6, 5), attempt(3, 4, 6, 99)],
        lessons=[lesson(5), lesson(6)],
    )
    assert rows_of(review_lesson(facts)) == [(1, [5], [20.0]), (2, [6, 5], [5.0, 10.0])]


def test_an_attempt_that_is_not_graded_does_not_hide_the_one_before():
    attempts = [attempt(1, 10, 5, 20, hour=8), attempt(1, 11, 5, float("nan"), hour=9)]
    assert rows_of(review_lesson(week(attempts=attempts, lessons=[lesson(5)]))) == [(1, [5], [20.0])]


# START_LEARNING


def test_start_learning_carries_the_first_lesson_if_there_is_one():
    facts = week(
        students=[student(1), student(2, has_started=False), student(3, level="NEW", has_started=False)],
        lessons=[lesson(11, 2), lesson(10, 1)],
    )
    assert rows_of(start_learning(facts)) == [(2, 10, "Fractions"), (3, None, None)]


def test_start_learning_waits_until_the_cohort_has_begun():
    students = [student(1, has_started=False, cohort_has_begun=False), student(2, has_started=False)]
    assert start_learning(week(students=students))["user_id"].tolist() == [2]


# PRACTICE_MORE


def test_practice_more_needs_5_lessons_and_fewer_than_2_exercises():
    facts = week(
        students=[student(user_id) for user_id in (1, 2, 3, 4)],
        activities=[
            activity(1, lessons=5, exercises=1),
            activity(2, lessons=4),
            activity(3, lessons=5, exercises=2),
            activity(4, lessons=6),
        ],
    )
    assert rows_of(practice_more(facts)) == [(1, 5, 1), (4, 6, 0)]


def test_practice_more_is_only_for_cohorts_with_exercises():
    facts = week(
        students=[student(1, cohort_has_exercises=False), student(2)],
        activities=[activity(1, lessons=5), activity(2, lessons=5)],
    )
    assert rows_of(practice_more(facts)) == [(2, 5, 0)]


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


def test_continue_learning_is_only_for_students_who_have_started():
    facts = week(students=[student(1, has_started=False), student(2)], lessons=[lesson(10)])
    assert rows_of(continue_learning(facts)) == [(2, 10, "Fractions")]


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


@pytest.mark.parametrize("missing", [{"specialization": None}, {"level": None}, {"level": ""}])
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


# Students for whom there is something to do


def test_students_with_a_lesson_left_who_have_started_or_whose_cohort_has_begun_are_expected():
    facts = week(
        students=[
            student(1),
            student(2, has_started=False),
            student(3, has_started=False, cohort_has_begun=False),
            student(4),
            student(5, level=None),
        ],
        lessons=[lesson(10)],
        completions=[(4, 10)],
    )
    assert facts.expected.tolist() == [1, 2]


# All rules


@pytest.mark.parametrize("recommendation_type", RECOMMENDATION_TYPES, ids=lambda kind: kind.name)
def test_a_rule_without_matches_returns_an_empty_frame(recommendation_type: RecommendationType):
    result = recommendation_type.find(week())
    assert result.empty
    assert result["user_id"].dtype == "int64"


def test_types_remove_types_of_a_lower_priority():
    priorities = {kind.name: kind.priority for kind in RECOMMENDATION_TYPES}
    for kind in RECOMMENDATION_TYPES:
        assert all(priorities[name] < kind.priority for name in kind.removes)


def test_names_and_priorities_of_recommendation_types_are_unique():
    assert len({kind.name for kind in RECOMMENDATION_TYPES}) == len(RECOMMENDATION_TYPES)
    assert len({kind.priority for kind in RECOMMENDATION_TYPES}) == len(RECOMMENDATION_TYPES)

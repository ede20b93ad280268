"""Invalid rows affect exactly the days whose figures need them, and the failure names the row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from snapshot_pipeline.metrics.issues import (
    COMPLETED_BEFORE_STARTED,
    NEGATIVE_TIME_SPENT,
    is_invalid_score,
    progress_issues,
    score_issues,
)

SHAPE = (1, 40)
COMPUTED = np.arange(29, 40)


def progress(*lesson_ids: int) -> pd.DataFrame:
    return pd.DataFrame({"lesson_id": lesson_ids, "time_spent_minutes": [-5] * len(lesson_ids)})


def affecting_rows(lesson_ids, invalid, started, completed, length=7) -> list[int]:
    """Return the position of the invalid row that affects each computed day, for one student's progress rows."""
    count = len(lesson_ids)
    issue = progress_issues(
        NEGATIVE_TIME_SPENT,
        np.array(invalid),
        progress(*lesson_ids),
        np.zeros(count, dtype=np.int64),
        (np.array(started), np.array(completed)),
        np.full((1, len(COMPUTED)), length),
        SHAPE,
    )
    return issue.rows[0].tolist()


@pytest.mark.parametrize(
    ("value", "is_invalid"),
    [(0.0, False), (100.0, False), (-0.01, True), (100.01, True), (np.nan, True), (np.inf, True), (-np.inf, True)],
)
def test_only_numbers_from_0_to_100_are_valid_scores(value: float, is_invalid: bool):
    assert is_invalid_score(np.array([value])).tolist() == [is_invalid]


def test_an_invalid_row_affects_the_days_whose_window_contains_it():
    assert affecting_rows([7], [True], [30], [-1]) == [-1] + [0] * 7 + [-1] * 3
    assert affecting_rows([7], [True], [-1], [30]) == [-1] + [0] * 7 + [-1] * 3
    assert affecting_rows([7], [True], [28], [-1], length=7) == [0] * 6 + [-1] * 5
    assert affecting_rows([7], [True], [10], [-1], length=30) == [0] * 11


def test_a_valid_row_affects_no_day():
    assert affecting_rows([7], [False], [30], [30]) == [-1] * 11


def test_the_latest_invalid_row_is_named_and_the_higher_lesson_on_a_tie():
    assert affecting_rows([7, 8], [True, True], [30, 32], [-1, -1])[1:5] == [0, 0, 1, 1]
    assert affecting_rows([8, 7], [True, True], [30, 30], [-1, -1])[1] == 0


def test_an_invalid_score_affects_days_until_ten_newer_attempts_follow():
    scores = [130.0, *[50.0] * 10]
    scored = pd.DataFrame({"attempt_id": np.arange(11) + 100, "score": scores})
    newest = np.array([[-1, 0, 1, 9, 10]])
    issue = score_issues(scored, np.arange(11), newest)
    assert issue.rows.tolist() == [[-1, 0, 0, 0, -1]]
    assert issue.describe(0) == "quiz_attempts id 100: score 130.0"


def test_an_invalid_score_does_not_affect_another_student():
    scored = pd.DataFrame({"attempt_id": [1, 2], "score": [np.nan, 50.0]})
    assert score_issues(scored, np.array([0, 0]), np.array([[0], [1]])).rows.tolist() == [[0], [-1]]


def test_without_attempts_there_is_no_issue():
    no_attempts = pd.DataFrame({"attempt_id": np.zeros(0, dtype=np.int64), "score": np.zeros(0)})
    assert score_issues(no_attempts, np.zeros(0, dtype=np.int64), np.array([[-1]])).rows.tolist() == [[-1]]


def test_the_detail_names_table_lesson_and_value():
    frame = pd.DataFrame(
        {
            "lesson_id": [55],
            "time_spent_minutes": [-3],
            "started_at": [pd.Timestamp("2026-03-10 12:00", tz="UTC")],
            "completed_at": [pd.Timestamp("2026-03-06 12:00", tz="UTC")],
        }
    )
    arguments = (
        np.array([True]),
        frame,
        np.array([0]),
        (np.array([30]), np.array([-1])),
        np.full((1, 11), 7),
        SHAPE,
    )
    assert progress_issues(NEGATIVE_TIME_SPENT, *arguments).describe(0) == (
        "user_lesson_progress lesson 55: time_spent_minutes -3"
    )
    assert progress_issues(COMPLETED_BEFORE_STARTED, *arguments).describe(0) == (
        "user_lesson_progress lesson 55: completed_at 2026-03-06T12:00:00+00:00 "
        "is earlier than started_at 2026-03-10T12:00:00+00:00"
    )

"""The pace score, with the worked examples of `metrics.md`."""

from __future__ import annotations

import numpy as np
import pytest

from snapshot_pipeline.metrics.grid import round_half_away
from snapshot_pipeline.metrics.pace import PaceTerms, learning_paces, window_lengths


def score(lessons: int, active_days: int, length: int, quiz_average: float) -> float:
    counts = (np.array([value]) for value in (lessons, active_days, length))
    return float(round_half_away(PaceTerms.of(*counts, np.array([quiz_average])).scores)[0])


@pytest.mark.parametrize(
    ("lessons", "active_days", "length", "quiz_average", "expected"),
    [
        (20, 12, 30, 80.0, 68.67),  # the first example
        (5, 3, 7, np.nan, 47.86),  # the second example
        (0, 0, 30, np.nan, 0.0),  # no activity
        (0, 0, 30, 50.0, 15.0),
        (30, 20, 30, 100.0, 100.0),  # a lesson a day, on two days out of three
        (90, 30, 30, 100.0, 100.0),  # capped at full marks
    ],
)
def test_score_of_the_worked_examples_and_the_bounds(lessons, active_days, length, quiz_average, expected):
    assert score(lessons, active_days, length, quiz_average) == expected


def test_the_window_grows_from_7_to_30_days_after_the_first_start():
    days = np.array([29, 30, 35, 36, 58, 59, 300])
    lengths = window_lengths(np.array([29, -1]), days)
    assert lengths[0].tolist() == [7, 7, 7, 8, 30, 30, 30]
    assert lengths[1].tolist() == [30] * 7  # began before the grid


@pytest.mark.parametrize(
    ("rounded_score", "label"),
    [
        (0.0, "SLOW"),
        (39.99, "SLOW"),
        (40.0, "MEDIUM"),
        (59.99, "MEDIUM"),
        (60.0, "FAST"),
        (79.99, "FAST"),
        (80.0, "ACCELERATED"),
        (100.0, "ACCELERATED"),
    ],
)
def test_each_label_begins_at_its_threshold(rounded_score: float, label: str):
    assert learning_paces(np.array([rounded_score])).tolist() == [label]

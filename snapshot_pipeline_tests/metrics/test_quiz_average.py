"""The quiz average, with the worked example of `metrics.md`: newer attempts weigh more, the eleventh is ignored."""

from __future__ import annotations

import numpy as np
import pytest

from snapshot_pipeline.metrics.grid import round_half_away
from snapshot_pipeline.metrics.quiz_average import WEIGHTS, running_averages


def averages(*oldest_first: float) -> np.ndarray:
    return running_averages(np.array(oldest_first, dtype=float), np.arange(len(oldest_first)))


def test_average_of_the_worked_example():
    assert round_half_away(averages(30, 60, 90))[-1] == 67.06


def test_a_running_average_is_returned_after_each_attempt():
    assert averages(30, 60).tolist() == [30.0, pytest.approx((40 * 60 + 25 * 30) / 65)]


def test_the_eleventh_attempt_does_not_count():
    assert averages(0, *[100] * 10)[-1] == 100.0
    assert averages(*[100] * 10, 0)[-1] == pytest.approx(100 * (sum(WEIGHTS) - 40) / sum(WEIGHTS))


def test_attempts_of_another_student_do_not_count():
    both = running_averages(np.array([0.0, 0.0, 100.0, 50.0]), np.array([0, 1, 0, 1]))
    assert both.tolist() == [0.0, 0.0, 100.0, pytest.approx((40 * 50 + 25 * 100) / 65)]


def test_the_weights_equal_the_formula():
    assert [weight / 100 for weight in WEIGHTS] == [0.40, 0.25, 0.20, 0.10, 0.05, 0.04, 0.03, 0.02, 0.01, 0.01]


def test_full_marks_average_to_full_marks():
    assert averages(*[100.0] * 25).tolist() == [100.0] * 25

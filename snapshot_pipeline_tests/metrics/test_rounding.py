"""Rounding half away from zero, independent of the last bits of a float: 39.995 is 40.00, and therefore MEDIUM."""

from __future__ import annotations

import numpy as np
import pytest

from snapshot_pipeline.metrics.grid import round_half_away


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, 0.0),
        (0.005, 0.01),
        (0.015, 0.02),
        (2.675, 2.68),  # its float is below the tie
        (1.005, 1.01),
        (39.995, 40.0),
        (39.9949999, 39.99),
        (67.0588235, 67.06),
        (0.1 + 0.2, 0.3),
        (100.0, 100.0),
    ],
)
def test_ties_are_rounded_up_to_two_decimals(value: float, expected: float):
    assert round_half_away(np.array([value])).tolist() == [expected]


def test_nan_is_rounded_to_nan():
    assert np.isnan(round_half_away(np.array([np.nan]))).all()


def test_figures_with_two_decimals_are_unchanged():
    figures = np.arange(10_001) / 100
    assert round_half_away(figures).tolist() == figures.tolist()

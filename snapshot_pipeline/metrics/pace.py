"""The pace score: how much and how steadily a student has learnt in the last 7 to 30 days. Source: `metrics.md`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snapshot_pipeline.metrics.grid import Counts, Floats, Ints

SHORTEST_WINDOW = 7
LONGEST_WINDOW = 30

LABELS = np.array(["SLOW", "MEDIUM", "FAST", "ACCELERATED"], dtype=object)
THRESHOLDS = np.array([40.0, 60.0, 80.0])


def window_lengths(first_start: Ints, days: Ints) -> Ints:
    """`n`: the local days from the first start to each day, both included, but at least 7 and at most 30.

    Args:
        first_start: Day index of each student's first start, shape (students,); -1 for before the grid.
        days: Day indices, shape (days,).

    Returns:
        Shape (students, days).
    """
    since_start: Ints = days[None, :] - first_start[:, None] + 1
    return since_start.clip(SHORTEST_WINDOW, LONGEST_WINDOW)


def pace_scores(lessons: Counts, active_days: Counts, lengths: Ints, quiz_averages: Floats) -> Floats:
    """The unrounded pace score, 0 to 100.

    Args:
        lessons: Lessons completed in the window.
        active_days: Distinct local dates with a completed lesson in the window.
        lengths: Days in the window, `n`.
        quiz_averages: Unrounded, 0 to 100; NaN, a student without a scored quiz, counts as 0.

    Returns:
        The shape that all four share.
    """
    velocity = np.minimum(lessons / lengths, 1) * 100
    consistency = np.minimum(active_days * 3 / (lengths * 2), 1) * 100
    return 0.4 * velocity + 0.3 * consistency + 0.3 * np.nan_to_num(quiz_averages, nan=0.0)


def learning_paces(rounded_scores: Floats) -> NDArray[np.object_]:
    """The label of each rounded pace score: SLOW, MEDIUM from 40, FAST from 60, ACCELERATED from 80."""
    return LABELS[np.searchsorted(THRESHOLDS, rounded_scores, side="right")]

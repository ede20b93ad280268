"""The quiz average: the last ten scored attempts, newer ones with more weight. Source: docs/metrics.md."""

from __future__ import annotations

import numpy as np

from snapshot_pipeline.metrics.grid import Floats, Ints

WEIGHTS = (40, 25, 20, 10, 5, 4, 3, 2, 1, 1)
"""Newest first, in hundredths: integers, so that their sums are exact."""

ATTEMPTS = len(WEIGHTS)


def running_averages(scores: Floats, attempt_rank: Ints) -> Floats:
    """The unrounded average of the last ten attempts, after each attempt.

    Each value is computed from the same ten numbers in the same order, whatever else the arrays contain, so a day has
    the same bits alone and in a range.

    Args:
        scores: In percent, shape (attempts,), by student, oldest first.
        attempt_rank: Number of earlier attempts of the same student, shape (attempts,).

    Returns:
        Shape (attempts,), 0 to 100.
    """
    weighted = np.zeros(len(scores))
    weights = np.zeros(len(scores), dtype=np.int64)
    for age, weight in enumerate(WEIGHTS):
        newer = np.flatnonzero(attempt_rank >= age)
        weighted[newer] += weight * scores[newer - age]
        weights[newer] += weight
    return weighted / weights

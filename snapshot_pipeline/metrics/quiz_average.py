"""The quiz average: a student's last ten scored attempts, the newer the weightier. Source: `metrics.md`."""

from __future__ import annotations

import numpy as np

from snapshot_pipeline.metrics.grid import Floats, Ints

WEIGHTS = (40, 25, 20, 10, 5, 4, 3, 2, 1, 1)
"""Newest first, in hundredths: as integers, so that their sums are exact."""

ATTEMPTS = len(WEIGHTS)


def running_averages(scores: Floats, places: Ints) -> Floats:
    """The unrounded average of the last ten attempts as it stands after each attempt.

    Each value is made of the same ten numbers in the same order whatever else the arrays hold, so that a day computed
    alone and inside a range is equal to the bit.

    Args:
        scores: In percent, shape (attempts,), by student and, within a student, oldest first.
        places: How many attempts of the same student stand before each, shape (attempts,).

    Returns:
        Shape (attempts,), 0 to 100.
    """
    weighted = np.zeros(len(scores))
    weights = np.zeros(len(scores), dtype=np.int64)
    for age, weight in enumerate(WEIGHTS):
        newer = np.flatnonzero(places >= age)
        with np.errstate(over="ignore"):  # a score near the largest number fails its student in `faults`
            weighted[newer] += weight * scores[newer - age]
        weights[newer] += weight
    return weighted / weights

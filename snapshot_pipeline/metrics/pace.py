"""The pace score: how much and how regularly a student worked in the last 7 to 30 days. Source: docs/metrics.md."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapshot_pipeline.metrics.grid import Counts, Floats, Ints

MIN_WINDOW = 7
MAX_WINDOW = 30

LABELS = ("SLOW", "MEDIUM", "FAST", "ACCELERATED")
"""The labels of a pace score, ascending."""

THRESHOLDS = (40.0, 60.0, 80.0)
"""Lower bounds of the labels, except the first, for rounded scores."""

VELOCITY_WEIGHT, CONSISTENCY_WEIGHT, QUIZ_WEIGHT = 0.4, 0.3, 0.3
"""Weights of the three terms, each 0 to 100."""


def window_lengths(first_start: Ints, days: Ints) -> Ints:
    """`n`: the local days from the first start to each day, both included, but at least 7 and at most 30.

    Args:
        first_start: Day index of each student's first start, shape (students,); -1 if before the grid.
        days: Day indices, shape (days,).

    Returns:
        Shape (students, days).
    """
    since_start: Ints = days[None, :] - first_start[:, None] + 1
    return since_start.clip(MIN_WINDOW, MAX_WINDOW)


@dataclass(frozen=True)
class PaceTerms:
    """The terms of a pace score; all of one shape, each term 0 to 100.

    Attributes:
        lessons: Lessons completed in the window.
        active_days: Distinct local dates with a completed lesson in the window.
        lengths: Days in the window, `n`.
        velocity: 100 for a lesson a day.
        consistency: 100 for a completed lesson on two days out of three.
        quiz: The unrounded quiz average; 0 without a scored quiz.
    """

    lessons: Counts
    active_days: Counts
    lengths: Ints
    velocity: Floats
    consistency: Floats
    quiz: Floats

    @classmethod
    def of(cls, lessons: Counts, active_days: Counts, lengths: Ints, quiz_averages: Floats) -> PaceTerms:
        """The terms of each student's day; for the arguments see the attributes.

        Args:
            quiz_averages: Unrounded, 0 to 100; NaN, without a scored quiz, counts as 0.
        """
        return cls(
            lessons=lessons,
            active_days=active_days,
            lengths=lengths,
            velocity=np.minimum(lessons / lengths, 1) * 100,
            consistency=np.minimum(active_days * 3 / (lengths * 2), 1) * 100,
            quiz=np.nan_to_num(quiz_averages, nan=0.0),
        )

    @property
    def scores(self) -> Floats:
        """The unrounded pace score, 0 to 100."""
        return VELOCITY_WEIGHT * self.velocity + CONSISTENCY_WEIGHT * self.consistency + QUIZ_WEIGHT * self.quiz


def label_numbers(rounded_scores: Floats) -> Ints:
    """Positions in `LABELS`: SLOW, MEDIUM from 40, FAST from 60, ACCELERATED from 80."""
    return np.searchsorted(THRESHOLDS, rounded_scores, side="right")


def learning_paces(rounded_scores: Floats) -> NDArray[np.object_]:
    """The label of each rounded pace score."""
    return np.array(LABELS, dtype=object)[label_numbers(rounded_scores)]

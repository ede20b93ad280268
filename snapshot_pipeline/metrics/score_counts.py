"""Score counts: the number of students by score, enough for every mean, quartile and share of a day, and mergeable.

Scores are between 0 and 100 and have two decimals, so there are at most 10,001: counting loses nothing, and a day takes
40 kB for any number of students.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapshot_pipeline.metrics.pace import LABELS, THRESHOLDS

POSSIBLE_SCORES = 10_001
"""0.00, 0.01, … 100.00."""

_EVERY_SCORE = np.arange(POSSIBLE_SCORES) / 100
_LABEL_OF = np.searchsorted(THRESHOLDS, _EVERY_SCORE, side="right")


@dataclass(frozen=True, eq=False)
class ScoreCounts:
    """The number of students by score; pickled without zeros.

    Attributes:
        counts: Number of students with the score `n / 100`, at position `n`; int32, shape (10001,).
    """

    counts: NDArray[np.int32]

    @classmethod
    def none(cls) -> ScoreCounts:
        return cls(np.zeros(POSSIBLE_SCORES, dtype=np.int32))

    @classmethod
    def of(cls, scores: Mapping[float, int]) -> ScoreCounts:
        """Counts from the number of students by score."""
        counts = np.zeros(POSSIBLE_SCORES, dtype=np.int32)
        for score, students in scores.items():
            counts[round(score * 100)] += students
        return cls(counts)

    @classmethod
    def by_day(cls, scores: NDArray[np.float64], day_numbers: NDArray[np.int64], days: int) -> list[ScoreCounts]:
        """The counts of each day.

        Args:
            scores: 0 to 100, with two decimals; float64, shape (rows,).
            day_numbers: The day of each score, from 0; int64, shape (rows,).
            days: Number of days.
        """
        hundredths = np.rint(scores * 100).astype(np.int64)
        counts = np.bincount(day_numbers * POSSIBLE_SCORES + hundredths, minlength=days * POSSIBLE_SCORES)
        return [cls(day) for day in counts.astype(np.int32).reshape(days, POSSIBLE_SCORES)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScoreCounts) and bool(np.array_equal(self.counts, other.counts))

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: ScoreCounts) -> ScoreCounts:
        return ScoreCounts(self.counts + other.counts)

    def __getstate__(self) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
        """The nonzero counts: a batch has a few thousand scores a day."""
        positions = np.flatnonzero(self.counts)
        return positions.astype(np.uint16), self.counts[positions]

    def __setstate__(self, state: tuple[NDArray[np.uint16], NDArray[np.int32]]) -> None:
        """Restore the zeros."""
        counts = np.zeros(POSSIBLE_SCORES, dtype=np.int32)
        counts[state[0]] = state[1]
        object.__setattr__(self, "counts", counts)

    @property
    def students(self) -> int:
        """Number of students."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float | None:
        """Mean score, from integers, so independent of the order; None without students."""
        return (
            int(self.counts.astype(np.int64) @ np.arange(POSSIBLE_SCORES)) / 100 / self.students
            if self.students
            else None
        )

    def percentile(self, fraction: float) -> float | None:
        """As PostgreSQL's `percentile_cont`, interpolated linearly between two scores; None without students.

        Args:
            fraction: 0.5 for the median.
        """
        if not self.students:
            return None
        position = fraction * (self.students - 1)
        below, above = int(np.floor(position)), int(np.ceil(position))
        up_to = np.cumsum(self.counts)
        low, high = (float(_EVERY_SCORE[np.searchsorted(up_to, rank, side="right")]) for rank in (below, above))
        return low + (position - below) * (high - low)

    def by_label(self) -> dict[str, int]:
        """Number of students by pace label, the slowest first."""
        totals = np.bincount(_LABEL_OF, self.counts, minlength=len(LABELS))
        return {label: int(total) for label, total in zip(LABELS, totals, strict=True)}

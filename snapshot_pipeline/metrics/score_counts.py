"""How many students have which score: enough for every mean, quartile and share of a day, and mergeable over batches.

Scores lie between 0 and 100 and have two decimals, so there are 10,001 of them at the most: counting loses nothing, and
a day takes 40 kB however many students it has.

Put here: counting, merging, and what is asked of the counts. Do not put here: how a score comes about (`pace`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snapshot_pipeline.metrics.pace import LABELS, THRESHOLDS

POSSIBLE = 10_001
"""0.00, 0.01, … 100.00."""

_EVERY_SCORE = np.arange(POSSIBLE) / 100
_LABEL_OF = np.searchsorted(THRESHOLDS, _EVERY_SCORE, side="right")


@dataclass(frozen=True, eq=False)
class ScoreCounts:
    """The scores of some students, counted; picklable in the few places that are not zero.

    Attributes:
        counts: How many students have the score `n / 100`, at position `n`; int32, shape (10001,).
    """

    counts: NDArray[np.int32]

    @classmethod
    def none(cls) -> ScoreCounts:
        """Of no student at all."""
        return cls(np.zeros(POSSIBLE, dtype=np.int32))

    @classmethod
    def of(cls, scores: Mapping[float, int]) -> ScoreCounts:
        """From how many students have each score."""
        counts = np.zeros(POSSIBLE, dtype=np.int32)
        for score, students in scores.items():
            counts[round(score * 100)] += students
        return cls(counts)

    @classmethod
    def by_day(cls, scores: NDArray[np.float64], day_numbers: NDArray[np.int64], days: int) -> list[ScoreCounts]:
        """The scores of each of some days.

        Args:
            scores: 0 to 100, of two decimals; float64, shape (rows,).
            day_numbers: Which day each belongs to, from 0; int64, shape (rows,).
            days: How many days there are.
        """
        hundredths = np.rint(scores * 100).astype(np.int64)
        counts = np.bincount(day_numbers * POSSIBLE + hundredths, minlength=days * POSSIBLE)
        return [cls(day) for day in counts.astype(np.int32).reshape(days, POSSIBLE)]

    def __eq__(self, other: object) -> bool:
        """Whether each score is as frequent."""
        return isinstance(other, ScoreCounts) and bool(np.array_equal(self.counts, other.counts))

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: ScoreCounts) -> ScoreCounts:
        """Of the students of both."""
        return ScoreCounts(self.counts + other.counts)

    def __getstate__(self) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
        """Only what is there: a batch travels with a few thousand scores a day."""
        places = np.flatnonzero(self.counts)
        return places.astype(np.uint16), self.counts[places]

    def __setstate__(self, state: tuple[NDArray[np.uint16], NDArray[np.int32]]) -> None:
        """From what is there."""
        counts = np.zeros(POSSIBLE, dtype=np.int32)
        counts[state[0]] = state[1]
        object.__setattr__(self, "counts", counts)

    @property
    def students(self) -> int:
        """How many there are."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float | None:
        """The mean score, of integers and so the same in whatever order; None of nobody."""
        return int(self.counts.astype(np.int64) @ np.arange(POSSIBLE)) / 100 / self.students if self.students else None

    def percentile(self, fraction: float) -> float | None:
        """What PostgreSQL's `percentile_cont` gives: between two scores, by how far the place lies between them.

        Args:
            fraction: 0.5 for the median.

        Returns:
            None of nobody.
        """
        if not self.students:
            return None
        place = fraction * (self.students - 1)
        below, above = int(np.floor(place)), int(np.ceil(place))
        up_to = np.cumsum(self.counts)
        low, high = (float(_EVERY_SCORE[np.searchsorted(up_to, rank, side="right")]) for rank in (below, above))
        return low + (place - below) * (high - low)

    def by_label(self) -> dict[str, int]:
        """How many students have each label of `metrics.md`, the slowest first."""
        totals = np.bincount(_LABEL_OF, self.counts, minlength=len(LABELS))
        return {label: int(total) for label, total in zip(LABELS, totals, strict=True)}

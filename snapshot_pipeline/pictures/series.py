"""Lines and columns over days that may have gaps, as several pictures draw them.

Put here: what a missing day looks like. Do not put here: what is counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Figures = Sequence[float | None]
"""One number per day or week; None where it is not known, which is drawn as a gap and never as zero."""


def as_array(figures: Figures) -> NDArray[np.float64]:
    """The figures, NaN where there is none."""
    return np.array([np.nan if figure is None else figure for figure in figures], dtype=np.float64)


def lonely(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which values have no neighbour, so that no line would show them."""
    known = np.concatenate([[False], ~np.isnan(values), [False]])
    return known[1:-1] & ~known[:-2] & ~known[2:]


def last_known(figures: Figures) -> tuple[int, float] | None:
    """The place of the last number that is known, and the number."""
    known = [(place, figure) for place, figure in enumerate(figures) if figure is not None]
    return known[-1] if known else None

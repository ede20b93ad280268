"""Lines and columns over days that may have gaps, as several pictures draw them.

Put here: what a missing day looks like. Do not put here: what is counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

Figures = Sequence[float | None]
"""One number per day or week; None where it is not known, which is drawn as a gap and never as zero."""


def as_array(figures: Figures) -> NDArray[np.float64]:
    """The figures, NaN where there is none."""
    return np.array([np.nan if figure is None else figure for figure in figures], dtype=np.float64)


def isolated(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which values have no neighbour, so that no line would show them."""
    known = np.concatenate([[False], ~np.isnan(values), [False]])
    alone: NDArray[np.bool_] = known[1:-1] & ~known[:-2] & ~known[2:]
    return alone


def line(
    axes: Axes, values: NDArray[np.float64], color: str, dashes: str | tuple[int, tuple[float, float]] = "-"
) -> None:
    """Draw a line with its gaps, and a point where a value has no neighbour."""
    places = range(len(values))
    axes.plot(places, values, color=color, linestyle=dashes)
    axes.plot(places, values, "o", color=color, markersize=3, markevery=isolated(values).nonzero()[0].tolist())


def last_known(figures: Figures) -> tuple[int, float] | None:
    """The place of the last number that is known, and the number."""
    known = [(place, figure) for place, figure in enumerate(figures) if figure is not None]
    return known[-1] if known else None

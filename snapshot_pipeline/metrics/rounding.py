"""Rounding as `metrics.md` wants it: two decimals, half away from zero."""

from __future__ import annotations

import numpy as np

from snapshot_pipeline.metrics.grid import Floats

_TIE = 1e-9
"""How far below a tie, in hundredths, a value still counts as the tie.

The exact figures are fractions of small integers: they either are a tie or miss it by far more than this, while the
floats that stand for them miss it by far less (about 1e-12). So noise of the last bits never decides a rounding.
"""


def round_half_away(values: Floats) -> Floats:
    """Round figures of 0 or more to two decimals, half away from zero; NaN stays NaN."""
    return np.floor(values * 100 + 0.5 + _TIE) / 100

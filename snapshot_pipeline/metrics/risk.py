"""What an engagement score says, in the terms that are shown: the level of risk and the points lost by component."""

from __future__ import annotations

from collections.abc import Mapping

from snapshot_pipeline.metrics.engagement import WEIGHTS

HIGH_BELOW, MEDIUM_BELOW = 20, 35
NEW_DAYS = 7
"""A student with a shorter tenure is new: the ranks say little yet."""


def risk_level(score: float | None, tenure: int | None) -> str | None:
    """Return `not_started`, `new`, `high`, `medium`, `low`, or None without a score.

    Args:
        score: The published score.
        tenure: Days from the first start to the day, both included; None: no start.
    """
    if tenure is None:
        return "not_started"
    if tenure < NEW_DAYS:
        return "new"
    if score is None:
        return None
    return "high" if score < HIGH_BELOW else "medium" if score < MEDIUM_BELOW else "low"


def points_lost(percentiles: Mapping[str, float]) -> dict[str, float]:
    """Return the points of 100 that each component costs.

    Args:
        percentiles: By component, as published; NaN, which counts one half: none.
    """
    lost: dict[str, float] = {}
    for component, weight in WEIGHTS.items():
        percentile = percentiles[component]
        # Rounded, so that equal points of two components are equal.
        lost[component] = round(weight * (1 - (percentile if percentile == percentile else 0.5)), 4)
    return lost

"""The commands that compute days and weeks again, as an incident names them."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from snapshot_pipeline.orchestration.assets import adaptive_recommendations, at_risk_students, weekly_report
from snapshot_pipeline.orchestration.names import LEARNING_PLATFORM


def materialize_command(asset: dg.AssetKey, partitions: Iterable[str]) -> str:
    """Return the command that computes partitions of an asset; for a table of the platform the one that checks it."""
    keys = sorted(partitions)
    if asset.path[0] == LEARNING_PLATFORM:
        return "snapshot-pipeline check"
    if not any(keys):
        return ""
    if asset in (adaptive_recommendations.KEY, at_risk_students.KEY):
        return f"snapshot-pipeline recommend --week {keys[-1]}"
    if asset == weekly_report.KEY:
        return f"snapshot-pipeline report --week {keys[-1]}"
    return f"snapshot-pipeline materialize --from {keys[0]} --to {keys[-1]}"

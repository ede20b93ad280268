"""The tags of ours that a run or an asset carries.

Put here: their names, and how they are read. Do not put here: Dagster's own tags (`partitions.range_tags`).
"""

from __future__ import annotations

from collections.abc import Mapping

from snapshot_pipeline.pipeline.reasons import BACKFILL, BY_HAND

REASON = "snapshot_pipeline/reason"
"""Why the run computes its days; noted with what it restates."""

SEED = "snapshot_pipeline/seed"
"""What the rebuild check draws its day by; a run with the same seed draws the same day."""

GRAIN = "snapshot_pipeline/grain"
"""What one partition of an asset stands for; the catalog can be filtered by it."""

EACH_DAY, EACH_WEEK, NOW = "day", "week", "now"

_BACKFILL = "dagster/backfill"


def reason_of(tags: Mapping[str, str]) -> str:
    """Why a run with these tags computes its days; one that says nothing was started by hand."""
    return tags.get(REASON) or (BACKFILL if _BACKFILL in tags else BY_HAND)

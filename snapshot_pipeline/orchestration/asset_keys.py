"""The keys of the assets, where more than one module has to know them.

Put here: keys and the names of the groups. Do not put here: the assets (`assets/`).
"""

from __future__ import annotations

import dagster as dg

from snapshot_pipeline.platform.tables import TABLE_NAMES

LEARNING_PLATFORM = "learning_platform"
"""The group of the platform's tables, and the first part of their keys."""

SNAPSHOTS_GROUP = "snapshots"
RECOMMENDATIONS_GROUP = "recommendations"


def table_key(table: str) -> dg.AssetKey:
    """The asset of a table: one of the platform's, or one of ours."""
    return dg.AssetKey([LEARNING_PLATFORM, table] if table in TABLE_NAMES else table)

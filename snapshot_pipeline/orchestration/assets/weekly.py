"""What the two weekly assets share: they are tables with rows of students, computed by one job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from snapshot_pipeline.orchestration.assets import performance_snapshots
from snapshot_pipeline.orchestration.names import DATABASES, GRAIN_TAG, RECOMMENDATIONS_GROUP, RECOMMENDATIONS_POOL
from snapshot_pipeline.orchestration.partitions import weekly_freshness, weekly_partitions
from snapshot_pipeline.orchestration.table_metadata import store_table_metadata, table_key
from snapshot_pipeline.platform.tables import TABLE_NAMES
from snapshot_pipeline.settings import Settings

COMPARED_WEEKS = 8
"""How many weeks the plots show, including the week itself."""


def weekly_asset(
    name: str, description: str, check_specs: Sequence[dg.AssetCheckSpec], settings: Settings
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Return the decorator of a function that computes a week of one of our tables."""
    return dg.asset(
        name=name,
        description=description,
        group_name=RECOMMENDATIONS_GROUP,
        owners=settings.owners,
        required_resource_keys=DATABASES,
        kinds={"postgres", "pandas"},
        tags={GRAIN_TAG: "week"},
        metadata=store_table_metadata(name, settings),
        partitions_def=weekly_partitions(settings),
        freshness_policy=weekly_freshness(settings),
        deps=[performance_snapshots.KEY, *(table_key(table) for table in TABLE_NAMES)],
        check_specs=check_specs,
        pool=RECOMMENDATIONS_POOL,
    )

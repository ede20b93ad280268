"""The days and weeks that can be materialized, and the only place that says so.

Put here: partition definitions and the arithmetic of their keys.
Do not put here: local days as instants (`metrics.days`), schedules.
See https://docs.dagster.io/guides/build/partitions-and-backfills.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import dagster as dg

from snapshot_pipeline.metrics.days import contiguous_ranges
from snapshot_pipeline.settings import Settings


def daily_partitions(settings: Settings) -> dg.DailyPartitionsDefinition:
    """One partition a local day, from the start date on; a day is there once it has ended."""
    return dg.DailyPartitionsDefinition(start_date=settings.start_date.isoformat(), timezone=settings.timezone)


def weekly_partitions(settings: Settings) -> dg.WeeklyPartitionsDefinition:
    """One partition a week, named by its Monday (Dagster's own weeks would begin on Sunday)."""
    return dg.WeeklyPartitionsDefinition(
        start_date=settings.start_date.isoformat(), timezone=settings.timezone, day_offset=1
    )


def ranges(days: Sequence[date], settings: Settings) -> list[tuple[date, date]]:
    """Join ascending days into ranges of neighbours, of `SNAPSHOT_DAYS_PER_RUN` at the most; both ends included."""
    return contiguous_ranges(days, settings.days_per_run)


def range_tags(first: date, last: date) -> dict[str, str]:
    """The tags that make a run compute a range of days."""
    return {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }

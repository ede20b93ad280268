"""Daily and weekly partitions, the times of their schedules, the days of a run, and the freshness policies.

See https://docs.dagster.io/guides/build/partitions-and-backfills and
https://docs.dagster.io/guides/observe/asset-freshness-policies.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, time, timedelta
from functools import cache

import dagster as dg

from snapshot_pipeline.metrics.days import contiguous_ranges
from snapshot_pipeline.orchestration.instance.dagster_internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)
from snapshot_pipeline.orchestration.names import DAYS_TAG
from snapshot_pipeline.pipeline.periods import days_text
from snapshot_pipeline.settings import Settings

SNAPSHOTS_AT, CHECKS_AT, HOUSEKEEPING_AT = time(0), time(3), time(4)
"""Local times of the daily schedules."""

WEEKLY_AT, REPORT_AT = time(6), time(6, 30)
"""Local times of the weekly schedules, on Mondays."""

_DAY_MINUTES = 24 * 60


def daily_partitions(settings: Settings) -> dg.DailyPartitionsDefinition:
    """Return one partition per local day from the start date on; a day exists once it has ended."""
    return dg.DailyPartitionsDefinition(start_date=settings.start_date.isoformat(), timezone=settings.timezone)


def weekly_partitions(settings: Settings) -> dg.WeeklyPartitionsDefinition:
    """Return one partition per week, named after its Monday (Dagster's default weeks start on Sunday)."""
    return dg.WeeklyPartitionsDefinition(
        start_date=settings.start_date.isoformat(), timezone=settings.timezone, day_offset=1
    )


def run_ranges(days: Sequence[date], settings: Settings) -> list[tuple[date, date]]:
    """Group ascending days into contiguous ranges of at most `SNAPSHOT_DAYS_PER_RUN` days, one range per run.

    Returns:
        The first and the last day of each range, both included.
    """
    return contiguous_ranges(days, settings.days_per_run)


def range_tags(first: date, last: date) -> dict[str, str]:
    """Return the run tags that select the partitions `first … last`."""
    return {
        DAYS_TAG: days_text(first, last),
        ASSET_PARTITION_RANGE_START_TAG: first.isoformat(),
        ASSET_PARTITION_RANGE_END_TAG: last.isoformat(),
    }


def in_progress(
    instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Sequence[str], partitions: dg.PartitionsDefinition
) -> set[str]:
    """Return the partitions that a run computes or will compute, from the moment the run is created."""
    status = instance.get_status_by_partition(asset, list(keys), partitions) or {} if keys else {}
    return {key for key, state in status.items() if state is dg.AssetPartitionStatus.IN_PROGRESS}


# Freshness is shown in the UI only. To Dagster the materialization of any day, even an old one, makes an asset fresh;
# missing days are found by `incident_scan.periods`.


def daily_freshness(settings: Settings) -> dg.FreshnessPolicy:
    """Expect the day SNAPSHOT_OVERDUE_MINUTES after its schedule."""
    return _due_after(SNAPSHOTS_AT, "*", settings)


def daily_checks_freshness(settings: Settings) -> dg.FreshnessPolicy:
    """Expect the daily checks SNAPSHOT_OVERDUE_MINUTES after their schedule."""
    return _due_after(CHECKS_AT, "*", settings)


def weekly_freshness(settings: Settings) -> dg.FreshnessPolicy:
    """Expect the recommendations SNAPSHOT_OVERDUE_MINUTES after their schedule."""
    return _due_after(WEEKLY_AT, "1", settings)


def weekly_report_freshness(settings: Settings) -> dg.FreshnessPolicy:
    """Expect the weekly report SNAPSHOT_OVERDUE_MINUTES after its schedule."""
    return _due_after(REPORT_AT, "1", settings)


def _due_after(at: time, weekday: str, settings: Settings) -> dg.FreshnessPolicy:
    deadline = at.hour * 60 + at.minute + settings.overdue_minutes
    if weekday != "*":
        weekday = str(int(weekday) + deadline // _DAY_MINUTES)
    hour, minute = divmod(deadline % _DAY_MINUTES, 60)
    return _cron_policy(
        f"{minute} {hour} * * {weekday}", timedelta(minutes=settings.overdue_minutes), settings.timezone
    )


@cache  # Dagster enumerates a thousand deadlines to validate one policy: half the time of building the definitions
def _cron_policy(deadline_cron: str, lower_bound_delta: timedelta, timezone: str) -> dg.FreshnessPolicy:
    return dg.FreshnessPolicy.cron(deadline_cron, lower_bound_delta, timezone)

"""Days and weeks that are not there although they should be.

Put here: from what is materialized to observations. Do not put here: what asks for them (`schedules`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta, timezone

import dagster as dg

from snapshot_pipeline.alerts.incidents import MISSED_WEEK, MISSING_DAY, Observation
from snapshot_pipeline.metrics.days import end_of_day
from snapshot_pipeline.orchestration.assets import adaptive_recommendations, performance_snapshots
from snapshot_pipeline.orchestration.incident_scan.scan import Scan
from snapshot_pipeline.orchestration.partitions import daily_partitions, weekly_partitions
from snapshot_pipeline.settings import Settings

HORIZON = timedelta(days=60)
"""How long before the last look days and weeks are looked for; one that has an incident is looked for always."""

_WEEKLY_AT = time(6)
_DAYS_OF_WEEK = 7


def day_due_at(day: date, settings: Settings) -> datetime:
    """When a day must be there: SNAPSHOT_OVERDUE_MINUTES after it has ended."""
    return end_of_day(day, settings.zone) + timedelta(minutes=settings.overdue_minutes)


def week_due_at(week_start: date, settings: Settings) -> datetime:
    """When a week must be there: SNAPSHOT_OVERDUE_MINUTES after 06:00 on the Monday that follows it."""
    scheduled = datetime.combine(week_start + timedelta(days=_DAYS_OF_WEEK), _WEEKLY_AT, settings.zone)
    return scheduled.astimezone(timezone.utc) + timedelta(minutes=settings.overdue_minutes)


def missing_days(scan: Scan) -> Iterator[Observation]:
    """The days that are due and not there, and those with an incident that are there by now."""
    settings = scan.settings
    keys = daily_partitions(settings).get_partition_keys(current_time=scan.now)
    overdue = _overdue(scan, {key: day_due_at(date.fromisoformat(key), settings) for key in _recent(scan, keys)})
    still_open = scan.open_incidents(MISSING_DAY)
    wanted = {*overdue, *still_open}
    there = _there(scan, performance_snapshots.KEY, wanted)
    for day in sorted(wanted):
        due_at = day_due_at(date.fromisoformat(day), settings)
        is_problem = day not in there and day in keys
        detail = f"it should have been there by {due_at.astimezone(settings.zone):%Y-%m-%d %H:%M %Z}"
        yield Observation(
            MISSING_DAY,
            day,
            is_problem,
            f"{performance_snapshots.NAME} {day}: the day is missing",
            detail if is_problem else "the day is there" if day in there else "it has no partition any more",
        )


def missed_weeks(scan: Scan) -> Iterator[Observation]:
    """The weeks that are due and not there; one that is followed by a newer one that is there is not needed any more.

    The first partition is the first week that began on or after SNAPSHOT_START_DATE, so none before is ever due.
    """
    settings = scan.settings
    keys = weekly_partitions(settings).get_partition_keys(current_time=scan.now)
    recent = list(_recent(scan, keys))
    overdue = _overdue(scan, {key: week_due_at(date.fromisoformat(key), settings) for key in recent})
    still_open = scan.open_incidents(MISSED_WEEK)
    wanted = {*overdue, *still_open}
    there = _there(scan, adaptive_recommendations.KEY, {*wanted, *recent})
    newest = max(there, default="")
    for week in sorted(wanted):
        due_at = week_due_at(date.fromisoformat(week), settings)
        is_problem = week > newest and week in keys
        detail = f"it should have been there by {due_at.astimezone(settings.zone):%Y-%m-%d %H:%M %Z}"
        yield Observation(
            MISSED_WEEK,
            week,
            is_problem,
            f"{adaptive_recommendations.NAME}, week of {week}: the weekly run did not happen",
            detail if is_problem else "the week is there" if week in there else "it is not needed any more",
        )


def _recent(scan: Scan, keys: Sequence[str]) -> Iterator[str]:
    first = (scan.last_scan - HORIZON).astimezone(scan.settings.zone).date().isoformat()
    return (key for key in keys if key >= first)


def _overdue(scan: Scan, due: dict[str, datetime]) -> set[str]:
    return {key for key, due_at in due.items() if scan.watching_since < due_at <= scan.now}


def _there(scan: Scan, asset: dg.AssetKey, partitions: set[str]) -> set[str]:
    if not partitions:  # Dagster takes an empty set for all partitions
        return set()
    event = dg.DagsterEventType.ASSET_MATERIALIZATION
    return set(scan.instance.get_latest_storage_id_by_partition(asset, event, partitions))

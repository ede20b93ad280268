"""Finds days and weeks that are due and not computed."""

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
"""How far before the last scan days and weeks are examined; those with an open incident always are."""

_WEEKLY_AT = time(6)
_DAYS_OF_WEEK = 7


def day_due_at(day: date, settings: Settings) -> datetime:
    """Return when a day is due: SNAPSHOT_OVERDUE_MINUTES after its end."""
    return end_of_day(day, settings.zone) + timedelta(minutes=settings.overdue_minutes)


def week_due_at(week_start: date, settings: Settings) -> datetime:
    """Return when a week is due: SNAPSHOT_OVERDUE_MINUTES after 06:00 on the Monday after it."""
    scheduled = datetime.combine(week_start + timedelta(days=_DAYS_OF_WEEK), _WEEKLY_AT, settings.zone)
    return scheduled.astimezone(timezone.utc) + timedelta(minutes=settings.overdue_minutes)


def find_missing_days(scan: Scan) -> Iterator[Observation]:
    """Find the days that are due and not computed, and those with an incident that are computed by now."""
    settings = scan.settings
    keys = daily_partitions(settings).get_partition_keys(current_time=scan.now)
    overdue = _overdue(scan, {key: day_due_at(date.fromisoformat(key), settings) for key in _recent(scan, keys)})
    examined = {*overdue, *scan.open_incidents(MISSING_DAY)}
    computed = _computed(scan, performance_snapshots.KEY, examined)
    for day in sorted(examined):
        is_problem = day not in computed and day in keys
        ended = "the day has been computed" if day in computed else "the day has no partition any more"
        yield Observation(
            MISSING_DAY,
            day,
            is_problem,
            f"{performance_snapshots.NAME} {day}: the day is missing",
            _due_sentence(day_due_at(date.fromisoformat(day), settings), settings) if is_problem else ended,
        )


def find_missed_weeks(scan: Scan) -> Iterator[Observation]:
    """Find the weeks that are due and not computed; a week before the newest computed one is not needed any more.

    The first partition is the first week that began on or after SNAPSHOT_START_DATE, so no earlier week is ever due.
    """
    settings = scan.settings
    keys = weekly_partitions(settings).get_partition_keys(current_time=scan.now)
    recent = list(_recent(scan, keys))
    overdue = _overdue(scan, {key: week_due_at(date.fromisoformat(key), settings) for key in recent})
    examined = {*overdue, *scan.open_incidents(MISSED_WEEK)}
    computed = _computed(scan, adaptive_recommendations.KEY, {*examined, *recent})
    newest = max(computed, default="")
    for week in sorted(examined):
        is_problem = week > newest and week in keys
        ended = "the week has been computed" if week in computed else "the week is not needed any more"
        yield Observation(
            MISSED_WEEK,
            week,
            is_problem,
            f"{adaptive_recommendations.NAME}, week of {week}: the weekly run did not happen",
            _due_sentence(week_due_at(date.fromisoformat(week), settings), settings) if is_problem else ended,
        )


def _due_sentence(due_at: datetime, settings: Settings) -> str:
    return f"it was due by {due_at.astimezone(settings.zone):%Y-%m-%d %H:%M %Z}"


def _recent(scan: Scan, keys: Sequence[str]) -> Iterator[str]:
    first = (scan.last_scan - HORIZON).astimezone(scan.settings.zone).date().isoformat()
    return (key for key in keys if key >= first)


def _overdue(scan: Scan, due: dict[str, datetime]) -> set[str]:
    return {key for key, due_at in due.items() if scan.watching_since < due_at <= scan.now}


def _computed(scan: Scan, asset: dg.AssetKey, partitions: set[str]) -> set[str]:
    if not partitions:  # Dagster takes an empty set for all partitions
        return set()
    event = dg.DagsterEventType.ASSET_MATERIALIZATION
    return set(scan.instance.get_latest_storage_id_by_partition(asset, event, partitions))

"""Finds days and weeks that are due and not computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from datetime import date, datetime, time, timedelta, timezone

from snapshot_pipeline.alerts.incidents import MISSED_WEEK, MISSING_DAY, Observation
from snapshot_pipeline.metrics.days import end_of_day
from snapshot_pipeline.orchestration.assets import adaptive_recommendations, performance_snapshots
from snapshot_pipeline.orchestration.incident_scan.commands import materialize_command
from snapshot_pipeline.orchestration.incident_scan.scan import Scan
from snapshot_pipeline.orchestration.partitions import daily_partitions, weekly_partitions
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.days import day_counts
from snapshot_pipeline.store.weeks import computed_weeks

HORIZON = timedelta(days=60)
"""How far before the last scan days and weeks are examined; those with an open incident always are."""

_WEEKLY_AT = time(6)

DueAt = Callable[[date, Settings], datetime]


def day_due_at(day: date, settings: Settings) -> datetime:
    """Return when a day is due: SNAPSHOT_OVERDUE_MINUTES after its end."""
    return end_of_day(day, settings.zone) + timedelta(minutes=settings.overdue_minutes)


def week_due_at(week_start: date, settings: Settings) -> datetime:
    """Return when a week is due: SNAPSHOT_OVERDUE_MINUTES after 06:00 on the Monday after it."""
    scheduled = datetime.combine(week_start + timedelta(weeks=1), _WEEKLY_AT, settings.zone)
    return scheduled.astimezone(timezone.utc) + timedelta(minutes=settings.overdue_minutes)


def find_missing_days(scan: Scan) -> Iterator[Observation]:
    """Find the days that are due and not computed, and those with an incident that are computed by now."""
    keys = daily_partitions(scan.settings).get_partition_keys(current_time=scan.now)
    examined = {*_overdue(scan, keys, day_due_at), *scan.open_incidents(MISSING_DAY)}
    computed = _computed_days(scan, examined)
    for day in sorted(examined):
        is_problem = day not in computed and day in keys
        ended = "the day has been computed" if day in computed else "the day has no partition any more"
        detail = _due_sentence(day, day_due_at, scan.settings) if is_problem else ended
        title = f"{performance_snapshots.NAME} {day}: the day is missing"
        command = materialize_command(performance_snapshots.KEY, [day])
        yield Observation(MISSING_DAY, day, is_problem, title, detail, command=command)


def find_missed_weeks(scan: Scan) -> Iterator[Observation]:
    """Find the weeks that are due and not computed; a week before the newest computed one is not needed any more.

    The first partition is the first week that began on or after SNAPSHOT_START_DATE, so no earlier week is ever due.
    """
    keys = weekly_partitions(scan.settings).get_partition_keys(current_time=scan.now)
    examined = {*_overdue(scan, keys, week_due_at), *scan.open_incidents(MISSED_WEEK)}
    computed = _computed_weeks(scan, {*examined, *_recent(scan, keys)})
    newest = max(computed, default="")
    for week in sorted(examined):
        is_problem = week > newest and week in keys
        ended = "the week has been computed" if week in computed else "the week is not needed any more"
        detail = _due_sentence(week, week_due_at, scan.settings) if is_problem else ended
        title = f"{adaptive_recommendations.NAME}, week of {week}: the weekly run did not happen"
        command = materialize_command(adaptive_recommendations.KEY, [week])
        yield Observation(MISSED_WEEK, week, is_problem, title, detail, command=command)


def _due_sentence(key: str, due_at: DueAt, settings: Settings) -> str:
    due = due_at(date.fromisoformat(key), settings).astimezone(settings.zone)
    return f"it was due by {due:%Y-%m-%d %H:%M %Z}"


def _recent(scan: Scan, keys: Sequence[str]) -> list[str]:
    first = (scan.last_scan - HORIZON).astimezone(scan.settings.zone).date().isoformat()
    return [key for key in keys if key >= first]


def _overdue(scan: Scan, keys: Sequence[str], due_at: DueAt) -> list[str]:
    recent = _recent(scan, keys)
    return [key for key in recent if scan.watching_since < due_at(date.fromisoformat(key), scan.settings) <= scan.now]


def _computed_days(scan: Scan, days: Set[str]) -> set[str]:
    if not days:
        return set()
    counts = scan.installation.transaction(day_counts, date.fromisoformat(min(days)), date.fromisoformat(max(days)))
    return {count.day.isoformat() for count in counts}


def _computed_weeks(scan: Scan, weeks: Set[str]) -> set[str]:
    if not weeks:
        return set()
    first, last = date.fromisoformat(min(weeks)), date.fromisoformat(max(weeks))
    return {week.isoformat() for week in scan.installation.transaction(computed_weeks, first, last)}

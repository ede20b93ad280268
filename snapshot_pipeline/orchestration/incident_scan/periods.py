"""Finds days and weeks that are due and not computed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence, Set
from datetime import date, datetime, timedelta, timezone

import dagster as dg

from snapshot_pipeline.alerts.incidents import MISSED_WEEK, MISSING_DAY, Observation
from snapshot_pipeline.metrics.days import end_of_day
from snapshot_pipeline.orchestration.assets import adaptive_recommendations, performance_snapshots
from snapshot_pipeline.orchestration.commands import materialize_command
from snapshot_pipeline.orchestration.incident_scan.scan import Scan, affected
from snapshot_pipeline.orchestration.partitions import WEEKLY_AT, daily_partitions, weekly_partitions
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.days import day_counts
from snapshot_pipeline.store.incidents import Incident
from snapshot_pipeline.store.recommendations import computed_weeks

HORIZON = timedelta(days=60)
"""How far before the last scan days and weeks are examined; those with an open incident always are."""

DueAt = Callable[[date, Settings], datetime]


def day_due_at(day: date, settings: Settings) -> datetime:
    """Return when a day is due: SNAPSHOT_OVERDUE_MINUTES after its end."""
    return end_of_day(day, settings.zone) + timedelta(minutes=settings.overdue_minutes)


def week_due_at(week_start: date, settings: Settings) -> datetime:
    """Return when a week is due: SNAPSHOT_OVERDUE_MINUTES after its schedule, on the Monday after it."""
    scheduled = datetime.combine(week_start + timedelta(weeks=1), WEEKLY_AT, settings.zone)
    return scheduled.astimezone(timezone.utc) + timedelta(minutes=settings.overdue_minutes)


def find_missing_days(scan: Scan) -> Iterator[Observation]:
    """Find the days that are due and not computed: one incident, until all of them are computed."""
    keys = set(daily_partitions(scan.settings).get_partition_keys(current_time=scan.now))
    incident = scan.open_incidents(MISSING_DAY).get(performance_snapshots.NAME)
    examined = {*_overdue(scan, sorted(keys), day_due_at), *(incident.partitions if incident else ())}
    computed = _computed_days(scan, examined)
    missing = sorted(examined & keys - computed)
    if missing:
        what = _plural(missing, "the day is missing", "the days are missing")
        command = f"snapshot-pipeline materialize --missing --from {missing[0]} --to {missing[-1]}"
        yield _not_done(scan, MISSING_DAY, performance_snapshots.KEY, missing, day_due_at, what, command)
    elif incident:
        days = _plural(incident.partitions, "the day has", "all days have")
        yield _ended(incident, f"{days} been computed" if examined <= computed else "no such day is due any more")


def find_missed_weeks(scan: Scan) -> Iterator[Observation]:
    """Find the weeks that are due and not computed; a week before the newest computed one is not needed any more.

    The first partition is the first week that began on or after SNAPSHOT_START_DATE, so no earlier week is ever due.
    """
    keys = weekly_partitions(scan.settings).get_partition_keys(current_time=scan.now)
    incident = scan.open_incidents(MISSED_WEEK).get(adaptive_recommendations.NAME)
    examined = {*_overdue(scan, keys, week_due_at), *(incident.partitions if incident else ())}
    computed = _computed_weeks(scan, {*examined, *_recent(scan, keys)})
    newest = max(computed, default="")
    missed = sorted(week for week in examined & set(keys) if week > newest)
    if missed:
        what = _plural(missed, "the weekly run did not happen", "the weekly runs did not happen")
        # The newest one is all that students see.
        command = materialize_command(adaptive_recommendations.KEY, missed[-1:])
        yield _not_done(scan, MISSED_WEEK, adaptive_recommendations.KEY, missed, week_due_at, what, command)
    elif incident:
        yield _ended(incident, f"the week of {newest} has been computed" if newest else "no such week is due any more")


def _not_done(
    scan: Scan, kind: str, asset: dg.AssetKey, partitions: Sequence[str], due_at: DueAt, what: str, command: str
) -> Observation:
    """Return the incident of an asset's partitions, ascending, that should have been computed."""
    zone = scan.settings.zone
    times = {key: due_at(date.fromisoformat(key), scan.settings).astimezone(zone) for key in partitions}
    due = {key: f"due by {time:%Y-%m-%d %H:%M %Z}" for key, time in times.items()}
    return Observation(
        kind=kind,
        subject=asset.to_user_string(),
        is_problem=True,
        title=f"{affected(scan, [asset], partitions)}: {what}",
        detail=f"{_plural(partitions, 'it', 'the first')} was {due[partitions[0]]}",
        command=command,
        partitions=due,
    )


def _ended(incident: Incident, detail: str) -> Observation:
    return Observation(incident.kind, incident.subject, False, incident.title, detail)


def _plural(partitions: Collection[str], one: str, several: str) -> str:
    return one if len(partitions) == 1 else several


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

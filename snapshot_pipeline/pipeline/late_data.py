"""Rows that came late: which days of the platform are not what they were when they were computed.

Put here: the fingerprints of local days, taken and compared. Do not put here: how one is made
(`platform.fingerprints`), or who asks for the days (`orchestration.sensors.late_data`).

A change on a day touches that day and all later ones: pace looks 30 days back, the quiz average and the last activity
as far as it takes. So what has to be computed again reaches from the earliest changed day to yesterday; a day that the
change does not touch after all costs its computation, and nothing is written.
"""

from __future__ import annotations

from datetime import date, timedelta
from zoneinfo import ZoneInfo

from snapshot_pipeline.metrics.days import start_of_day
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.platform import fingerprints
from snapshot_pipeline.platform.reads import PlatformReader, PlatformTables, read_session
from snapshot_pipeline.store import snapshots


def day_fingerprints(reader: PlatformReader, first: date, last: date, zone: ZoneInfo) -> dict[date, str]:
    """What the platform's rows of each of the local days `first … last` look like in an open read session."""
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    starts = [start_of_day(day, zone) for day in [*days, last + timedelta(days=1)]]
    return dict(zip(days, fingerprints.read_fingerprints(reader, starts), strict=True))


def changed_days(installation: Installation, first: date, last: date) -> list[date]:
    """Those of the computed days `first … last` whose rows are not what they were, ascending.

    A day of which nobody knows what its rows were counts as changed: one that was computed before fingerprints were
    kept, or one that follows a changed day that was computed alone.
    """
    with installation.engine.connect() as connection:
        known = snapshots.read_fingerprints(connection, installation.store, first, last)
    if not known:
        return []
    settings = installation.settings
    tables = PlatformTables.of(installation.engine, settings.platform_schema)
    with read_session(installation.uri, tables, settings.naive_zone) as reader:
        current = day_fingerprints(reader, min(known), max(known), settings.zone)
    return [day for day in sorted(known) if known[day] != current[day]]

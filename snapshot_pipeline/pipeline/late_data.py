"""Rows that came late: which days of the platform are not what they were when they were computed.

Put here: the fingerprints of local days, taken and compared. Do not put here: how one is made
(`platform.fingerprints`), or who asks for the days (`orchestration.sensors.late_data`).

A change on a day touches that day and all later ones: pace looks 30 days back, the quiz average and the last activity
as far as it takes. So what has to be computed again reaches from the earliest changed day to yesterday; a day that the
change does not touch after all costs its computation, and nothing is written.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from snapshot_pipeline.metrics.days import start_of_day
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.source import open_source
from snapshot_pipeline.platform import fingerprints
from snapshot_pipeline.platform.reads import PlatformReader
from snapshot_pipeline.store import days as stored_days

SLICE_DAYS = 7
"""How many days are looked at in one go, newest first; a look ends between two slices."""


@dataclass(frozen=True)
class LateLook:
    """What a look has found.

    Attributes:
        changed: The days whose rows have changed, ascending.
        looked_from: The earliest day that was looked at: the time was over before the next slice.
    """

    changed: list[date]
    looked_from: date


def look_back(installation: Installation, window: Sequence[date], seconds: float) -> LateLook:
    """Look for changed days from the newest day of a window back, a slice at a time, for as long as there is time.

    Args:
        installation: Where.
        window: The days, ascending, without a gap, at least one.
        seconds: After how long no further slice is begun; the first one always is.
    """
    until = time.monotonic() + seconds
    changed: list[date] = []
    for end in range(len(window), 0, -SLICE_DAYS):
        piece = window[max(end - SLICE_DAYS, 0) : end]
        changed = changed_days(installation, piece[0], piece[-1]) + changed
        if time.monotonic() >= until:
            break
    return LateLook(changed, piece[0])


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
        known = stored_days.read_fingerprints(connection, installation.store, first, last)
    if not known:
        return []
    with open_source(installation, None).session() as reader:
        current = day_fingerprints(reader, min(known), max(known), installation.settings.zone)
    return [day for day in sorted(known) if known[day] != current[day]]

"""Late data: find the days whose source rows changed after they were computed.

A change on a day affects the same student on it and all later days, because pace uses 30 days, and the quiz average and
the last activity have no limit. `late_run` computes these student-days again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from snapshot_pipeline.metrics.days import start_of_day
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.periods import days_between
from snapshot_pipeline.pipeline.source import open_source
from snapshot_pipeline.platform import fingerprints
from snapshot_pipeline.platform.reads import PlatformReader
from snapshot_pipeline.store.source_states import SourceState, read_fingerprints

SLICE_DAYS = 7
"""Days that are compared at once, newest first; a scan can stop after each slice."""


@dataclass(frozen=True)
class LateDataScan:
    """The result of a scan.

    Attributes:
        changed: The days whose rows have changed, ascending.
        scanned_from: The earliest day that was compared before the time was over.
    """

    changed: list[date]
    scanned_from: date


def scan_for_late_data(installation: Installation, window: Sequence[date], seconds: float) -> LateDataScan:
    """Compare the days of a window with their fingerprints, from the newest back, until the time is over.

    Args:
        window: Consecutive days, ascending, at least one.
        seconds: After this time no further slice is started; the first one always is.
    """
    until = time.monotonic() + seconds
    changed: list[date] = []
    for end in range(len(window), 0, -SLICE_DAYS):
        slice_days = window[max(end - SLICE_DAYS, 0) : end]
        changed = changed_days(installation, slice_days[0], slice_days[-1]) + changed
        if time.monotonic() >= until:
            break
    return LateDataScan(changed, slice_days[0])


def day_fingerprints(reader: PlatformReader, first: date, last: date, zone: ZoneInfo) -> dict[date, str]:
    """The fingerprints of the platform's rows of the local days `first … last`, in an open session."""
    days, starts = _days_and_starts(first, last, zone)
    return dict(zip(days, fingerprints.read_fingerprints(reader, starts), strict=True))


def day_states(reader: PlatformReader, first: date, last: date, zone: ZoneInfo) -> dict[date, SourceState]:
    """The platform's rows of the local days `first … last`, in an open session."""
    days, starts = _days_and_starts(first, last, zone)
    rows = fingerprints.read_rows(reader, starts)
    return {day: SourceState(of_day.fingerprint, of_day.digests) for day, of_day in zip(days, rows, strict=True)}


def _days_and_starts(first: date, last: date, zone: ZoneInfo) -> tuple[list[date], list[datetime]]:
    days = days_between(first, last)
    return days, [start_of_day(day, zone) for day in [*days, last + timedelta(days=1)]]


def changed_days(installation: Installation, first: date, last: date) -> list[date]:
    """The computed days among `first … last` whose rows have changed, ascending.

    A day without a known fingerprint counts as changed, e.g. one that follows a changed day that was computed alone.
    """
    known = installation.transaction(read_fingerprints, first, last)
    if not known:
        return []
    with open_source(installation, None).session() as reader:
        current = day_fingerprints(reader, min(known), max(known), installation.settings.zone)
    return [day for day in sorted(known) if known[day] != current[day]]

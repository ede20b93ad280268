"""Which day an instant belongs to: a lesson at five to midnight must not count for tomorrow, in any season."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from snapshot_pipeline.metrics.days import LEAD_DAYS, LocalDays, end_of_day, start_of_day

BUDAPEST = ZoneInfo("Europe/Budapest")


def microseconds(instant: str) -> int:
    return int(np.datetime64(instant, "us").astype(np.int64))


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [
        (date(2026, 3, 28), "Europe/Budapest", 24),
        (date(2026, 3, 29), "Europe/Budapest", 23),
        (date(2026, 10, 25), "Europe/Budapest", 25),
        (date(2026, 3, 29), "UTC", 24),
        (date(2017, 10, 15), "America/Sao_Paulo", 23),  # midnight itself was skipped
        (date(2025, 11, 2), "America/Havana", 25),  # midnight came twice
        (date(2026, 4, 5), "Australia/Lord_Howe", 24.5),
    ],
)
def test_the_length_of_a_day_follows_clock_changes(day: date, zone: str, hours: float):
    assert end_of_day(day, ZoneInfo(zone)) - start_of_day(day, ZoneInfo(zone)) == timedelta(hours=hours)
    assert end_of_day(day, ZoneInfo(zone)) == start_of_day(day + timedelta(days=1), ZoneInfo(zone))


def test_a_day_begins_at_local_midnight():
    assert start_of_day(date(2026, 7, 1), BUDAPEST) == datetime(2026, 6, 30, 22, tzinfo=timezone.utc)
    assert start_of_day(date(2026, 1, 1), BUDAPEST) == datetime(2025, 12, 31, 23, tzinfo=timezone.utc)


def test_a_day_ends_one_microsecond_before_the_next_midnight():
    days = LocalDays(date(2026, 3, 28), date(2026, 3, 30), BUDAPEST)
    instants = ["2026-03-27T22:59:59.999999", "2026-03-27T23:00", "2026-03-28T22:59:59.999999", "2026-03-28T23:00"]
    instants += ["2026-03-29T21:59:59.999999", "2026-03-29T22:00"]  # the 29th has 23 hours
    index = days.index_of(np.array([microseconds(instant) for instant in instants]))
    assert (index - LEAD_DAYS).tolist() == [-1, 0, 0, 1, 1, 2]


def test_instants_before_and_after_the_days_are_outside_the_grid():
    days = LocalDays(date(2026, 3, 28), date(2026, 3, 30), BUDAPEST)
    instants = ["2026-02-26T22:59:59", "2026-02-26T23:00", "2026-03-30T21:59:59", "2026-03-30T22:00", "2030-01-01"]
    index = days.index_of(np.array([microseconds(instant) for instant in instants]))
    assert index.tolist() == [-1, 0, LEAD_DAYS + 2, LEAD_DAYS + 3, LEAD_DAYS + 3]


def test_local_days_have_count_dates_and_the_start_of_the_window():
    days = LocalDays(date(2026, 2, 27), date(2026, 3, 1), BUDAPEST)
    assert days.count == 3
    assert days.dates.tolist() == [date(2026, 2, 27), date(2026, 2, 28), date(2026, 3, 1)]
    assert (days.start, days.end) == (start_of_day(days.first, BUDAPEST), start_of_day(date(2026, 3, 2), BUDAPEST))
    assert days.window_start == start_of_day(date(2026, 1, 29), BUDAPEST)
    assert len(days.boundaries) == 3 + LEAD_DAYS + 1

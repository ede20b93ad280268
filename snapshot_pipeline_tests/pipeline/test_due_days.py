"""Which days are due."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from snapshot_pipeline.pipeline.periods import due_days
from snapshot_pipeline.settings import load_settings

ZONE = ZoneInfo("Europe/Budapest")
SETTINGS = load_settings(timezone=ZONE.key, start_date=date(2025, 10, 1), catch_up_days=14, overdue_minutes=60)


@pytest.mark.parametrize(
    ("now", "last"),
    [
        (datetime(2025, 11, 3, 0, 59, tzinfo=ZONE), date(2025, 11, 1)),  # the day may still be computing
        (datetime(2025, 11, 3, 1, 0, tzinfo=ZONE), date(2025, 11, 2)),
        (datetime(2025, 10, 27, 3, 0, tzinfo=ZONE), date(2025, 10, 26)),  # after the day of 25 hours
    ],
)
def test_day_is_due_one_hour_after_it_ends(now: datetime, last: date):
    days = due_days(SETTINGS, now)
    assert days == [last - timedelta(days=13 - n) for n in range(14)]


def test_no_day_before_the_start_date_is_due():
    assert due_days(SETTINGS, datetime(2025, 10, 3, 3, tzinfo=ZONE)) == [date(2025, 10, 1), date(2025, 10, 2)]
    assert due_days(SETTINGS, datetime(2025, 10, 1, 3, tzinfo=ZONE)) == []

"""The start and the end of a local day, and the local day of an instant, found by stepping through the minutes.

No assumption is made about midnight: it may not exist, it may occur twice, and a whole day may be missing.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone
from functools import cache
from zoneinfo import ZoneInfo

_ONE_DAY = timedelta(days=1)
_ONE_MINUTE = timedelta(minutes=1)
# No zone is further than 14 hours from UTC, and every offset since 1972 is a whole number of minutes.
_FARTHEST_OFFSET = timedelta(hours=15)


@cache
def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """Return the first instant, in UTC, at which the clocks of `zone` show `day` or a later date."""
    instant = datetime.combine(day, time(), timezone.utc) - _FARTHEST_OFFSET
    while instant.astimezone(zone).date() < day:
        instant += _ONE_MINUTE
    return instant


def end_of_day(day: date, zone: ZoneInfo) -> datetime:
    """Return the instant, in UTC, at which the next local day begins: `end(D)` of `metrics.md`."""
    return start_of_day(day + _ONE_DAY, zone)


@cache
def local_day(instant: datetime, zone: ZoneInfo) -> date:
    """Return the day `D` with `start(D) <= instant < end(D)`."""
    day = instant.astimezone(zone).date()
    # Clocks that are put back across midnight show the next date for a while and then the old one again.
    while instant < start_of_day(day, zone):
        day -= _ONE_DAY
    while instant >= end_of_day(day, zone):
        day += _ONE_DAY
    return day

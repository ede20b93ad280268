"""Time stamps: from their spellings to instants.

Put here: all that knows of dates, clocks, offsets and zones. Do not put here: other types, or columns (`values`).
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_MOMENT_TYPE = pa.timestamp("us", tz="UTC")
# What Python's datetime can hold, in UTC; PostgreSQL could hold more, but nobody who reads it with Python.
_FIRST_MOMENT = (datetime.min.replace(tzinfo=timezone.utc) - _EPOCH) // _MICROSECOND
_LAST_MOMENT = (datetime.max.replace(tzinfo=timezone.utc) - _EPOCH) // _MICROSECOND
_MOMENT = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"(?:[T ](?P<hour>\d\d)(?::(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?)?"
    r" ?(?P<offset>Z|UTC|(?P<sign>[+-])(?P<hours>\d\d)(?::?(?P<minutes>\d\d))?)?)?",
    re.ASCII | re.IGNORECASE,
)


def moments(fields: pa.Array, naive_zone: ZoneInfo) -> pa.Array:
    """All fields at once, as microseconds in UTC.

    Raises:
        pa.ArrowInvalid: One of them is not in the usual spelling, or beyond the years 1 to 9999.
    """
    try:
        instants = pc.cast(fields, _MOMENT_TYPE)
    except pa.ArrowInvalid:
        instants = _localized(pc.cast(fields, pa.timestamp("us")), naive_zone)
    extremes = pc.min_max(instants.cast(pa.int64())).as_py()
    if extremes["min"] is not None and not _FIRST_MOMENT <= extremes["min"] <= extremes["max"] <= _LAST_MOMENT:
        raise pa.ArrowInvalid("not in the years 1 to 9999")
    return instants


def moment(field: str, naive_zone: ZoneInfo) -> int:
    """One field, in microseconds since 1970 UTC.

    Raises:
        ValueError: It is no time stamp.
        OverflowError: It is, in UTC, beyond the years 1 to 9999.
    """
    match = _MOMENT.fullmatch(field)
    if not match:
        raise ValueError(field)
    year, month, day, hour, minute, second = (
        int(match[part] or 0) for part in ("year", "month", "day", "hour", "minute", "second")
    )
    microsecond = int((match["fraction"] or "")[:6].ljust(6, "0"))
    zone = _offset(match) if match["offset"] else timezone.utc
    instant = datetime(year, month, day, hour, minute, second, microsecond, zone)
    if not match["offset"]:
        local = pa.array([instant.replace(tzinfo=None)], pa.timestamp("us"))
        instant = _localized(local, naive_zone)[0].as_py()
    microseconds = (instant - _EPOCH) // _MICROSECOND
    if not _FIRST_MOMENT <= microseconds <= _LAST_MOMENT:
        raise ValueError(field)
    return microseconds


def _localized(local: pa.Array, zone: ZoneInfo) -> pa.Array:
    if zone.key == "UTC":
        return pc.cast(local, _MOMENT_TYPE)
    # pandas, because Arrow needs the machine's zone database, which Windows and slim containers lack.
    clock = pd.DatetimeIndex(local.to_pandas()).as_unit("us")
    instants = clock.tz_localize(zone, ambiguous=np.ones(len(clock), dtype=bool), nonexistent="shift_forward")
    return pa.array(instants.tz_convert("UTC"), _MOMENT_TYPE)


def _offset(match: re.Match[str]) -> timezone:
    ahead = timedelta(hours=int(match["hours"] or 0), minutes=int(match["minutes"] or 0))
    return timezone(-ahead if match["sign"] == "-" else ahead)

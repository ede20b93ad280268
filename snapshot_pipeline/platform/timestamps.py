"""Timestamps of the platform as instants; a column without a time zone has local times of SNAPSHOT_NAIVE_TIMEZONE."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from sqlalchemy import ColumnElement

from snapshot_pipeline.metrics import corrections

EARLIEST = corrections.EARLIEST.to_pydatetime()
"""Earlier times are wrong."""

# PostgreSQL counts from 2000 and Arrow from 1970, so `infinity` and the last years of PostgreSQL's calendar overflow to
# values below its `-infinity`.
_MINUS_INFINITY = np.iinfo(np.int64).min + 946_684_800_000_000
_FAR_FUTURE = np.datetime64("9999-12-31", "us")
_DAY = 86_400_000_000


def has_zone(column: ColumnElement[Any]) -> bool:
    """Return whether a column of timestamps has a time zone."""
    return bool(getattr(column.type, "timezone", False))


def to_utc(column: pd.Series[Any], naive_zone: ZoneInfo) -> pd.Series[Any]:
    """Return fetched timestamps as UTC instants."""
    instants = pd.DatetimeIndex(column).as_unit("us")
    wrapped = instants.notna() & (instants.asi8 < _MINUS_INFINITY)
    if wrapped.any():
        instants = instants.where(~wrapped, pd.Timestamp(_FAR_FUTURE, tz=instants.tz))
    instants = localize(instants, naive_zone) if instants.tz is None else instants.tz_convert("UTC")
    return pd.Series(instants, index=column.index, name=column.name)


def localize(clock: pd.DatetimeIndex, zone: ZoneInfo) -> pd.DatetimeIndex:
    """Return local times as UTC instants; of an hour that occurs twice the first, of one that is skipped its end."""
    is_first = np.ones(len(clock), dtype=bool)
    return clock.tz_localize(zone, ambiguous=is_first, nonexistent="shift_forward").tz_convert("UTC")


def bounds(column: ColumnElement[Any], instants: Sequence[datetime], naive_zone: ZoneInfo) -> list[datetime]:
    """Return for each instant the smallest value of a column's type that is not before it.

    A timestamp without a zone is read by `localize`. That mapping is monotonic but not one to one where the clocks
    change, so the bound is found by bisection.
    """
    if has_zone(column):
        return list(instants)
    wanted = pd.DatetimeIndex(list(instants)).tz_convert("UTC").as_unit("us")
    low = wanted.asi8 - 2 * _DAY  # zones differ from UTC by less than a day
    high = low + 4 * _DAY
    while (high - low > 1).any():
        middle = (low + high) // 2
        clock = pd.DatetimeIndex(middle.astype("datetime64[us]"))
        is_late_enough = np.asarray(localize(clock, naive_zone) >= wanted)
        high, low = np.where(is_late_enough, middle, high), np.where(is_late_enough, low, middle)
    return [datetime(1970, 1, 1) + timedelta(microseconds=int(value)) for value in high]  # noqa: DTZ001  # local time

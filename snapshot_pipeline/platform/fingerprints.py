"""What the platform's rows of each day look like, so that a later look can tell whether any of them changed.

Put here: the fingerprint of a day of the source, and the queries that make it.
Do not put here: where it is kept (`store.snapshots`), or what follows from a change (`pipeline.late_data`).

A row belongs to the local day of its time stamp: a lesson to the day on which it was started and to the one on which it
was completed. A day's fingerprint holds, for each of these, the number of rows and the sum of a hash of each row.

The hash covers exactly the columns that the snapshots are made of. It is taken where a table has an `updated_at` as
well: that column stays as it is when rows are mended by hand, is older than its commit in a long transaction, so that
its maximum may not move at all, and moves when columns change that nobody reads. A sum of hashes does not depend on the
order of the rows, and two changes that cancel each other in a sum of values do not cancel in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from sqlalchemy import BigInteger, Column, Select, String, cast, func, select
from sqlalchemy.dialects.postgresql import TIMESTAMP, array

from snapshot_pipeline.platform.reads import PlatformReader, PlatformTables

_VERSION = "1"
_SEED = 0


@dataclass(frozen=True)
class _Source:
    """Some rows of the platform by day.

    Attributes:
        moment: The column whose day they belong to.
        columns: What is read of them.
    """

    moment: Column[Any]
    columns: tuple[Column[Any], ...]


def read_fingerprints(reader: PlatformReader, starts: Sequence[datetime]) -> list[str]:
    """The fingerprints of consecutive days.

    Args:
        reader: An open read session.
        starts: The instants at which the days begin, ascending, and the one at which the last one ends.

    Returns:
        One a day: `1 started=3:… completed=2:… attempts=0:0 exercises=0:0`, counts and digests. Two are equal when
        the rows are, but for a chance of one in 2^64; a new major version of PostgreSQL may hash otherwise.
    """
    lines = [[_VERSION] for _ in starts[1:]]
    for name, source in _sources(reader.tables).items():
        found = _by_day(reader, source, starts) if source else {}
        for number, line in enumerate(lines, start=1):
            line.append(f"{name}={found.get(number, '0:0')}")
    return [" ".join(line) for line in lines]


def _sources(tables: PlatformTables) -> dict[str, _Source | None]:
    """By the name that a fingerprint calls them; None on a platform that has no such rows."""
    progress, attempts, exercises = tables.user_lesson_progress, tables.quiz_attempts, tables.exercise_submissions
    # As they are: a cast may fail on a value that fails one student's day and must not fail the run.
    moments = (progress.c.started_at, progress.c.completed_at)
    lesson = (progress.c.user_id, progress.c.lesson_id, *moments, progress.c.time_spent_minutes)
    attempt = (attempts.c.id, attempts.c.user_id, attempts.c.score, attempts.c.completed_at)
    exercise = None
    if exercises is not None:
        exercise = _Source(exercises.c.created_at, (exercises.c.user_id, exercises.c.created_at))
    return {
        "started": _Source(progress.c.started_at, lesson),
        "completed": _Source(progress.c.completed_at, lesson),
        "attempts": _Source(attempts.c.completed_at, attempt),
        "exercises": exercise,
    }


def _by_day(reader: PlatformReader, source: _Source, starts: Sequence[datetime]) -> dict[int, str]:
    """Rows and digest of each day that has rows, by its number from 1."""
    rows = reader.fetch(_query(source, _thresholds(source.moment, starts, reader.naive_zone)))
    columns = (rows[name].to_pylist() for name in ("day", "count", "digest"))
    return {int(day): f"{count}:{digest}" for day, count, digest in zip(*columns, strict=True)}


def _query(source: _Source, thresholds: Sequence[datetime]) -> Select[Any]:
    kind = TIMESTAMP(timezone=bool(getattr(source.moment.type, "timezone", False)))
    # The days' bounds go to the server, not the name of the zone: which day an instant belongs to is decided by one
    # table of zones, ours, whatever the server's says.
    day = func.width_bucket(source.moment, array([cast(start, kind) for start in thresholds]))
    # Of PostgreSQL 14. The hash of a record alone would not do: it is linear in the hashes of its columns, so that two
    # students who swap their scores cancel in the sum, and it takes null for 0. Used as a seed it is mixed once more.
    record = func.hash_record_extended(func.row(*source.columns), _SEED, type_=BigInteger)
    hashed = func.hashint8extended(cast(func.num_nulls(*source.columns), BigInteger), record, type_=BigInteger)
    return (
        select(day.label("day"), func.count().label("count"), cast(func.sum(hashed), String).label("digest"))
        .where(source.moment >= thresholds[0], source.moment < thresholds[-1])
        .group_by("day")
    )


def _thresholds(moment: Column[Any], starts: Sequence[datetime], naive_zone: ZoneInfo) -> list[datetime]:
    """The bounds of the days as the column has them: the smallest value of each that is not before the instant.

    A plain time stamp is read as `platform.reads` reads it. That is monotonous, but neither of two wall clocks has one
    instant nor the other way round: where the clocks are put back or forward, the bound is searched for.
    """
    if getattr(moment.type, "timezone", False):
        return list(starts)
    wanted = pd.DatetimeIndex(list(starts)).tz_convert("UTC").as_unit("us")
    # Zones differ from UTC by less than a day, and change on whole seconds.
    low = np.array([_seconds(start) for start in starts], dtype=np.int64) - 2 * 86_400
    high = low + 4 * 86_400
    while (high - low > 1).any():
        middle = (low + high) // 2
        is_late_enough = np.asarray(_instants(middle, naive_zone) >= wanted)
        high, low = np.where(is_late_enough, middle, high), np.where(is_late_enough, low, middle)
    return [datetime(1970, 1, 1) + timedelta(seconds=int(second)) for second in high]  # noqa: DTZ001  # a wall clock


def _seconds(instant: datetime) -> int:
    return int(instant.astimezone(timezone.utc).timestamp())


def _instants(wall_clock: np.ndarray[Any, np.dtype[np.int64]], zone: ZoneInfo) -> pd.DatetimeIndex:
    plain = pd.DatetimeIndex(wall_clock.astype("datetime64[s]")).as_unit("us")
    first = np.ones(len(plain), dtype=bool)
    return plain.tz_localize(zone, ambiguous=first, nonexistent="shift_forward").tz_convert("UTC")

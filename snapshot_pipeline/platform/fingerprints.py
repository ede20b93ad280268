"""Fingerprints of the platform's rows of each day, which detect changes of days that are already computed.

A row belongs to the local day of its timestamp; a lesson belongs to the day on which it was started and to the day on
which it was completed. A day's fingerprint has the number of rows of each kind and the sum of a hash of each row.

The hash covers exactly the columns that snapshots are computed from, even where a table has an `updated_at`: that
column is unchanged when rows are fixed by hand, is older than its commit in a long transaction, so that its maximum may
not change at all, and changes with columns that are not read. A sum of hashes does not depend on the order of the rows,
and two changes that cancel out in a sum of values do not cancel out in it.

The same hashes, summed for each block of students, tell whose rows have changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, Column, Select, String, cast, func, select
from sqlalchemy.dialects.postgresql import TIMESTAMP, array

from snapshot_pipeline.platform.reads import PlatformReader, PlatformTables
from snapshot_pipeline.platform.timestamps import bounds, has_zone

BLOCKS = 16_381
"""Number of blocks of students; a prime, so that ids with a pattern are spread over all of them."""

_VERSION = "1"
_MODULUS = 2**63
_DAYS_PER_QUERY = 31  # bounds the memory: at most so many rows for each block and kind
_LESSON_COLUMNS = ("user_id", "lesson_id", "started_at", "completed_at", "time_spent_minutes")
_SEED = 0


@dataclass(frozen=True)
class _Source:
    """A kind of rows.

    Attributes:
        timestamp: The column that decides the day.
        user_id: The column of the student.
        columns: The columns to hash.
    """

    timestamp: Column[Any]
    user_id: Column[Any]
    columns: tuple[Column[Any], ...]


@dataclass(frozen=True)
class DayRows:
    """The rows of a day.

    Attributes:
        fingerprint: `1 started=3:… completed=2:… attempts=0:0 exercises=0:0`, counts and digests.
        digests: The digest of the rows of each block of students, int64, shape (BLOCKS,).
    """

    fingerprint: str
    digests: NDArray[np.int64]


def blocks_of(user_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    blocks: NDArray[np.int64] = user_ids % BLOCKS
    return blocks


def read_fingerprints(reader: PlatformReader, starts: Sequence[datetime]) -> list[str]:
    """Return the fingerprints of consecutive days.

    Args:
        starts: The instants at which the days begin, ascending, and the instant at which the last day ends.

    Returns:
        One per day, see `DayRows`. Equal fingerprints mean equal rows, except with a probability of 2^-63. A new major
        version of PostgreSQL may change the hashes.
    """
    lines = [[_VERSION] for _ in starts[1:]]
    for name, source in _sources(reader.tables).items():
        by_day = _by_day(reader, source, starts) if source else {}
        for number, line in enumerate(lines, start=1):
            line.append(f"{name}={by_day.get(number, '0:0')}")
    return [" ".join(line) for line in lines]


def read_rows(reader: PlatformReader, starts: Sequence[datetime]) -> list[DayRows]:
    """Return the fingerprints of consecutive days, and the digests of their blocks of students.

    Args:
        starts: As for `read_fingerprints`.
    """
    parts = range(0, len(starts) - 1, _DAYS_PER_QUERY)
    return [rows for first in parts for rows in _read_rows(reader, starts[first : first + _DAYS_PER_QUERY + 1])]


def _read_rows(reader: PlatformReader, starts: Sequence[datetime]) -> list[DayRows]:
    count = len(starts) - 1
    lines = [[_VERSION] for _ in range(count)]
    digests = np.zeros((count, BLOCKS), dtype=np.int64)
    for number, (name, source) in enumerate(_sources(reader.tables).items()):
        rows, sums = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        if source:
            table = reader.fetch(_block_query(source, bounds(source.timestamp, starts, reader.rules.naive_zone)))
            day, block = table["day"].to_numpy() - 1, table["block"].to_numpy()
            digest = table["digest"].to_numpy().astype(np.int64)
            np.add.at(rows, day, table["count"].to_numpy())
            np.add.at(sums, day, digest)
            digests[day, block] += digest * (2 * number + 1)  # of two kinds with the same sum, neither cancels out
        for line, rows_of_day, sum_of_day in zip(lines, rows.tolist(), sums.tolist(), strict=True):
            line.append(f"{name}={rows_of_day}:{sum_of_day % _MODULUS}")
    return [DayRows(" ".join(line), digests[day]) for day, line in enumerate(lines)]


def _sources(tables: PlatformTables) -> dict[str, _Source | None]:
    """Return the kinds of rows by their names in a fingerprint; `None` for a table that the platform lacks."""
    progress, attempts, exercises = tables.user_lesson_progress, tables.quiz_attempts, tables.exercise_submissions
    # Without casts: a value that does not fit must not fail the run.
    lesson = tuple(progress.c[name] for name in _LESSON_COLUMNS)
    attempt = (attempts.c.id, attempts.c.user_id, attempts.c.score, attempts.c.completed_at)
    exercise = None
    if exercises is not None:
        exercise = _Source(exercises.c.created_at, exercises.c.user_id, (exercises.c.user_id, exercises.c.created_at))
    return {
        "started": _Source(progress.c.started_at, progress.c.user_id, lesson),
        "completed": _Source(progress.c.completed_at, progress.c.user_id, lesson),
        "attempts": _Source(attempts.c.completed_at, attempts.c.user_id, attempt),
        "exercises": exercise,
    }


def _by_day(reader: PlatformReader, source: _Source, starts: Sequence[datetime]) -> dict[int, str]:
    """Return `rows:digest` of each day that has rows, by the number of the day, from 1."""
    rows = reader.fetch(_query(source, bounds(source.timestamp, starts, reader.rules.naive_zone)))
    columns = (rows[name].to_pylist() for name in ("day", "count", "digest"))
    return {int(day): f"{count}:{int(digest) % _MODULUS}" for day, count, digest in zip(*columns, strict=True)}


def _query(source: _Source, thresholds: Sequence[datetime]) -> Select[Any]:
    day, digest = _day(source, thresholds), func.sum(_hash(source))
    return (
        select(day.label("day"), func.count().label("count"), cast(digest, String).label("digest"))
        .where(source.timestamp >= thresholds[0], source.timestamp < thresholds[-1])
        .group_by("day")
    )


def _block_query(source: _Source, thresholds: Sequence[datetime]) -> Select[Any]:
    user_id = func.coalesce(cast(source.user_id, BigInteger), 0)
    block: Any = func.mod(func.mod(user_id, BLOCKS) + BLOCKS, BLOCKS)  # as in NumPy, also of a negative id
    digest: Any = cast(func.mod(func.sum(_hash(source)), _MODULUS), BigInteger)
    day: Any = cast(_day(source, thresholds), BigInteger)
    return (
        select(
            day.label("day"),
            block.label("block"),
            func.count().label("count"),
            digest.label("digest"),
        )
        .where(source.timestamp >= thresholds[0], source.timestamp < thresholds[-1])
        .group_by("day", "block")
    )


def _day(source: _Source, thresholds: Sequence[datetime]) -> Any:
    """The number of a row's day, from 1."""
    kind = TIMESTAMP(timezone=has_zone(source.timestamp))
    # Sends the bounds of the days, not the name of the zone: the server's time zone database may differ from ours.
    return func.width_bucket(source.timestamp, array([cast(start, kind) for start in thresholds]))


def _hash(source: _Source) -> Any:
    # Needs PostgreSQL 14. The hash of a record alone is linear in the hashes of its columns, so that two students who
    # swap their scores cancel out in the sum, and it equates null and 0. As a seed it is mixed once more.
    record = func.hash_record_extended(func.row(*source.columns), _SEED, type_=BigInteger)
    return func.hashint8extended(cast(func.num_nulls(*source.columns), BigInteger), record, type_=BigInteger)

"""Keeps two runs that write the same days, or recommendations, from writing at the same time.

Put here: advisory locks and who holds them.
Do not put here: the limits of Dagster (`dagster.yaml`), which keep most runs apart; these locks hold where Dagster
cannot see: the command line, a worker that was given up for dead, a second installation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from sqlalchemy import Connection, Engine, bindparam, func, select, text
from sqlalchemy.exc import OperationalError

from snapshot_pipeline.errors import SnapshotPipelineError

_LOCK_NOT_AVAILABLE = "55P03"

_HOLDERS = text(
    """
    SELECT DISTINCT activity.application_name || ', process ' || activity.pid
      FROM pg_locks AS held
      JOIN pg_stat_activity AS activity USING (pid)
     WHERE held.locktype = 'advisory' AND held.granted
       AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND held.classid::bigint = :space AND held.objid::bigint = ANY(:numbers)
    """
)


class LockedError(SnapshotPipelineError):
    """Another run holds the days or the recommendations, and did not finish in time."""


@contextmanager
def exclusive_days(engine: Engine, schema: str, first: date, last: date, owner: str, seconds: float) -> Iterator[None]:
    """Hold the months of the days `first … last` of the snapshots against every other run.

    The locks belong to a connection of their own: they end with the process, however it dies.

    Args:
        engine: The store's database.
        schema: The schema of our tables; other schemas are not held up.
        first: The first day to be written.
        last: The last day to be written.
        owner: Who holds them, shown to those that wait, e.g. `run 1f0c…`.
        seconds: How long to wait for another run.

    Raises:
        LockedError: Another run still holds one of the months.
    """
    # The month is coarse enough for a handful of locks a run, and fine enough for two backfills side by side.
    months = list(range(first.year * 12 + first.month, last.year * 12 + last.month + 1))
    with _held(engine, f"{schema}.performance_snapshots", months, f"the days {first} to {last}", owner, seconds):
        yield


@contextmanager
def exclusive_recommendations(engine: Engine, schema: str, owner: str, seconds: float) -> Iterator[None]:
    """Hold the recommendations: which week is the newest is one question for all weeks.

    Args and Raises: as `exclusive_days`.
    """
    with _held(engine, f"{schema}.adaptive_recommendations", [0], "the recommendations", owner, seconds):
        yield


@contextmanager
def _held(engine: Engine, space_name: str, numbers: list[int], what: str, owner: str, seconds: float) -> Iterator[None]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        try:
            space = connection.execute(select(func.hashtext(space_name))).scalar_one()
            name = func.left(f"snapshot_pipeline {owner}", 63)
            connection.execute(select(func.set_config("application_name", name, False)))
            connection.execute(select(func.set_config("lock_timeout", f"{int(seconds * 1000)}ms", False)))
            for number in numbers:  # ascending, so that two runs never wait for each other
                _lock(connection, space, number, what, seconds)
            yield
        finally:
            connection.invalidate()  # ends the session and with it the locks, even in the middle of an error


def _lock(connection: Connection, space: int, number: int, what: str, seconds: float) -> None:
    try:
        connection.execute(select(func.pg_advisory_lock(space, number)))
    except OperationalError as error:
        if getattr(error.orig, "pgcode", None) != _LOCK_NOT_AVAILABLE:
            raise
        holders = connection.execute(
            _HOLDERS.bindparams(bindparam("space", space % 2**32), bindparam("numbers", [number]))
        ).scalars()
        raise LockedError(
            f"{what} are being written by another run ({'; '.join(sorted(holders)) or 'it has just ended'}), "
            f"waited {seconds:g} s; start again when that run has finished"
        ) from None

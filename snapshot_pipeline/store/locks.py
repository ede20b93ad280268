"""Keeps two runs that write the same days, or recommendations, from writing at the same time.

Put here: advisory locks and who holds them.
Do not put here: the limits of Dagster (`dagster.yaml`), which keep most runs apart; these locks hold where Dagster
cannot see: the command line, a worker that was given up for dead, a second installation.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date

from sqlalchemy import Connection, Engine, bindparam, func, select, text
from sqlalchemy.exc import DBAPIError, OperationalError

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.passing_errors import is_passing, patiently

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


@dataclass
class RunLock:
    """What a run holds against every other run, for as long as the session lives that it belongs to.

    Attributes:
        engine: The store's database.
        space_name: What kind of thing is held, in which schema.
        numbers: Which of them, ascending, so that two runs never wait for each other.
        what: The same for a reader, e.g. `the days 2026-01-01 to 2026-01-31`.
        owner: Who holds it, shown to those that wait.
        seconds: How long to wait for another run.
    """

    engine: Engine
    space_name: str
    numbers: Sequence[int]
    what: str
    owner: str
    seconds: float
    _connection: Connection | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def ensure_held(self) -> None:
        """Take the lock, or take it again when its session was lost, with the server or alone; from any thread.

        Raises:
            LockedError: Another run has it, and did not finish in time.
        """
        with self._turn:
            if self._connection is not None and not _lives(self._connection):
                self._drop()
            if self._connection is None:
                self._take()

    def release(self) -> None:
        """Let go; also where nothing is held."""
        with self._turn:
            self._drop()

    def _take(self) -> None:
        self._connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            space = self._connection.execute(select(func.hashtext(self.space_name))).scalar_one()
            name = func.left(f"snapshot_pipeline {self.owner}", 63)
            self._connection.execute(select(func.set_config("application_name", name, False)))
            for limit in ("lock_timeout", "statement_timeout"):
                # The statement's a little later: a wait that ends by it could not be told from a slow statement.
                milliseconds = int(self.seconds * 1000) + (1000 if limit == "statement_timeout" else 0)
                self._connection.execute(select(func.set_config(limit, f"{milliseconds}ms", False)))
            for number in self.numbers:
                _lock(self._connection, space, number, self.what, self.seconds)
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()  # ends the session and with it the locks, even in the middle of an error
            self._connection.close()
            self._connection = None


@contextmanager
def exclusive_days(
    engine: Engine, schema: str, first: date, last: date, owner: str, seconds: float
) -> Iterator[RunLock]:
    """Hold the months of the days `first … last` of the snapshots against every other run.

    The locks belong to a connection of their own: they end with the process, however it dies. Where only the
    connection is lost, `RunLock.ensure_held` takes them again.

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
    months = range(first.year * 12 + first.month, last.year * 12 + last.month + 1)
    space = f"{schema}.performance_snapshots"
    with _held(RunLock(engine, space, months, f"the days {first} to {last}", owner, seconds)) as lock:
        yield lock


@contextmanager
def exclusive_recommendations(engine: Engine, schema: str, owner: str, seconds: float) -> Iterator[RunLock]:
    """Hold the recommendations: which week is the newest is one question for all weeks.

    Args and Raises: as `exclusive_days`.
    """
    space = f"{schema}.adaptive_recommendations"
    with _held(RunLock(engine, space, [0], "the recommendations", owner, seconds)) as lock:
        yield lock


@contextmanager
def _held(lock: RunLock) -> Iterator[RunLock]:
    try:
        patiently(lock.ensure_held)
        yield lock
    finally:
        lock.release()


def _lives(connection: Connection) -> bool:
    try:
        connection.execute(select(1))
    except DBAPIError as error:
        if not is_passing(error):
            raise
        return False
    return True


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

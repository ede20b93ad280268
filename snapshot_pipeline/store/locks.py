"""Keeps two runs that write the same days, or recommendations, from writing at the same time.

Put here: advisory locks and who holds them. What a run that has lost its lock may still do: `fences`.
Do not put here: the limits of Dagster (`dagster.yaml`), which keep most runs apart; these locks hold where Dagster
cannot see: the command line, a worker that was given up for dead, a second installation.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date

from sqlalchemy import Connection, Engine, bindparam, func, select, text
from sqlalchemy.exc import DBAPIError, OperationalError

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.passing_errors import is_passing, patiently
from snapshot_pipeline.store.fences import Fence

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
        fence: What is held, by whom, and what each publication has to pass; its numbers ascend, so that two runs never
            wait for each other.
        seconds: How long to wait for another run.
    """

    engine: Engine
    fence: Fence
    seconds: float
    _is_fenced: bool = False
    _connection: Connection | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def ensure_held(self) -> None:
        """Take the lock, or take it again when its session was lost, with the server or alone; from any thread.

        Raises:
            LockedError: Another run has it, and did not finish in time.
            FencedOffError: Another run has had it since.
        """
        with self._turn:
            if self._connection is not None and not _lives(self._connection):
                self._drop()
            if self._connection is None:
                self._take()

    def release(self) -> None:
        """Let go; also where nothing is held. What of the run is still being worked on is not published any more."""
        with self._turn:
            if self._connection is not None and self._is_fenced:
                # Where the session is lost the rows stay, until the next run replaces them.
                with suppress(DBAPIError):
                    self.fence.take_down(self._connection)
            self._drop()

    def _take(self) -> None:
        self._connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            space_name = f"{self.fence.schema}.{self.fence.space}"
            space = self._connection.execute(select(func.hashtext(space_name))).scalar_one()
            name = func.left(f"snapshot_pipeline {self.fence.owner}", 63)
            self._connection.execute(select(func.set_config("application_name", name, False)))
            for limit in ("lock_timeout", "statement_timeout"):
                # The statement's a little later: a wait that ends by it could not be told from a slow statement.
                milliseconds = int(self.seconds * 1000) + (1000 if limit == "statement_timeout" else 0)
                self._connection.execute(select(func.set_config(limit, f"{milliseconds}ms", False)))
            for number in self.fence.numbers:
                _lock(self._connection, space, number, self.fence.what, self.seconds)
            if self._is_fenced:
                self.fence.require_unbroken(self._connection)
            else:
                _raise_fence(self._connection, self.fence, self.seconds)
                self._is_fenced = True
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
    what = f"the days {first} to {last}"
    fence = Fence(schema, "performance_snapshots", tuple(months), uuid.uuid4().hex, owner, what)
    with _held(RunLock(engine, fence, seconds)) as lock:
        yield lock


@contextmanager
def exclusive_recommendations(engine: Engine, schema: str, owner: str, seconds: float) -> Iterator[RunLock]:
    """Hold the recommendations: which week is the newest is one question for all weeks.

    Args and Raises: as `exclusive_days`.
    """
    fence = Fence(schema, "adaptive_recommendations", (0,), uuid.uuid4().hex, owner, "the recommendations")
    with _held(RunLock(engine, fence, seconds)) as lock:
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


def _raise_fence(connection: Connection, fence: Fence, seconds: float) -> None:
    try:
        fence.raise_over(connection)
    except OperationalError as error:
        if getattr(error.orig, "pgcode", None) != _LOCK_NOT_AVAILABLE:
            raise
        raise LockedError(
            f"{fence.what} are held by nobody, but what an earlier run began to publish is still going on, waited "
            f"{seconds:g} s; start again when its session has ended (see pg_stat_activity), at the latest "
            "after SNAPSHOT_STATEMENT_TIMEOUT_SECONDS"
        ) from None

"""Keeps two runs that write the same days, or recommendations, from writing at the same time.

Put here: advisory locks and who holds them. What a run that has lost its lock may still do: `leases`.
Do not put here: the limits of Dagster (`dagster.yaml`), which keep most runs apart; these locks hold where Dagster
cannot see: the command line, a worker that was given up for dead, a second installation.
"""

from __future__ import annotations

import threading
import uuid
from calendar import monthrange
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, timedelta

from sqlalchemy import Connection, Engine, bindparam, func, select, text
from sqlalchemy.exc import DBAPIError, OperationalError

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.postgres.errors import is_transient, retry_transient, sqlstate
from snapshot_pipeline.store.leases import RunLease

_LOCK_NOT_AVAILABLE = "55P03"

_KEEPALIVES = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""A machine that is gone says no goodbye. The server asks for it, and frees what it held after half a minute instead of
the two hours that are usual."""

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
        numbers: Which of them, in one order for all runs, so that two never wait for each other.
        what: The same for a reader, e.g. `the days 2026-01-01 to 2026-01-31`.
        owner: Who holds it, shown to those that wait.
        seconds: How long to wait for another run.
        shared: Those of the numbers that others may hold at the same time, as long as they share them too.
    """

    engine: Engine
    space_name: str
    numbers: Sequence[int]
    what: str
    owner: str
    seconds: float
    shared: Set[int] = frozenset()
    _connection: Connection | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def check_lock(self) -> None:
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
            self._acquire(self._connection)
        except BaseException:
            self._drop()
            raise

    def _acquire(self, connection: Connection) -> None:
        space = _number_of(connection, self.space_name)
        for setting, value in _KEEPALIVES.items():
            connection.execute(select(func.set_config(setting, value, False)))
        name = func.left(f"snapshot_pipeline {self.owner}", 63)
        connection.execute(select(func.set_config("application_name", name, False)))
        for limit in ("lock_timeout", "statement_timeout"):
            # The statement's a little later: a wait that ends by it could not be told from a slow statement.
            milliseconds = int(self.seconds * 1000) + (1000 if limit == "statement_timeout" else 0)
            connection.execute(select(func.set_config(limit, f"{milliseconds}ms", False)))
        for number in self.numbers:
            take = func.pg_advisory_lock_shared if number in self.shared else func.pg_advisory_lock
            try:
                connection.execute(select(take(space, number)))
            except OperationalError as error:
                if not waited_in_vain(error):
                    raise
                found = "; ".join(holders(connection, self.space_name, number)) or "it has just ended"
                raise LockedError(
                    f"{self.what} are being written by another run ({found}), waited {self.seconds:g} s; start again "
                    "when that run has finished"
                ) from None

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()  # ends the session and with it the locks, even in the middle of an error
            self._connection.close()
            self._connection = None


@dataclass
class LeasedLock(RunLock):
    """A lock that also keeps what was begun under it elsewhere from being published when it is over.

    `check_lock` also raises `LeaseLostError`: another run has had the lock since.

    Attributes:
        lease: What each publication of the run has to pass.
    """

    lease: RunLease = field(kw_only=True)
    _is_fenced: bool = False

    def release(self) -> None:
        """Let go; what of the run is still being worked on is not published any more."""
        with self._turn:
            if self._connection is not None and self._is_fenced:
                # Where the session is lost the row stays, until the next run removes it.
                with suppress(DBAPIError):
                    self.lease.release(self._connection)
            self._drop()

    def _acquire(self, connection: Connection) -> None:
        super()._acquire(connection)
        if self._is_fenced:
            self.lease.require_unbroken(connection)
            return
        try:
            self.lease.acquire(connection)
        except OperationalError as error:
            if not waited_in_vain(error):
                raise
            raise LockedError(
                f"{self.what} are held by nobody, but what an earlier run began to publish is still going on, waited "
                f"{self.seconds:g} s; start again when its session has ended (see pg_stat_activity), at the latest "
                "after SNAPSHOT_STATEMENT_TIMEOUT_SECONDS"
            ) from None
        self._is_fenced = True


@contextmanager
def exclusive_days(
    engine: Engine, schema: str, first: date, last: date, owner: str, seconds: float
) -> Iterator[LeasedLock]:
    """Hold the days `first … last` of the snapshots against every other run.

    The locks belong to a connection of their own: they end with the process, however it dies. Where only the
    connection is lost, `RunLock.check_lock` takes them again.

    Args:
        engine: The store's database.
        schema: The schema of our tables; other schemas are not held up.
        first: The first day to be written.
        last: The last day to be written.
        owner: Who holds them, shown to those that wait, e.g. `run 1f0c…`.
        seconds: How long to wait for another run.

    Raises:
        LockedError: Another run still holds one of the days.
    """
    months, parts, days = _months_and_days(first, last)
    space, what = "performance_snapshots", f"the days {first} to {last}"
    lease = RunLease(schema, space, first.toordinal(), last.toordinal(), uuid.uuid4().hex, owner, what)
    numbers = [*months, *days]
    with _held(LeasedLock(engine, f"{schema}.{space}", numbers, what, owner, seconds, parts, lease=lease)) as lock:
        yield lock


@contextmanager
def exclusive_recommendations(engine: Engine, schema: str, owner: str, seconds: float) -> Iterator[LeasedLock]:
    """Hold the recommendations: which week is the newest is one question for all weeks.

    Args and Raises: as `exclusive_days`.
    """
    space, what = "adaptive_recommendations", "the recommendations"
    lease = RunLease(schema, space, 0, 0, uuid.uuid4().hex, owner, what)
    with _held(LeasedLock(engine, f"{schema}.{space}", [0], what, owner, seconds, lease=lease)) as lock:
        yield lock


def holders(connection: Connection, space_name: str, number: int) -> list[str]:
    """Who holds a number, as `owner, process 1234` of the server each; [] when nobody does.

    Args:
        connection: To the database in which it is held; any role may ask.
        space_name: What kind of thing is held.
        number: Which of them.
    """
    space = _number_of(connection, space_name) % 2**32
    held = _HOLDERS.bindparams(bindparam("space", space), bindparam("numbers", [number]))
    return sorted(connection.execute(held).scalars())


def _number_of(connection: Connection, space_name: str) -> int:
    return int(connection.execute(select(func.hashtext(space_name))).scalar_one())


def _months_and_days(first: date, last: date) -> tuple[list[int], frozenset[int], list[int]]:
    """What is to be held: the months, ascending; those of them that are shared; and the days of these.

    A month that is written as a whole is one lock, so that years take a handful of them. A month of which some days are
    written, which are the first and the last, is shared, and its days are locked one by one: the runs of a backfill
    meet in the middle of a month and go on side by side.
    """
    months = list(range(first.year * 12 + first.month, last.year * 12 + last.month + 1))
    starts_in_the_middle = first.day > 1
    ends_in_the_middle = last.day < monthrange(last.year, last.month)[1]
    parts = frozenset({*months[: int(starts_in_the_middle)], *months[len(months) - int(ends_in_the_middle) :]})
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return months, parts, [day.toordinal() for day in days if day.year * 12 + day.month in parts]


@contextmanager
def _held(lock: LeasedLock) -> Iterator[LeasedLock]:
    try:
        retry_transient(lock.check_lock)
        yield lock
    finally:
        lock.release()


def _lives(connection: Connection) -> bool:
    try:
        connection.execute(select(1))
    except DBAPIError as error:
        if not is_transient(error):
            raise
        return False
    return True


def waited_in_vain(error: DBAPIError) -> bool:
    """Whether the time to wait for a lock was over."""
    return sqlstate(error.orig) == _LOCK_NOT_AVAILABLE

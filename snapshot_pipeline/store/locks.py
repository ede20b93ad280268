"""Locks and leases: keep two runs from writing the same days or recommendations.

A run holds advisory locks on a connection of its own. PostgreSQL releases them when the session ends, however the
process ends; they also hold where Dagster's own limits do not: the command line, a second installation. The server ends
the session when the process sends no heartbeat for `LEASE_SECONDS`, so a frozen process keeps nothing locked.

When a run loses its locks, a batch of it may still be in progress: in a frozen process, or on a worker that does not
know that the run is gone. So a run also holds a lease, a row in `run_leases` that each publishing transaction reads
`FOR SHARE` before it writes. The next run that locks any of the same days deletes the row; the deletion waits for the
transactions that have read it and makes all later ones fail, so there is no moment in between. A transaction that a
frozen process has left open is ended.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from calendar import monthrange
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
from sqlalchemy import ColumnElement, Connection, Engine, Select, Table, bindparam, delete, func, insert, select, text
from sqlalchemy.exc import DBAPIError, OperationalError

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.postgres.errors import LOCK_NOT_AVAILABLE, is_transient, retry_transient, sqlstate
from snapshot_pipeline.store.tables import StoreTables

RELEASE_SECONDS = 2
"""How long a finishing run waits for its publications in progress; after that the next run deletes its lease."""

LEASE_SECONDS = 30.0
"""How long a run keeps its locks without a heartbeat. The next run waits longer (SNAPSHOT_RUN_LOCK_SECONDS)."""

HEARTBEAT_SECONDS = 5.0

# If a machine disappears without closing its connection, the server notices after 25 s instead of two hours.
_KEEPALIVES = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}

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


# Sessions of our role that have an open publication and have waited for their process for a while.
_END_PUBLICATIONS = text(
    """
    SELECT count(pg_terminate_backend(pid, 5000))
      FROM pg_stat_activity
     WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
       AND application_name = ANY(:names) AND wait_event_type = 'Client'
       AND state_change < clock_timestamp() - make_interval(secs => :seconds)
    """
)


class LockedError(SnapshotPipelineError):
    """Another run holds the lock and did not finish in time."""


class LeaseLostError(SnapshotPipelineError):
    """The run may no longer publish: it has ended, or another run has taken over."""


@dataclass(frozen=True)
class RunLease:
    """A run's permission to publish; picklable, so that batches can carry it to other machines.

    Attributes:
        space: What is leased: the name of the table that the run writes.
        first: The first leased number, such as the ordinal of a day.
        last: The last leased number, inclusive.
        token: Identifies the run's row; unique.
        owner: The run, for messages.
        description: What is leased, for messages.
    """

    schema: str
    space: str
    first: int
    last: int
    token: str = field(repr=False)
    owner: str
    description: str

    def acquire(self, connection: Connection) -> None:
        """Insert our lease, after deleting overlapping ones of earlier runs, which waits for their publications.

        Args:
            connection: The session that holds the advisory locks, so that no other run does this at the same time.
        """
        connection.execute(delete(self._leases).where(*self._overlap()))
        row = {name: getattr(self, name) for name in ("token", "space", "first", "last", "owner")}
        connection.execute(insert(self._leases).values(row))

    def check(self, connection: adbc.Connection | Connection) -> None:
        """Start a publication: no other run can take over until the end of this transaction.

        Args:
            connection: An open transaction that has not written anything yet.

        Raises:
            LeaseLostError: The run has ended, or another run has taken over.
        """
        name = func.set_config("application_name", _publication(self.token), True)
        if _first(connection, self._row().add_columns(name.label("name")).with_for_update(read=True)) is None:
            raise self._lost(connection)

    @contextmanager
    def publication(self, uri: str) -> Iterator[tuple[adbc.Connection, StoreTables]]:
        """Open a transaction on our tables in which the run may publish in bulk; see `check`.

        Args:
            uri: The database as a libpq URI.
        """
        with bulk.transaction(uri) as connection:
            self.check(connection)
            yield connection, StoreTables.of(self.schema)

    def end_frozen_publications(self, connection: Connection) -> bool:
        """End the open publications of earlier runs whose processes have not gone on for `LEASE_SECONDS`.

        Returns:
            Whether there were any.
        """
        tokens = connection.execute(select(self._leases.c.token).where(*self._overlap())).scalars()
        names = [_publication(token) for token in tokens]
        ended = connection.execute(_END_PUBLICATIONS, {"names": names, "seconds": LEASE_SECONDS})
        return bool(ended.scalar_one())

    def require_held(self, connection: Connection) -> None:
        """Check that no other run has taken over.

        Raises:
            LeaseLostError: Another run has.
        """
        if _first(connection, self._row()) is None:
            raise self._lost(connection)

    def release(self, connection: Connection) -> None:
        """Delete the lease, after a short wait for publications in progress."""
        connection.execute(select(func.set_config("lock_timeout", f"{RELEASE_SECONDS}s", False)))
        connection.execute(delete(self._leases).where(self._leases.c.token == self.token))

    @property
    def _leases(self) -> Table:
        return StoreTables.of(self.schema).run_leases

    def _row(self) -> Select[Any]:
        return select(self._leases.c.taken_at).where(self._leases.c.token == self.token)

    def _overlap(self) -> tuple[ColumnElement[bool], ...]:
        leases = self._leases
        return leases.c.space == self.space, leases.c.first <= self.last, leases.c.last >= self.first

    def _lost(self, connection: adbc.Connection | Connection) -> LeaseLostError:
        leases = self._leases
        newest = select(leases.c.owner, leases.c.taken_at).where(*self._overlap()).order_by(leases.c.taken_at.desc())
        successor = _first(connection, newest.limit(1))
        if successor is not None:
            return LeaseLostError(
                f"{self.owner} may no longer write {self.description}: {successor['owner']} took over at "
                f"{successor['taken_at']:%Y-%m-%d %H:%M:%S %Z}; the earlier run publishes nothing more; check the "
                "later run, and start again if something is missing"
            )
        return LeaseLostError(
            f"{self.owner} may no longer write {self.description}: it has ended, or another run has started and "
            "finished while its connection was lost; it publishes nothing more; start it again"
        )


@dataclass
class RunLock:
    """Advisory locks of one run, held as long as their session lives.

    Attributes:
        space_name: Namespace of the numbers, such as schema and table.
        numbers: The numbers to lock, in the same order for all runs, so that two never deadlock.
        description: What is locked, for messages, e.g. `the days 2026-01-01 to 2026-01-31`.
        owner: The run, shown to those that wait.
        seconds: How long to wait for another run.
        shared: Numbers that are locked in shared mode.
        lease_seconds: How long the locks are kept without `send_heartbeat`; 0 for ever.
    """

    engine: Engine
    space_name: str
    numbers: Sequence[int]
    description: str
    owner: str
    seconds: float
    shared: Set[int] = frozenset()
    lease_seconds: float = 0
    _connection: Connection | None = None
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def check_lock(self) -> None:
        """Acquire the lock, or acquire it again if its session was lost; thread-safe.

        Raises:
            LockedError: Another run has it, and did not finish in time.
            LeaseLostError: Another run has had it meanwhile.
        """
        with self._mutex:
            if self._connection is not None and not _is_alive(self._connection):
                self._close()
            if self._connection is None:
                self._connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                try:
                    self._acquire(self._connection)
                except BaseException:
                    self._close()
                    raise

    def send_heartbeat(self) -> None:
        """Keep the lock, if it is held; thread-safe."""
        with self._mutex:
            if self._connection is not None and not _is_alive(self._connection):
                self._close()  # `check_lock` acquires the lock again

    def release(self) -> None:
        """Release the lock, if it is held."""
        with self._mutex:
            self._close()

    def _acquire(self, connection: Connection) -> None:
        space = _space_number(connection, self.space_name)
        for setting, value in _KEEPALIVES.items():
            connection.execute(select(func.set_config(setting, value, False)))
        name = func.left(f"snapshot_pipeline {self.owner}", 63)
        connection.execute(select(func.set_config("application_name", name, False)))
        # The statement timeout is a second longer, so that the lock timeout always fires first.
        for limit, seconds in (("lock_timeout", self.seconds), ("statement_timeout", self.seconds + 1)):
            connection.execute(select(func.set_config(limit, f"{int(seconds * 1000)}ms", False)))
        idle = f"{int(self.lease_seconds * 1000)}ms"
        connection.execute(select(func.set_config("idle_session_timeout", idle, False)))
        for number in self.numbers:
            lock = func.pg_advisory_lock_shared if number in self.shared else func.pg_advisory_lock
            try:
                connection.execute(select(lock(space, number)))
            except OperationalError as error:
                if sqlstate(error) != LOCK_NOT_AVAILABLE:
                    raise
                other = "; ".join(holders(connection, self.space_name, number)) or "it has just ended"
                raise LockedError(
                    f"another run is writing {self.description} ({other}); waited {self.seconds:g} s; start again when "
                    "that run has finished"
                ) from None

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()  # ends the session, and with it the locks, even after an error
            self._connection.close()
            self._connection = None


@dataclass
class LeasedLock(RunLock):
    """Advisory locks together with the run's lease, which each of its publications checks."""

    lease: RunLease = field(kw_only=True)
    _has_lease: bool = False

    def release(self) -> None:
        """Release lease and lock: whatever of the run is still in progress publishes nothing more."""
        with self._mutex:
            if self._connection is not None and self._has_lease:
                # If the session is lost, the lease remains until the next run deletes it.
                with suppress(DBAPIError):
                    self.lease.release(self._connection)
            self._close()

    def _acquire(self, connection: Connection) -> None:
        super()._acquire(connection)
        if self._has_lease:
            self.lease.require_held(connection)
            return
        try:
            self._acquire_lease(connection)
        except OperationalError as error:
            if sqlstate(error) != LOCK_NOT_AVAILABLE:
                raise
            raise LockedError(
                f"an earlier run is gone, but its session is still publishing {self.description}; waited "
                f"{self.seconds:g} s; start again when that session has ended (see pg_stat_activity), at the latest "
                "after SNAPSHOT_STATEMENT_TIMEOUT_SECONDS"
            ) from None
        self._has_lease = True

    def _acquire_lease(self, connection: Connection) -> None:
        try:
            self.lease.acquire(connection)
        except OperationalError as error:
            if sqlstate(error) != LOCK_NOT_AVAILABLE or not self.lease.end_frozen_publications(connection):
                raise
            self.lease.acquire(connection)


def exclusive_days(
    engine: Engine, schema: str, first: date, last: date, owner: str, seconds: float
) -> AbstractContextManager[LeasedLock]:
    """Lock the days `first … last` of the snapshots against every other run.

    Args:
        schema: The schema of our tables; other schemas are independent.
        owner: The run, shown to those that wait, e.g. `run 1f0c…`.
        seconds: How long to wait for another run.

    Raises:
        LockedError: Another run holds one of the days.
    """
    months, parts, days = _months_and_days(first, last)
    bounds, description = (first.toordinal(), last.toordinal()), f"the days {first} to {last}"
    lease = RunLease(schema, "performance_snapshots", *bounds, uuid.uuid4().hex, owner, description)
    return _held(engine, lease, seconds, [*months, *days], parts)


def exclusive_recommendations(
    engine: Engine, schema: str, owner: str, seconds: float
) -> AbstractContextManager[LeasedLock]:
    """Lock the recommendations of all weeks, because every week depends on which one is the newest.

    Args and Raises: see `exclusive_days`.
    """
    lease = RunLease(schema, "adaptive_recommendations", 0, 0, uuid.uuid4().hex, owner, "the recommendations")
    return _held(engine, lease, seconds, [0])


def holders(connection: Connection, space_name: str, number: int) -> list[str]:
    """The sessions that hold an advisory lock, as `owner, process 1234` each, sorted; any role may ask."""
    space = _space_number(connection, space_name) % 2**32
    query = _HOLDERS.bindparams(bindparam("space", space), bindparam("numbers", [number]))
    return sorted(connection.execute(query).scalars())


def _space_number(connection: Connection, space_name: str) -> int:
    return int(connection.execute(select(func.hashtext(space_name))).scalar_one())


def _months_and_days(first: date, last: date) -> tuple[list[int], frozenset[int], list[int]]:
    """The months to lock, ascending; those that are locked in shared mode; and the days to lock in these.

    A month that is written as a whole is one lock, so that years need only a few. A month that is written in part (the
    first or the last) is locked in shared mode, with its days one by one, so that runs of a backfill that meet within a
    month work in parallel.
    """
    months = list(range(first.year * 12 + first.month, last.year * 12 + last.month + 1))
    starts_within_month = first.day > 1
    ends_within_month = last.day < monthrange(last.year, last.month)[1]
    parts = frozenset({*months[: int(starts_within_month)], *months[len(months) - int(ends_within_month) :]})
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return months, parts, [day.toordinal() for day in days if day.year * 12 + day.month in parts]


@contextmanager
def _held(
    engine: Engine, lease: RunLease, seconds: float, numbers: Sequence[int], shared: Set[int] = frozenset()
) -> Iterator[LeasedLock]:
    """Hold a lease and its advisory locks until the run ends; heartbeats are sent from a thread."""
    space_name, description, owner = f"{lease.schema}.{lease.space}", lease.description, lease.owner
    lock = LeasedLock(engine, space_name, numbers, description, owner, seconds, shared, LEASE_SECONDS, lease=lease)
    ended = threading.Event()
    heartbeat = threading.Thread(target=_send_heartbeats, args=(lock, ended), name="lease", daemon=True)
    try:
        retry_transient(lock.check_lock)
        heartbeat.start()
        yield lock
    finally:
        ended.set()
        lock.release()


def _send_heartbeats(lock: LeasedLock, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT_SECONDS):
        with suppress(DBAPIError):  # `check_lock` finds out, too
            lock.send_heartbeat()


def _publication(token: str) -> str:
    """Return the application name of the sessions in which a run publishes; it does not reveal the token."""
    return f"snapshot_pipeline publication {hashlib.sha256(token.encode()).hexdigest()[:16]}"


def _is_alive(connection: Connection) -> bool:
    try:
        connection.execute(select(1))
    except DBAPIError as error:
        if not is_transient(error):
            raise
        return False
    return True


def _first(connection: adbc.Connection | Connection, query: Select[Any]) -> Mapping[Any, Any] | None:
    if isinstance(connection, Connection):
        return connection.execute(query).mappings().first()
    return next(iter(bulk.fetch(connection, query).to_pylist()), None)

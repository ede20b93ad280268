"""Keeps what belongs to a run that has ended, or was given up for dead, from being published after all.

Put here: the rows that say which run may write what, and the look at them that every publication begins with.
Do not put here: who waits for whom (`locks`).

An advisory lock ends with the session of the run that holds it, while a batch of that run may still be worked on: by a
machine that the run's process knew of, and that does not know that the process is gone. So a run writes a row into
`run_leases` that says what it holds, and each publishing transaction reads that row `FOR SHARE` before it writes. The
next run that holds any of the same removes the row, which waits for the transactions that have read it and makes all
later ones fail; there is no moment in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
from sqlalchemy import ColumnElement, Connection, Select, delete, func, insert, select

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.store.tables import StoreTables

LAST_WAIT_SECONDS = 2
"""How long a run that ends waits for what it has begun elsewhere; after that it leaves this to the next run."""


class LeaseLostError(SnapshotPipelineError):
    """A run does not hold any more what it wants to write."""


@dataclass(frozen=True)
class RunLease:
    """What a run shows to be let through; picklable, so that it can travel with the run's work.

    Attributes:
        schema: The schema of our tables.
        space: What kind of thing is held.
        first: The first number of what is held.
        last: The last number, included.
        token: Which names the run's row; no two runs have the same.
        owner: The run, for a reader.
        what: What is held, for a reader.
    """

    schema: str
    space: str
    first: int
    last: int
    token: str = field(repr=False)
    owner: str
    what: str

    def check(self, connection: adbc.Connection | Connection) -> None:
        """Begin a publication: what the run holds stays its own until the end of this transaction.

        Args:
            connection: An open transaction that has not written anything yet.

        Raises:
            LeaseLostError: The run has ended, or another one has taken over.
        """
        if _first(connection, self._row().with_for_update(read=True)) is None:
            raise self._shut_out(_first(connection, self._overlapping()))

    def acquire(self, connection: Connection) -> None:
        """Shut all earlier runs out that held any of the same, after waiting for the publications that they have begun.

        Args:
            connection: Of the session that holds the locks, so that no other run does this at the same time.
        """
        holds = StoreTables.of(self.schema).run_leases
        connection.execute(delete(holds).where(*self._overlap()))
        connection.execute(
            insert(holds).values(token=self.token, space=self.space, first=self.first, last=self.last, owner=self.owner)
        )

    def require_unbroken(self, connection: Connection) -> None:
        """See that no other run has held any of the same in the meantime.

        Raises:
            LeaseLostError: One has.
        """
        if _first(connection, self._row()) is None:
            raise self._shut_out(_first(connection, self._overlapping()))

    def release(self, connection: Connection) -> None:
        """Let nothing of this run through any more, after a short wait for the publications that it has begun."""
        holds = StoreTables.of(self.schema).run_leases
        connection.execute(select(func.set_config("lock_timeout", f"{LAST_WAIT_SECONDS}s", False)))
        connection.execute(delete(holds).where(holds.c.token == self.token))

    def _row(self) -> Select[Any]:
        holds = StoreTables.of(self.schema).run_leases
        return select(holds.c.taken_at).where(holds.c.token == self.token)

    def _overlap(self) -> tuple[ColumnElement[bool], ...]:
        holds = StoreTables.of(self.schema).run_leases
        return holds.c.space == self.space, holds.c.first <= self.last, holds.c.last >= self.first

    def _overlapping(self) -> Select[Any]:
        """The newest run that holds any of the same."""
        holds = StoreTables.of(self.schema).run_leases
        newest = holds.c.taken_at.desc()
        return select(holds.c.owner, holds.c.taken_at).where(*self._overlap()).order_by(newest).limit(1)

    def _shut_out(self, later: Mapping[Any, Any] | None) -> LeaseLostError:
        if later is not None:
            return LeaseLostError(
                f"{self.owner} does not hold {self.what} any more: {later['owner']} has taken over at "
                f"{later['taken_at']:%Y-%m-%d %H:%M:%S %Z}; nothing more of the earlier run is published; see what "
                "the later one did, and start again if something is missing"
            )
        return LeaseLostError(
            f"{self.owner} does not hold {self.what} any more: it has ended, or another run has come and gone "
            "while its connection was lost; nothing more of it is published; start it again"
        )


def _first(connection: adbc.Connection | Connection, query: Select[Any]) -> Mapping[Any, Any] | None:
    if isinstance(connection, Connection):
        return connection.execute(query).mappings().first()
    return next(iter(bulk.fetch(connection, query).to_pylist()), None)

"""Keeps what belongs to a run that has ended, or was given up for dead, from being published after all.

Put here: the rows that say which run may write what, and the look at them that every publication begins with.
Do not put here: who waits for whom (`locks`).

An advisory lock ends with the session of the run that holds it, while a batch of that run may still be worked on: by a
machine that the run's process knew of, and that does not know that the process is gone. So a run writes its token into
a row of `run_holds` for each thing that it holds, and each publishing transaction reads the rows `FOR SHARE` before it
writes. The next run replaces the token, which waits for the transactions that have read it and makes all later ones
fail; there is no moment in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
from sqlalchemy import BigInteger, Connection, Select, any_, bindparam, cast, delete, func, select
from sqlalchemy.dialects.postgresql import ARRAY, insert

from snapshot_pipeline import bulk
from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.store.tables import StoreTables

LAST_WAIT_SECONDS = 2
"""How long a run that ends waits for what it has begun elsewhere; after that it leaves this to the next run."""


class FencedOffError(SnapshotPipelineError):
    """A run does not hold any more what it wants to write."""


@dataclass(frozen=True)
class Fence:
    """What a run shows to be let through; picklable, so that it can travel with the run's work.

    Attributes:
        schema: The schema of our tables.
        space: What kind of thing is held.
        numbers: Which of them.
        token: What the run wrote into their rows; no two runs have the same.
        owner: The run, for a reader.
        what: What is held, for a reader.
    """

    schema: str
    space: str
    numbers: tuple[int, ...]
    token: str = field(repr=False)
    owner: str
    what: str

    def let_through(self, connection: adbc.Connection | Connection) -> None:
        """Begin a publication: what the run holds stays its own until the end of this transaction.

        Args:
            connection: An open transaction that has not written anything yet.

        Raises:
            FencedOffError: The run has ended, or another one has taken over.
        """
        rows = self._rows().with_for_update(read=True)
        if isinstance(connection, Connection):
            self._require(connection.execute(rows).mappings())
        else:
            self._require(bulk.fetch(connection, rows).to_pylist())

    def raise_over(self, connection: Connection) -> None:
        """Shut all earlier runs out, after waiting for the publications that they have begun."""
        holds = StoreTables.of(self.schema).run_holds
        statement = insert(holds).values(
            [
                {"space": self.space, "number": number, "token": self.token, "owner": self.owner}
                for number in self.numbers
            ]
        )
        given = {name: statement.excluded[name] for name in ("token", "owner")} | {"taken_at": func.now()}
        connection.execute(statement.on_conflict_do_update(index_elements=["space", "number"], set_=given))

    def require_unbroken(self, connection: Connection) -> None:
        """See that no other run has held the same in the meantime.

        Raises:
            FencedOffError: One has.
        """
        self._require(connection.execute(self._rows()).mappings())

    def take_down(self, connection: Connection) -> None:
        """Let nothing of this run through any more, after a short wait for the publications that it has begun."""
        holds = StoreTables.of(self.schema).run_holds
        connection.execute(select(func.set_config("lock_timeout", f"{LAST_WAIT_SECONDS}s", False)))
        connection.execute(delete(holds).where(holds.c.space == self.space, holds.c.token == self.token))

    def _rows(self) -> Select[Any]:
        holds = StoreTables.of(self.schema).run_holds
        numbers = cast(bindparam(None, list(self.numbers), unique=True), ARRAY(BigInteger))
        return select(holds.c.token, holds.c.owner, holds.c.taken_at).where(
            holds.c.space == self.space, holds.c.number == any_(numbers)
        )

    def _require(self, rows: Iterable[Any]) -> None:
        """Judge the rows of what is held."""
        found = list(rows)
        others = [row for row in found if row["token"] != self.token]
        if others:
            newest = max(others, key=lambda row: row["taken_at"])
            raise FencedOffError(
                f"{self.owner} does not hold {self.what} any more: {newest['owner']} has taken over at "
                f"{newest['taken_at']:%Y-%m-%d %H:%M:%S %Z}; nothing more of the earlier run is published; see what "
                "the later one did, and start again if something is missing"
            )
        if len(found) < len(self.numbers):
            raise FencedOffError(
                f"{self.owner} does not hold {self.what} any more: it has ended, or another run has come and gone "
                "while its connection was lost; nothing more of it is published; start it again"
            )

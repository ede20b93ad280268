"""The platform's rows that a day was computed with: its fingerprint, its digests, and changes that runs have missed."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, exists, func, insert, literal, select, update

from snapshot_pipeline.store.tables import StoreTables

Digests = NDArray[np.int64]
Blocks = NDArray[np.bool_]
"""Which blocks of students, shape (blocks,); it may be padded to a multiple of eight."""

_UNKNOWN = np.iinfo(np.int64).min


@dataclass(frozen=True)
class SourceState:
    """The platform's rows of a day.

    Attributes:
        fingerprint: Counts and digest of all of them; None if unknown.
        digests: The digest of each block of students, shape (blocks,); None if unknown.
    """

    fingerprint: str | None = None
    digests: Digests | None = None

    def without(self, blocks: Blocks | None) -> SourceState:
        """The same, but unknown for some blocks; for all of them if `blocks` is None."""
        if blocks is None or self.digests is None:
            return SourceState()
        return SourceState(None, np.where(blocks[: len(self.digests)], _UNKNOWN, self.digests))

    def as_row(self) -> dict[str, Any]:
        """The columns of `snapshot_days`."""
        digests = None if self.digests is None else zlib.compress(self.digests.tobytes(), 1)
        return {"source_fingerprint": self.fingerprint, "source_digests": digests}


def changed_blocks(known: SourceState | None, current: SourceState) -> Blocks | None:
    """The blocks whose rows have changed; None if that is unknown, which counts as all of them."""
    if known is None or known.digests is None or current.digests is None:
        return None
    differs = (known.digests != current.digests) | (known.digests == _UNKNOWN)
    # If no block differs although the day does, two changes of a block have canceled out.
    return differs if differs.any() or known.fingerprint == current.fingerprint else None


def join_blocks(parts: Sequence[Blocks | None]) -> Blocks | None:
    """The blocks that are in any of the parts, at least one; None if one of them is unknown."""
    known = [part for part in parts if part is not None]
    return np.logical_or.reduce(known) if len(known) == len(parts) else None


def remaining_blocks(blocks: Blocks | None, computed: Blocks | None) -> Blocks | None:
    """The blocks that are left after some of them were computed; None stands for all."""
    if computed is None:
        return np.zeros(0 if blocks is None else len(blocks), dtype=bool)
    return None if blocks is None else blocks & ~computed


def read_fingerprints(connection: Connection, tables: StoreTables, first: date, last: date) -> dict[date, str | None]:
    """The fingerprints of the computed days among `first … last`, ascending; None if unknown."""
    days = tables.snapshot_days
    query = select(days.c.snapshot_date, days.c.source_fingerprint).where(days.c.snapshot_date.between(first, last))
    return {day: fingerprint for day, fingerprint in connection.execute(query.order_by(days.c.snapshot_date))}


def read_states(connection: Connection, tables: StoreTables, wanted: Sequence[date]) -> dict[date, SourceState]:
    """The states of the rows that some of the computed days were computed with."""
    days = tables.snapshot_days
    columns = (days.c.snapshot_date, days.c.source_fingerprint, days.c.source_digests)
    rows = connection.execute(select(*columns).where(days.c.snapshot_date.in_(wanted)))
    return {day: SourceState(fingerprint, _decoded(digests)) for day, fingerprint, digests in rows}


def changes_by_day(
    connection: Connection, tables: StoreTables, current: Mapping[date, SourceState]
) -> dict[date, Blocks | None]:
    """The days whose rows have changed, with the blocks of students; None for all of them.

    Args:
        current: The rows of the days as they are; without digests they count as changed.
    """
    known = read_fingerprints(connection, tables, min(current), max(current))
    differing = [day for day, state in current.items() if not state.fingerprint or known.get(day) != state.fingerprint]
    states = read_states(connection, tables, differing)
    return {day: changed_blocks(states.get(day), current[day]) for day in differing}


def lock_states(connection: Connection, tables: StoreTables) -> None:
    """Wait until no other transaction records days: of two runs the later one sees what the earlier one has written."""
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(tables.snapshot_days.fullname), 0)))


def missed_changes(
    connection: Connection, tables: StoreTables, run_number: int, first: date, last: date
) -> dict[date, Blocks | None]:
    """The days of `first … last` from which on a run may have missed a change that another run has recorded."""
    changes = tables.late_changes
    query = select(changes.c.first_day, changes.c.blocks).where(
        changes.c.first_day <= last, changes.c.run_number >= run_number
    )
    missed: dict[date, list[Blocks | None]] = {}
    for day, blocks in connection.execute(query):
        missed.setdefault(max(first, day), []).append(None if blocks is None else _unpacked(blocks))
    return {day: join_blocks(parts) for day, parts in missed.items()}


def mark_later_days(
    connection: Connection, tables: StoreTables, run_number: int, newest: int, last: date, blocks: Blocks | None
) -> None:
    """Mark the first day after `last` that may have been computed without a change, and runs in progress.

    Args:
        run_number: The run that has recorded the change.
        newest: The newest number of a run that may have read the rows before the change.
        blocks: The students concerned; None for all.
    """
    days, changes, leases = tables.snapshot_days, tables.late_changes, tables.run_leases
    following = select(func.min(days.c.snapshot_date)).where(days.c.snapshot_date > last, days.c.run_number <= newest)
    for day, state in read_states(connection, tables, list(connection.execute(following).scalars())).items():
        marked = state.without(blocks).as_row()
        connection.execute(update(days).where(days.c.snapshot_date == day).values(marked))
    # A change is needed as long as a run is in progress that may have missed it.
    in_progress = exists().where(leases.c.space == tables.performance_snapshots.name, leases.c.number != run_number)
    connection.execute(delete(changes).where(~in_progress.where(leases.c.number <= changes.c.run_number)))
    packed = None if blocks is None else np.packbits(blocks).tobytes()
    values = {"first_day": last + timedelta(days=1), "run_number": newest, "blocks": packed}
    change = select(*(literal(value, changes.c[name].type) for name, value in values.items()))
    connection.execute(
        insert(changes).from_select(list(values), change.where(in_progress.where(leases.c.number <= newest)))
    )


def _decoded(digests: bytes | None) -> Digests | None:
    return None if digests is None else np.frombuffer(zlib.decompress(digests), dtype=np.int64)


def _unpacked(blocks: bytes) -> Blocks:
    return np.unpackbits(np.frombuffer(blocks, dtype=np.uint8)).astype(bool)

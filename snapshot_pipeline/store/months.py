"""The partitions of `performance_snapshots`: a month each, made in time, dropped when their time is over.

Put here: everything about partitions but how the table became partitioned (`migrations`, 0003).
Do not put here: rows (`store.snapshots`, `store.retention`), or from when on snapshots are kept (`settings`).

What is a partition, and of which days, is what the catalogue says, never what a name says: one that somebody made by
hand with other bounds covers its days like any other. Only the owner of the table may make and drop partitions, and the
role that works every night is not the owner: it calls two functions of the database that are (`migrations`, 0003).

The locks, by PostgreSQL's documentation of ALTER TABLE (14 to 18): ATTACH PARTITION and DETACH PARTITION CONCURRENTLY
take SHARE UPDATE EXCLUSIVE on the parent, beside which readers and writers go on. CREATE TABLE … PARTITION OF, DETACH
PARTITION alone, and DROP TABLE of a partition take ACCESS EXCLUSIVE on it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import Connection, Engine, MetaData, Table, cast, func, literal, select, text
from sqlalchemy.dialects.postgresql import REGCLASS
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import DropTable, DropTableComment, SetTableComment
from sqlalchemy.sql.functions import Function

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.postgres.errors import sqlstate
from snapshot_pipeline.store.locks import LockedError, exclusive_days, waited_in_vain
from snapshot_pipeline.store.tables import StoreTables

_LOG = logging.getLogger(__name__)

ON_ITS_WAY_OUT = "dropped by snapshot_pipeline: older than SNAPSHOT_SNAPSHOT_RETENTION_DAYS"
"""The comment of a partition that is being dropped: how the next attempt knows a table that is detached already."""

_DUPLICATE_TABLE = "42P07"
_UNBOUNDED = {"MINVALUE": date.min, "'-infinity'": date.min, "MAXVALUE": date.max, "'infinity'": date.max}
_BOUNDS = re.compile(r"FOR VALUES FROM \((.+)\) TO \((.+)\)")

# One row per partition, and one without a partition where there is none.
_CATALOGUE = text(
    """
    SELECT parent.oid::bigint AS parent, pg_has_role(parent.relowner, 'USAGE') AS is_owner, part.oid::bigint AS oid,
           part_schema.nspname AS schema, part.relname AS name, pg_get_expr(part.relpartbound, part.oid) AS bounds,
           i.inhdetachpending AS is_half_detached,
           coalesce(obj_description(part.oid, 'pg_class') = :comment, false) AS is_on_its_way_out
      FROM pg_catalog.pg_class AS parent
      JOIN pg_catalog.pg_namespace AS n ON n.oid = parent.relnamespace
      JOIN pg_catalog.pg_partitioned_table AS p ON p.partrelid = parent.oid
      LEFT JOIN pg_catalog.pg_inherits AS i ON i.inhparent = parent.oid
      LEFT JOIN pg_catalog.pg_class AS part ON part.oid = i.inhrelid
      LEFT JOIN pg_catalog.pg_namespace AS part_schema ON part_schema.oid = part.relnamespace
     WHERE n.nspname = :schema AND parent.relname = :table
     ORDER BY part.relname
    """
)
_DETACHED = text(
    """
    SELECT n.nspname AS schema, c.relname AS name
      FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname = :schema AND c.relkind IN ('r', 'p') AND NOT c.relispartition
       AND pg_has_role(c.relowner, 'USAGE') AND obj_description(c.oid, 'pg_class') = :comment
     ORDER BY c.relname
    """
)


class PartitionError(SnapshotPipelineError):
    """The table cannot have the partitions that are needed, as things stand."""


@dataclass(frozen=True)
class Partition:
    """A partition as the catalogue has it.

    Attributes:
        oid: The table.
        schema: Its schema.
        name: Its name.
        first: The first of its days; `date.min` where it has no lower bound.
        end: The day after the last; `date.max` where it has no upper bound.
        is_default: Whether it takes the days that no other partition has.
        is_half_detached: Whether detaching it was begun and not finished: the parent does not show its rows any more.
        is_on_its_way_out: Whether `drop_partitions_before` has begun with it.
    """

    oid: int
    schema: str
    name: str
    first: date
    end: date
    is_default: bool
    is_half_detached: bool
    is_on_its_way_out: bool

    @property
    def table(self) -> Table:
        """For statements about it."""
        return Table(self.name, MetaData(), schema=self.schema)

    @property
    def days(self) -> Days:
        """The days that it takes, if it is no default partition."""
        return Days(self.first, self.end)


@dataclass(frozen=True)
class PartitionedTable:
    """`performance_snapshots` as the catalogue has it.

    Attributes:
        oid: The table.
        is_owner: Whether the role has the rights of its owner.
        partitions: By name.
    """

    oid: int
    is_owner: bool
    partitions: Sequence[Partition]

    @property
    def has_default(self) -> bool:
        """Whether somebody has made a default partition, which takes every day."""
        return any(partition.is_default for partition in self.partitions)

    def gaps(self, first: date, last: date) -> list[Days]:
        """The days of the months of `first … last` that no partition takes, in stretches that touch `first … last`."""
        if self.has_default:
            return []
        taken = sorted((partition.first, partition.end) for partition in self.partitions)
        gaps = [gap for month in _months(first, last) for gap in _outside(month, taken)]
        return [gap for gap in gaps if gap.overlaps(first, last)]


@dataclass(frozen=True)
class Days:
    """Consecutive days: those of a partition, or of one that is missing.

    Attributes:
        first: The first.
        end: The day after the last.
    """

    first: date
    end: date

    def overlaps(self, first: date, last: date) -> bool:
        """Whether any of the days `first … last` is among them."""
        return self.first <= last and self.end > first

    @property
    def partition_name(self) -> str:
        """`performance_snapshots_2026_11`; with its first day where the other days of the month are taken already."""
        is_month = self.first.day == 1 and self.end == _next_month(self.first)
        return (
            f"performance_snapshots_{self.first:%Y_%m}" if is_month else f"performance_snapshots_{self.first:%Y_%m_%d}"
        )


def read_partitions(connection: Connection, tables: StoreTables) -> PartitionedTable:
    """The table and its partitions, in one query.

    Raises:
        PartitionError: There is no such table, or it is not partitioned.
    """
    rows = connection.execute(_CATALOGUE, {**_named(tables), "comment": ON_ITS_WAY_OUT}).all()
    if not rows:
        raise PartitionError(
            f'the partitioned table "{tables.performance_snapshots.fullname}" does not exist; expected what '
            "`snapshot-pipeline db migrate` makes; run that"
        )
    return PartitionedTable(
        rows[0].parent,
        rows[0].is_owner,
        [
            Partition(
                row.oid, row.schema, row.name, *_bounds(row.name, row.bounds), row.bounds == "DEFAULT",
                row.is_half_detached, row.is_on_its_way_out
            )
            for row in rows
            if row.oid is not None
        ],
    )  # fmt: skip


def ensure_partitions(engine: Engine, tables: StoreTables, first: date, last: date) -> list[str]:
    """Make the months that the days `first … last` are in, where they are missing; where none is, one query tells.

    Nobody is held up who reads or writes the table. Several processes may call this at once: they take turns.

    Args:
        engine: The store's database, as a role that may insert into the table.
        tables: Our tables.
        first: The first day.
        last: The last day, included.

    Returns:
        The names of the partitions made.

    Raises:
        PartitionError: The name is taken, the days' partition is being dropped, or the table is not partitioned.
    """
    made: list[str] = []
    with engine.connect() as connection:
        if not _missing(connection, tables, first, last):
            return made
    while True:
        # A transaction each, so that the lock on the table lasts as long as one month takes.
        with engine.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(_lock_key(tables, "make"))))
            gaps = _missing(connection, tables, first, last)
            if not gaps:
                return made
            made.append(_make(connection, tables, gaps[0]))


def _missing(connection: Connection, tables: StoreTables, first: date, last: date) -> list[Days]:
    found = read_partitions(connection, tables)
    for partition in found.partitions:
        if partition.is_half_detached and partition.days.overlaps(first, last):
            raise PartitionError(
                f"days of {first} to {last} belong to the partition {partition.name}, which is being detached; start "
                "again when the next housekeeping has dropped it, or whoever began has finished (ALTER TABLE … DETACH "
                "PARTITION … FINALIZE) and renamed it"
            )
    return found.gaps(first, last)


def _make(connection: Connection, tables: StoreTables, days: Days) -> str:
    name, parent = days.partition_name, read_partitions(connection, tables).oid
    arguments = cast(literal(parent), REGCLASS), days.first, days.end, name
    _find_our_functions(connection, tables, until_commit=True)
    try:
        connection.execute(select(func.make_snapshot_partition(*arguments)))
    except DBAPIError as error:
        if sqlstate(error.orig) != _DUPLICATE_TABLE:
            raise
        raise PartitionError(
            f"the days {days.first} to {days.end - timedelta(days=1)} need the partition {name}, and something else "
            "has that name; rename it, or drop it, then start again"
        ) from error
    return name


def drop_partitions_before(engine: Engine, tables: StoreTables, day: date) -> list[str]:
    """Drop the partitions that are entirely before `day`, in an instant each, however many rows they have.

    The owner of the table detaches them beside readers and writers; what was interrupted, the next call brings to its
    end. Another role, and the owner of a table with a default partition, drops them by a function that needs the table
    for itself for an instant, and gives up after two seconds of waiting for it. A partition that a run holds, or that
    is in use for longer than we wait, stays until the next call.

    Args:
        engine: The store's database, as a role that may delete from the table.
        tables: Our tables.
        day: The first day that is kept.

    Returns:
        The names of the partitions dropped.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        try:
            if not connection.execute(select(func.pg_try_advisory_lock(_lock_key(tables, "drop")))).scalar_one():
                return []  # another process is at it
            begun = _finish_what_was_begun(connection, tables)
            found = read_partitions(connection, tables).partitions
            for partition in found:
                if partition.is_on_its_way_out and partition.end > day and not partition.is_half_detached:
                    connection.execute(DropTableComment(partition.table))  # the setting is another one now
            halves = [part.name for part in found if part.is_half_detached]
            if halves:  # PostgreSQL detaches one at a time
                _LOG.warning("no month is dropped while %s is half detached; finish that (FINALIZE)", halves[0])
                return begun
            old = [part for part in found if part.end <= day]
            return begun + [part.name for part in old if _drop_unless_held(engine, connection, tables, part)]
        finally:
            connection.invalidate()  # ends the session, and with it the lock


def _finish_what_was_begun(connection: Connection, tables: StoreTables) -> list[str]:
    """Drop what an interrupted call has left half detached, or detached; our mark is on it."""
    found = read_partitions(connection, tables)
    for partition in found.partitions:
        if found.is_owner and partition.is_half_detached and partition.is_on_its_way_out:
            with _unless_in_use(partition.name):
                _detach(connection, tables, partition, "FINALIZE")
    dropped = []
    left = connection.execute(_DETACHED, {"schema": _named(tables)["schema"], "comment": ON_ITS_WAY_OUT}).all()
    for row in left:
        with _unless_in_use(row.name):
            connection.execute(DropTable(Table(row.name, MetaData(), schema=row.schema)))
            dropped.append(row.name)
    return dropped


def _drop_unless_held(engine: Engine, connection: Connection, tables: StoreTables, partition: Partition) -> bool:
    first, last = _days_in(connection, tables, partition)
    # A run that fills these days would find nowhere to put them.
    lock = exclusive_days(engine, _named(tables)["schema"], first, last, "housekeeping", seconds=1)
    with _unless_in_use(partition.name), lock:
        _drop(connection, tables, partition)
        return True
    return False


@contextmanager
def _unless_in_use(name: str) -> Iterator[None]:
    try:
        yield
    except LockedError as error:
        _LOG.warning("%s stays until the next housekeeping: %s", name, error)
    except DBAPIError as error:
        if not waited_in_vain(error):
            raise
        _LOG.warning("%s stays until the next housekeeping: somebody has been reading snapshots for long", name)


def _drop(connection: Connection, tables: StoreTables, partition: Partition) -> None:
    found = read_partitions(connection, tables)
    if not found.is_owner or found.has_default:  # PostgreSQL detaches nothing concurrently beside a default partition
        arguments = cast(literal(found.oid), REGCLASS), cast(literal(partition.oid), REGCLASS)
        _find_our_functions(connection, tables, until_commit=False)
        connection.execute(select(func.drop_snapshot_partition(*arguments)))
        return
    marked = partition.table
    marked.comment = ON_ITS_WAY_OUT
    connection.execute(SetTableComment(marked))
    _detach(connection, tables, partition, "CONCURRENTLY")
    connection.execute(DropTable(partition.table))


def _detach(connection: Connection, tables: StoreTables, partition: Partition, how: str) -> None:
    write = connection.dialect.identifier_preparer.format_table
    # Not as DDL(…), which would double a % in the schema's name once more.
    connection.exec_driver_sql(
        f"ALTER TABLE {write(tables.performance_snapshots)} DETACH PARTITION {write(partition.table)} {how}"
    )


def _days_in(connection: Connection, tables: StoreTables, partition: Partition) -> tuple[date, date]:
    last = partition.end - timedelta(days=1)
    if partition.first != date.min:
        return partition.first, last
    snapshots = tables.performance_snapshots
    first = select(func.min(snapshots.c.snapshot_date)).where(snapshots.c.snapshot_date < partition.end)
    return connection.execute(first).scalar_one() or last, last


def _find_our_functions(connection: Connection, tables: StoreTables, *, until_commit: bool) -> None:
    """Make the schema of our tables the search path: SQLAlchemy does not quote every schema of a function."""
    schema = func.quote_ident(_named(tables)["schema"])
    connection.execute(select(func.set_config("search_path", schema, until_commit)))


def _lock_key(tables: StoreTables, what: str) -> Function[int]:
    return func.hashtextextended(f"snapshot_pipeline: {what} partitions of {tables.performance_snapshots.fullname}", 0)


def _named(tables: StoreTables) -> dict[str, str]:
    table = tables.performance_snapshots
    return {"schema": str(table.schema), "table": table.name}


def _bounds(name: str, bounds: str) -> tuple[date, date]:
    if bounds == "DEFAULT":
        return date.min, date.max
    found = _BOUNDS.fullmatch(bounds)
    if found is None:
        raise PartitionError(f"the partition {name} has the bounds {bounds!r}; expected a first day and an end")
    first, end = (_UNBOUNDED.get(bound) or date.fromisoformat(bound.strip("'")) for bound in found.groups())
    return first, end


def _months(first: date, last: date) -> Iterator[Days]:
    month = first.replace(day=1)
    while month <= last:
        yield Days(month, _next_month(month))
        month = _next_month(month)


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def _outside(month: Days, taken: Sequence[tuple[date, date]]) -> Iterator[Days]:
    """What is left of a month; `taken` are pairs of a first day and an end, ascending."""
    first = month.first
    for taken_first, taken_end in taken:
        if first < min(taken_first, month.end):
            yield Days(first, min(taken_first, month.end))
        first = max(first, taken_end)
    if first < month.end:
        yield Days(first, month.end)

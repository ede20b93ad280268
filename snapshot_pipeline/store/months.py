"""The monthly partitions of `performance_snapshots`: create, drop, and keep the planner's statistics fresh.

The catalog decides what is a partition, and of which days, never a name: a partition that an administrator created with
other bounds covers its days like any other. Only the owner of the table may create and drop partitions; the nightly
role does it by two functions that run as the owner (`migrations/versions/initial.py`).

By PostgreSQL's documentation of ALTER TABLE, ATTACH PARTITION takes SHARE UPDATE EXCLUSIVE on the parent, which blocks
neither readers nor writers; DROP TABLE of a partition takes ACCESS EXCLUSIVE on it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import Connection, Engine, MetaData, Table, cast, func, literal, select, text
from sqlalchemy.dialects.postgresql import REGCLASS
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.functions import Function

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.postgres.errors import DUPLICATE_TABLE, LOCK_NOT_AVAILABLE, sqlstate
from snapshot_pipeline.store.locks import LockedError, exclusive_days
from snapshot_pipeline.store.tables import StoreTables

STALE_SHARE = 0.02
"""Share of a month's rows that may change before it is analyzed again; a smaller change does not affect plans."""

_LOG = logging.getLogger(__name__)
_UNBOUNDED = {"MINVALUE": date.min, "'-infinity'": date.min, "MAXVALUE": date.max, "'infinity'": date.max}
_BOUNDS = re.compile(r"FOR VALUES FROM \((.+)\) TO \((.+)\)")

# One row per partition, or a single row without a partition.
_CATALOG = text(
    """
    SELECT parent.oid::bigint AS parent, pg_has_role(parent.relowner, 'USAGE') AS is_owner, part.oid::bigint AS oid,
           part_schema.nspname AS schema, part.relname AS name, pg_get_expr(part.relpartbound, part.oid) AS bounds
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
_IS_STALE = text(
    """
    SELECT greatest(last_analyze, last_autoanalyze) IS NULL OR n_mod_since_analyze > :share * n_live_tup
      FROM pg_stat_all_tables
     WHERE relid = :oid
    """
)


class PartitionError(SnapshotPipelineError):
    """The partitions of the table are not as expected."""


@dataclass(frozen=True)
class DateRange:
    """The days from `first` until the day before `end`: those of a partition, or of a missing one."""

    first: date
    end: date

    def overlaps(self, first: date, last: date) -> bool:
        """Whether it contains any of the days `first … last`."""
        return self.first <= last and self.end > first

    @property
    def partition_name(self) -> str:
        """`performance_snapshots_2026_11`, or with the first day if it is only a part of a month."""
        is_month = self.first.day == 1 and self.end == _next_month(self.first)
        return (
            f"performance_snapshots_{self.first:%Y_%m}" if is_month else f"performance_snapshots_{self.first:%Y_%m_%d}"
        )


@dataclass(frozen=True)
class Partition:
    """A partition according to the catalog.

    Attributes:
        days: Its days; `date.min` and `date.max` where it is unbounded.
        is_default: Whether it takes the days that no other partition has.
    """

    oid: int
    schema: str
    name: str
    days: DateRange
    is_default: bool

    @property
    def table(self) -> Table:
        return Table(self.name, MetaData(), schema=self.schema)


@dataclass(frozen=True)
class PartitionedTable:
    """`performance_snapshots` according to the catalog.

    Attributes:
        is_owner: Whether the current role has the rights of the table's owner.
        partitions: Sorted by name.
    """

    oid: int
    is_owner: bool
    partitions: Sequence[Partition]

    def gaps(self, first: date, last: date) -> list[DateRange]:
        """The missing parts of the months of `first … last` that overlap these days; [] with a DEFAULT partition."""
        if any(partition.is_default for partition in self.partitions):
            return []
        taken = sorted((partition.days.first, partition.days.end) for partition in self.partitions)
        gaps = [gap for month in _months(first, last) for gap in _subtract(month, taken)]
        return [gap for gap in gaps if gap.overlaps(first, last)]


def read_partitions(connection: Connection, tables: StoreTables) -> PartitionedTable:
    """Read the table and its partitions from the catalog, in one query.

    Raises:
        PartitionError: The table does not exist, or is not partitioned.
    """
    table = tables.performance_snapshots
    rows = connection.execute(_CATALOG, {"schema": str(table.schema), "table": table.name}).all()
    if not rows:
        raise PartitionError(
            f'the partitioned table "{table.fullname}" does not exist; create it with `snapshot-pipeline db migrate`'
        )
    return PartitionedTable(
        rows[0].parent,
        rows[0].is_owner,
        [
            Partition(row.oid, row.schema, row.name, _parse_bounds(row.name, row.bounds), row.bounds == "DEFAULT")
            for row in rows
            if row.oid is not None
        ],
    )


def ensure_partitions(engine: Engine, tables: StoreTables, first: date, last: date) -> list[str]:
    """Create the missing months of the days `first … last`; one query if none is missing.

    Readers and writers of the table are not blocked. Several processes may call this at once: they take turns. Returns
    the names of the created partitions.

    Raises:
        PartitionError: A name is taken, or the table is not partitioned.
    """
    created: list[str] = []
    with engine.connect() as connection:
        if not read_partitions(connection, tables).gaps(first, last):
            return created
    while True:
        # One transaction per month, so that the lock on the table is short.
        with engine.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(_lock_key(tables, "make"))))
            table = read_partitions(connection, tables)
            gaps = table.gaps(first, last)
            if not gaps:
                return created
            created.append(_create(connection, tables, table, gaps[0]))


def drop_partitions_before(engine: Engine, tables: StoreTables, day: date) -> list[str]:
    """Drop the partitions whose days are all before `day`, in an instant each, whatever their size.

    Each needs the table to itself for an instant, and waits two seconds for that at most. A partition that a run is
    writing, or that is in use for longer, is kept until the next call. Returns the names of the dropped partitions.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        try:
            if not connection.execute(select(func.pg_try_advisory_lock(_lock_key(tables, "drop")))).scalar_one():
                return []  # another process is dropping them
            table = read_partitions(connection, tables)
            expired = [part for part in table.partitions if part.days.end <= day]
            return [part.name for part in expired if _drop_unless_in_use(engine, connection, tables, table, part)]
        finally:
            connection.invalidate()  # ends the session, and with it the lock


def has_snapshots(engine: Engine, tables: StoreTables, first: date, last: date) -> bool:
    """Whether any of the days `first … last` has a snapshot: an index probe."""
    day = tables.performance_snapshots.c.snapshot_date
    # Ordered, so that the index on the day is used even without statistics.
    probe = select(day).where(day.between(first, last)).order_by(day).limit(1)
    with engine.connect() as connection:
        return connection.execute(probe).first() is not None


def refresh_statistics(engine: Engine, tables: StoreTables, first: date, last: date) -> list[str]:
    """Analyze the months of the days `first … last` whose statistics are stale; returns the partitions' names.

    A backfill fills a month faster than autovacuum notices. Until then PostgreSQL plans as if the month were empty, and
    reads all rows of its days for each batch. Only the owner of the table may analyze it; for another role this does
    nothing.
    """
    analyzed: list[str] = []
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        table = read_partitions(connection, tables)
        if not table.is_owner:
            return analyzed
        format_table = connection.dialect.identifier_preparer.format_table
        for month in table.partitions:
            if not month.days.overlaps(first, last):
                continue
            if connection.execute(_IS_STALE, {"oid": month.oid, "share": STALE_SHARE}).scalar():
                # A process that locks the table, such as autovacuum, is probably analyzing it already.
                connection.execute(text(f"ANALYZE (SKIP_LOCKED) {format_table(month.table)}"))
                analyzed.append(month.name)
    return analyzed


def _create(connection: Connection, tables: StoreTables, table: PartitionedTable, days: DateRange) -> str:
    name = days.partition_name
    _use_our_functions(connection, tables, until_commit=True)
    try:
        connection.execute(
            select(func.make_snapshot_partition(cast(literal(table.oid), REGCLASS), days.first, days.end, name))
        )
    except DBAPIError as error:
        if sqlstate(error) != DUPLICATE_TABLE:
            raise
        raise PartitionError(
            f"the days {days.first} to {days.end - timedelta(days=1)} need the partition {name}, but another relation "
            "has that name; rename or drop it, then start again"
        ) from error
    return name


def _drop_unless_in_use(
    engine: Engine, connection: Connection, tables: StoreTables, table: PartitionedTable, partition: Partition
) -> bool:
    first, last = _first_and_last_day(connection, tables, partition)
    schema = str(tables.performance_snapshots.schema)
    arguments = cast(literal(table.oid), REGCLASS), cast(literal(partition.oid), REGCLASS)
    try:
        # A run that is writing these days would lose its partition.
        with exclusive_days(engine, schema, first, last, "housekeeping", seconds=1):
            _use_our_functions(connection, tables, until_commit=False)
            connection.execute(select(func.drop_snapshot_partition(*arguments)))
    except LockedError as error:
        _LOG.warning("%s is kept until the next housekeeping: %s", partition.name, error)
        return False
    except DBAPIError as error:
        if sqlstate(error) != LOCK_NOT_AVAILABLE:
            raise
        _LOG.warning("%s is kept until the next housekeeping: a long transaction is reading snapshots", partition.name)
        return False
    return True


def _first_and_last_day(connection: Connection, tables: StoreTables, partition: Partition) -> tuple[date, date]:
    last = partition.days.end - timedelta(days=1)
    if partition.days.first != date.min:
        return partition.days.first, last
    day = tables.performance_snapshots.c.snapshot_date
    first = connection.execute(select(func.min(day)).where(day < partition.days.end)).scalar_one()
    return first or last, last


def _use_our_functions(connection: Connection, tables: StoreTables, *, until_commit: bool) -> None:
    """Make the schema of our tables the search path: SQLAlchemy does not quote every schema of a function."""
    schema = func.quote_ident(str(tables.performance_snapshots.schema))
    connection.execute(select(func.set_config("search_path", schema, until_commit)))


def _lock_key(tables: StoreTables, action: str) -> Function[int]:
    return func.hashtextextended(
        f"snapshot_pipeline: {action} partitions of {tables.performance_snapshots.fullname}", 0
    )


def _parse_bounds(name: str, bounds: str) -> DateRange:
    if bounds == "DEFAULT":
        return DateRange(date.min, date.max)
    match = _BOUNDS.fullmatch(bounds)
    if match is None:
        raise PartitionError(f"the partition {name} has the bounds {bounds!r}; expected a first day and an end")
    first, end = (_UNBOUNDED.get(bound) or date.fromisoformat(bound.strip("'")) for bound in match.groups())
    return DateRange(first, end)


def _months(first: date, last: date) -> Iterator[DateRange]:
    month = first.replace(day=1)
    while month <= last:
        yield DateRange(month, _next_month(month))
        month = _next_month(month)


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def _subtract(month: DateRange, taken: Sequence[tuple[date, date]]) -> Iterator[DateRange]:
    """The days of a month outside of `taken`, pairs of a first day and an end, ascending."""
    first = month.first
    for taken_first, taken_end in taken:
        if first < min(taken_first, month.end):
            yield DateRange(first, min(taken_first, month.end))
        first = max(first, taken_end)
    if first < month.end:
        yield DateRange(first, month.end)

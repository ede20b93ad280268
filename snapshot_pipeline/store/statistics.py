"""What the server knows of the months that a run is about to write.

Put here: when the pipeline has a table of its own looked at by `ANALYZE`, and what it asks before its first batch.
Do not put here: the queries that are planned by it (`snapshots`), or the months themselves (`partitions`).

A backfill fills a month faster than autovacuum notices. Until it does, the server takes the month for empty, and finds
the rows of a batch by reading all rows of its days: for each batch.
"""

from __future__ import annotations

from datetime import date

from sqlalchemy import Engine, select, text

from snapshot_pipeline.store.months import read_partitions
from snapshot_pipeline.store.tables import StoreTables

STALE_SHARE = 0.02
"""Of the rows changed since the last look: one night of a month of fifty is not seen."""

_IS_STALE = text(
    """
    SELECT greatest(last_analyze, last_autoanalyze) IS NULL OR n_mod_since_analyze > :share * n_live_tup
      FROM pg_stat_all_tables
     WHERE relid = :oid
    """
)


def has_snapshots(engine: Engine, tables: StoreTables, first: date, last: date) -> bool:
    """Whether there is any snapshot of the days `first … last`: an index probe."""
    day = tables.performance_snapshots.c.snapshot_date
    # In this order, so that the index on the day serves, whatever the server knows.
    some = select(day).where(day.between(first, last)).order_by(day).limit(1)
    with engine.connect() as connection:
        return connection.execute(some).first() is not None


def refresh_statistics(engine: Engine, tables: StoreTables, first: date, last: date) -> list[str]:
    """Have the months of the days `first … last` looked at of which the server knows too little.

    Only the owner of the table may ask for it; for any other role this does nothing, and autovacuum comes later.

    Returns:
        The partitions looked at.
    """
    looked_at: list[str] = []
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        months = read_partitions(connection, tables)
        if not months.is_owner:
            return looked_at
        quoted = connection.dialect.identifier_preparer.format_table
        for month in months.partitions:
            if not month.days.overlaps(first, last):
                continue
            if connection.execute(_IS_STALE, {"oid": month.oid, "share": STALE_SHARE}).scalar():
                # Whoever holds the table, such as autovacuum, is about to do the same, or will let it be done later.
                connection.execute(text(f"ANALYZE (SKIP_LOCKED) {quoted(month.table)}"))
                looked_at.append(month.name)
    return looked_at

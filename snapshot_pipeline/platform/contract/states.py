"""How large and how new the platform's tables are, without counting rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import pandas as pd
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import DBAPIError

from snapshot_pipeline.platform.contract.catalogs import read_tables
from snapshot_pipeline.platform.contract.requirements import TIMES
from snapshot_pipeline.platform.contract.rows import RowRules, Rows
from snapshot_pipeline.platform.timestamps import localize
from snapshot_pipeline.postgres.errors import QUERY_CANCELED, readable_database_errors, sqlstate

STATE_SECONDS = 10.0
"""The time limit for the newest time of a table; with the advised indexes it takes milliseconds."""

MOST_COST = 10_000.0
"""The planner's cost above which the newest time is not read: some 300,000 rows without an index."""

# Of a partitioned table the sum of its partitions; -1 means never analyzed.
_ESTIMATES = text(
    """
    SELECT c.relname::text AS name,
        CASE WHEN c.relkind IN ('r', 'p', 'm') THEN (
            SELECT sum(leaf.reltuples)::bigint
            FROM pg_catalog.pg_class leaf
            WHERE leaf.reltuples >= 0 AND leaf.relkind <> 'p' AND (
                leaf.oid = c.oid OR (c.relkind = 'p' AND leaf.oid IN (SELECT relid FROM pg_partition_tree(c.oid)))
            )
        ) END AS estimate
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND c.relname = ANY(:names) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    """
)


@dataclass(frozen=True)
class TableState:
    """A table of the platform as it is now.

    Attributes:
        row_estimate: The server's estimate; None for a view, or if the table was never analyzed.
        newest: The newest valid time of a row, in UTC; None for a table without times or rows.
        is_newest_unread: Whether the newest time was not read, because that takes too long.
    """

    row_estimate: int | None
    newest: datetime | None = None
    is_newest_unread: bool = False


def read_table_states(engine: Engine, schema: str, rules: RowRules) -> dict[str, TableState]:
    """Return the state of each existing table, by name.

    Raises:
        DatabaseError: The database cannot be reached.
    """
    with readable_database_errors(engine.url), engine.connect() as connection:
        tables = read_tables(connection, schema)
        estimates = connection.execute(_ESTIMATES, {"schema": schema, "names": list(tables)}).all()
    rows = Rows(engine, schema, tables, STATE_SECONDS, rules)
    return {name: _state(rows, name, estimate) for name, estimate in estimates}


def _state(rows: Rows, table: str, estimate: int | None) -> TableState:
    names = [name for name in TIMES.get(table, ()) if rows.can_query(table, name)]
    if not names:
        return TableState(estimate)
    columns = [rows.tables[table].c[name] for name in names]
    newest = [select(func.max(column)).where(rows.is_valid(column)).scalar_subquery() for column in columns]
    query = select(*newest)
    try:
        if rows.cost(query) > MOST_COST:
            return TableState(estimate, is_newest_unread=True)
        row = rows.fetch_row(query)
    except DBAPIError as error:  # too slow, or a view that cannot be read, which is a finding
        return TableState(estimate, is_newest_unread=sqlstate(error) == QUERY_CANCELED)
    times = [_instant(value, rows) for value in row if value is not None]
    return TableState(estimate, max(times, default=None))


def _instant(value: Any, rows: Rows) -> datetime:
    if value.tzinfo is None:
        return localize(pd.DatetimeIndex([value]), rows.rules.naive_zone)[0].to_pydatetime()
    return value.astimezone(timezone.utc)  # type: ignore[no-any-return]

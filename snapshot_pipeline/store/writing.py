"""What is done with rows on their way into our tables, whichever table it is.

Put here: removing rows by their keys, and columns that are the same for all rows of one publication.
Do not put here: which rows differ (`changes`), or what a table holds (`snapshots`, `cohorts`).
"""

from __future__ import annotations

from datetime import datetime

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa
from sqlalchemy import ColumnElement, Table, column, delete, func, select, table, text

from snapshot_pipeline.postgres import bulk

_REMOVED = "removed_rows"

# For the transaction alone. A day that the server does not know yet counts as empty: it would go through all that is to
# be removed for each row that it takes for the only one.
_NO_LOOPS = select(func.set_config("enable_nestloop", "off", True))


def remove(connection: adbc.Connection, target: Table, keys: pa.Table, *within: ColumnElement[bool]) -> None:
    """Remove rows of a table by their keys, inside the caller's transaction.

    Args:
        connection: An open transaction.
        target: The table.
        keys: Which rows: columns of the table that tell its rows apart, with their types.
        within: Conditions that all of them meet, by which the server finds them faster.
    """
    if not keys.num_rows:
        return
    removed = table(_REMOVED, *(column(name) for name in keys.column_names))
    bulk.create_temporary(connection, _REMOVED, keys)
    bulk.execute(connection, _NO_LOOPS)
    same = (target.c[name] == removed.c[name] for name in keys.column_names)
    bulk.execute(connection, delete(target).where(*same, *within))
    bulk.execute(connection, text(f"DROP TABLE {_REMOVED}"))


def stamped(rows: pa.Table, **stamps: datetime | str) -> pa.Table:
    """The rows with columns more, each of one value: a moment, with its zone, or a text."""
    for name, value in stamps.items():
        kind = pa.timestamp("us", "UTC") if isinstance(value, datetime) else pa.string()
        rows = rows.append_column(name, pa.repeat(pa.scalar(value, kind), rows.num_rows))
    return rows

"""How the summaries of a day get into our tables, and the rows that they are made of out of them.

Put here: reading what is summarized, and writing `day_summary` and `cohort_summary`.
Do not put here: what the figures mean (`metrics.cohorts`), or who belongs to which cohort (the platform knows).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import pandas as pd
import pyarrow as pa
from sqlalchemy import BigInteger, Date, Double, Select, Table, Text, select

from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.store.tables import StoreTables
from snapshot_pipeline.store.writing import remove, stamped

_ARROW: dict[type, pa.DataType] = {
    Date: pa.date32(),
    Text: pa.string(),
    BigInteger: pa.int64(),
    Double: pa.float64(),
}
_NOT_COMPARED = {"computed_at", "run_id"}

Row = tuple[Any, ...]


@dataclass(frozen=True)
class SummarizedDays:
    """Which days are replaced, when and by which run; the latter two are noted with the rows that change.

    Attributes:
        first: The first day.
        last: The last day, included.
        computed_at: When, with its zone.
        run_id: By which run.
    """

    first: date
    last: date
    computed_at: datetime
    run_id: str


def read_summarized(
    connection: adbc.Connection, tables: StoreTables, first: date, last: date
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The snapshots and the failures of the days `first … last`, as `metrics.cohorts.summarize` takes them."""
    snapshots, failures = tables.performance_snapshots, tables.snapshot_failures
    figures = select(
        snapshots.c.user_id,
        snapshots.c.snapshot_date,
        snapshots.c.pace_score,
        snapshots.c.quiz_average,
        snapshots.c.lessons_completed_count,
        snapshots.c.time_spent_minutes_today,
        snapshots.c.last_activity_date,
    ).where(snapshots.c.snapshot_date.between(first, last))
    failed = select(failures.c.user_id, failures.c.snapshot_date).where(failures.c.snapshot_date.between(first, last))
    return _frame(connection, figures), _frame(connection, failed)


def replace_summaries(
    connection: adbc.Connection,
    tables: StoreTables,
    summarized: SummarizedDays,
    days: pd.DataFrame,
    cohorts: pd.DataFrame,
) -> int:
    """Make the rows of exactly the days summarized those given, inside the caller's transaction.

    Only what differs is written: a row with the same figures is not touched, and keeps its `computed_at` and `run_id`.

    Args:
        connection: An open transaction.
        tables: Our tables.
        summarized: Which days.
        days: `metrics.cohorts.Summaries.days`.
        cohorts: `metrics.cohorts.Summaries.cohorts`.

    Returns:
        The rows of both tables that were written or removed.
    """
    return _replace(connection, tables.day_summary, summarized, days) + _replace(
        connection, tables.cohort_summary, summarized, cohorts
    )


def _replace(connection: adbc.Connection, target: Table, summarized: SummarizedDays, rows: pd.DataFrame) -> int:
    types = pa.schema({one.name: _ARROW[type(one.type)] for one in target.c if one.name not in _NOT_COMPARED})
    key = [one.name for one in target.primary_key]
    query = select(*(target.c[name] for name in types.names)).where(
        target.c.snapshot_date.between(summarized.first, summarized.last)
    )
    new = pa.table({one.name: pa.array(rows[one.name], from_pandas=True).cast(one.type) for one in types})
    before = _by_key(bulk.fetch(connection, query).cast(types), key)
    after = _by_key(new, key)
    gone = [one for one, row in before.items() if after.get(one) != row]
    written = [number for number, (one, row) in enumerate(after.items()) if before.get(one) != row]
    keys = pa.Table.from_pylist([dict(zip(key, one, strict=True)) for one in gone], pa.schema(map(types.field, key)))
    remove(connection, target, keys)
    changed = new.take(pa.array(written, pa.int64()))
    bulk.append(connection, target, stamped(changed, computed_at=summarized.computed_at, run_id=summarized.run_id))
    return len(after.keys() - before.keys()) + len(gone)


def _by_key(rows: pa.Table, key: list[str]) -> dict[Row, Row]:
    keys = zip(*(rows[name].to_pylist() for name in key), strict=True)
    values = zip(*(column.to_pylist() for column in rows.columns), strict=True)
    return dict(zip(keys, values, strict=True))


def _frame(connection: adbc.Connection, query: Select[Any]) -> pd.DataFrame:
    frame: pd.DataFrame = bulk.fetch(connection, query).to_pandas(date_as_object=False)
    return frame

"""The tables `day_summary` and `cohort_summary`: their source rows, publication, and queries of the weekly report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import pandas as pd
import pyarrow as pa
from sqlalchemy import Column, Connection, RowMapping, Table, select

from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.store.changes import delete_rows, with_constants
from snapshot_pipeline.store.tables import StoreTables

_KEY = ("snapshot_date", "specialization", "level")
_NOT_COMPARED = ("computed_at", "run_id")

Values = tuple[Any, ...]
Figures = Mapping[str, Any]
"""The figures of a group of students on a day, by column."""


@dataclass(frozen=True)
class SummaryScope:
    """The days `first … last`, whose summaries are replaced; time and run are recorded with the rows that change."""

    first: date
    last: date
    computed_at: datetime
    run_id: str


def read_summary_source(
    connection: adbc.Connection, tables: StoreTables, first: date, last: date
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The snapshots and the failures of the days `first … last`, as arguments of `metrics.cohorts.summarize`."""
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
    return bulk.fetch_frame(connection, figures), bulk.fetch_frame(connection, failed)


def replace_summaries(
    connection: adbc.Connection, tables: StoreTables, scope: SummaryScope, days: pd.DataFrame, cohorts: pd.DataFrame
) -> int:
    """Replace the rows of exactly the days in scope, inside the caller's transaction.

    Only differences are written: an unchanged row is not touched, and keeps its `computed_at` and `run_id`.

    Args:
        days: `metrics.cohorts.Summaries.days`.
        cohorts: `metrics.cohorts.Summaries.cohorts`.

    Returns:
        The number of rows written or deleted in both tables.
    """
    return _replace(connection, tables.day_summary, scope, days) + _replace(
        connection, tables.cohort_summary, scope, cohorts
    )


def day_summaries(connection: Connection, tables: StoreTables, first: date, last: date) -> dict[date, Figures]:
    """The figures over all students of the summarized days among `first … last`, ascending."""
    days = tables.day_summary
    query = (
        select(days.c.snapshot_date, *_figure_columns(days))
        .where(days.c.snapshot_date.between(first, last))
        .order_by(days.c.snapshot_date)
    )
    return {row["snapshot_date"]: _without_key(row) for row in connection.execute(query).mappings()}


def cohort_summaries(
    connection: Connection, tables: StoreTables, days: Sequence[date]
) -> dict[date, dict[tuple[str, str], Figures]]:
    """The figures of each cohort, by specialization and level, of the summarized days among `days`."""
    cohorts = tables.cohort_summary
    key = (cohorts.c.snapshot_date, cohorts.c.specialization, cohorts.c.level)
    query = select(*key, *_figure_columns(cohorts)).where(cohorts.c.snapshot_date.in_(days)).order_by(*key)
    summaries: dict[date, dict[tuple[str, str], Figures]] = {}
    for row in connection.execute(query).mappings():
        cohort = row["specialization"], row["level"]
        summaries.setdefault(row["snapshot_date"], {})[cohort] = _without_key(row)
    return summaries


def _replace(connection: adbc.Connection, target: Table, scope: SummaryScope, rows: pd.DataFrame) -> int:
    types = pa.schema({column.name: bulk.arrow_type(column) for column in target.c if column.name not in _NOT_COMPARED})
    key_names = [column.name for column in target.primary_key]
    query = select(*(target.c[name] for name in types.names)).where(
        target.c.snapshot_date.between(scope.first, scope.last)
    )
    new = pa.table({field.name: pa.array(rows[field.name], from_pandas=True).cast(field.type) for field in types})
    before = _by_key(bulk.fetch(connection, query).cast(types), key_names)
    after = _by_key(new, key_names)
    outdated = [key for key, values in before.items() if after.get(key) != values]
    to_write = [position for position, (key, values) in enumerate(after.items()) if before.get(key) != values]
    key_types = pa.schema(map(types.field, key_names))
    keys = pa.Table.from_pylist([dict(zip(key_names, key, strict=True)) for key in outdated], key_types)
    delete_rows(connection, target, keys)
    written = new.take(pa.array(to_write, pa.int64()))
    bulk.append(connection, target, with_constants(written, computed_at=scope.computed_at, run_id=scope.run_id))
    return len(after.keys() - before.keys()) + len(outdated)


def _by_key(rows: pa.Table, key_names: list[str]) -> dict[Values, Values]:
    keys = zip(*(rows[name].to_pylist() for name in key_names), strict=True)
    values = zip(*(column.to_pylist() for column in rows.columns), strict=True)
    return dict(zip(keys, values, strict=True))


def _figure_columns(table: Table) -> list[Column[Any]]:
    return [column for column in table.c if column.name not in (*_KEY, *_NOT_COMPARED)]


def _without_key(row: RowMapping) -> Figures:
    return {name: value for name, value in row.items() if name not in _KEY}

"""Questions to the summaries of days, and to what stands beside them on the page of a week.

Put here: what `pipeline.weekly_report` reads. Do not put here: how the summaries are made (`metrics`) or written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from sqlalchemy import Column, Connection, Table, func, select

from snapshot_pipeline.store.tables import StoreTables

_KEY = ("snapshot_date", "specialization", "level")
_NOT_FIGURES = (*_KEY, "computed_at", "run_id")

Row = Mapping[str, Any]
"""The figures of a group of students on a day, by column."""


def day_summaries(connection: Connection, tables: StoreTables, first: date, last: date) -> dict[date, Row]:
    """The figures over all students of those of the days `first … last` that were summarized, ascending."""
    days = tables.day_summary
    query = (
        select(days.c.snapshot_date, *_figures(days))
        .where(days.c.snapshot_date.between(first, last))
        .order_by(days.c.snapshot_date)
    )
    return {row["snapshot_date"]: _without_key(row) for row in connection.execute(query).mappings()}


def cohort_summaries(
    connection: Connection, tables: StoreTables, days: Sequence[date]
) -> dict[date, dict[tuple[str, str], Row]]:
    """The figures of each cohort, by specialization and level, of those of the days that were summarized."""
    cohorts = tables.cohort_summary
    key = (cohorts.c.snapshot_date, cohorts.c.specialization, cohorts.c.level)
    query = select(*key, *_figures(cohorts)).where(cohorts.c.snapshot_date.in_(days)).order_by(*key)
    found: dict[date, dict[tuple[str, str], Row]] = {}
    for row in connection.execute(query).mappings():
        cohort = row["specialization"], row["level"]
        found.setdefault(row["snapshot_date"], {})[cohort] = _without_key(row)
    return found


def active_students(connection: Connection, tables: StoreTables, first: date, last: date) -> int:
    """How many students did something on the days `first … last`, as the snapshots of the last of them know."""
    snapshots = tables.performance_snapshots
    query = select(func.count()).where(snapshots.c.snapshot_date == last, snapshots.c.last_activity_date >= first)
    return connection.execute(query).scalar_one()


def recommendations_by_week(
    connection: Connection, tables: StoreTables, first: date, last: date
) -> dict[date, dict[str, int]]:
    """How many recommendations were made for the weeks that begin on the days `first … last`, by type.

    Those that were dismissed or superseded since count as well: they were made.
    """
    made = tables.adaptive_recommendations
    query = (
        select(made.c.week_start, made.c.recommendation_type, func.count())
        .where(made.c.week_start.between(first, last))
        .group_by(made.c.week_start, made.c.recommendation_type)
        .order_by(made.c.week_start, made.c.recommendation_type)
    )
    found: dict[date, dict[str, int]] = {}
    for week, kind, count in connection.execute(query):
        found.setdefault(week, {})[kind] = count
    return found


def _figures(table: Table) -> list[Column[Any]]:
    return [column for column in table.c if column.name not in _NOT_FIGURES]


def _without_key(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in _KEY}

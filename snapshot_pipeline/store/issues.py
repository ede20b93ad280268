"""The table `data_issues`: invalid rows of the platform, which were corrected or ignored."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime

import adbc_driver_postgresql.dbapi as adbc
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    DateTime,
    and_,
    any_,
    cast,
    column,
    delete,
    distinct,
    exists,
    func,
    literal,
    or_,
    select,
    table,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.store.tables import StoreTables

_TYPES = {
    "source_table": pa.string(),
    "source_key": pa.string(),
    "issue": pa.string(),
    "user_id": pa.int64(),
    "day": pa.date32(),
    "detail": pa.string(),
}
_KEY = ("source_table", "source_key", "issue")
_FOUND = table("found_issues", *map(column, _TYPES))
_LISTED = (*_KEY, "user_id")
_DELETED = table("deleted_issues", *map(column, _LISTED))


@dataclass(frozen=True)
class IssueCount:
    """The issues of one kind of a day.

    Attributes:
        rows: Number of invalid rows.
        students: Number of students who have one.
        source_table: The table of the example.
        source_key: The key of the example, the first by table and key.
        detail: Column and value of the example.
    """

    issue: str
    rows: int
    students: int
    source_table: str
    source_key: str
    detail: str


@dataclass(frozen=True)
class ListedRow:
    """An invalid row, as `data_issues` lists it."""

    source_table: str
    source_key: str
    issue: str
    detail: str


def first_rows(connection: Connection, tables: StoreTables, day: date, count: int) -> list[ListedRow]:
    """The first invalid rows of a day, by table and key."""
    issues = tables.data_issues
    columns = (issues.c.source_table, issues.c.source_key, issues.c.issue, issues.c.detail)
    query = select(*columns).where(issues.c.day == day).order_by(*columns[:3]).limit(count)
    return [ListedRow(*row) for row in connection.execute(query)]


def listed_issues(connection: adbc.Connection, tables: StoreTables, user_ids: NDArray[np.int64]) -> pd.DataFrame:
    """Return `source_table`, `source_key`, `issue`, `user_id` of some students' listed issues; the ids ascend."""
    if not len(user_ids):
        return no_listed_issues()
    issues = tables.data_issues
    in_range = issues.c.user_id.between(int(user_ids[0]), int(user_ids[-1]))
    listed = bulk.fetch_frame(connection, select(*(issues.c[name] for name in _LISTED)).where(in_range))
    return listed[np.isin(listed["user_id"].to_numpy(np.int64), user_ids)]


def no_listed_issues() -> pd.DataFrame:
    """No issues: nothing was read again."""
    return pd.DataFrame({name: np.empty(0, dtype=object) for name in _LISTED})


def replace_issues(
    connection: adbc.Connection,
    tables: StoreTables,
    listed: pd.DataFrame,
    found: pd.DataFrame,
    computed_at: datetime,
) -> None:
    """Replace issues by those that were found, inside the caller's transaction.

    A row that is listed already keeps its `first_seen_at`.

    Args:
        listed: The issues of rows that were read again: those not found any more are deleted.
        found: See `metrics.corrections.issue_frame`.
    """
    target = tables.data_issues
    _delete(connection, tables, _rows(listed) - _rows(found))
    if found.empty:
        return
    rows = pa.table({name: pa.array(found[name], kind) for name, kind in _TYPES.items()})
    bulk.create_temporary(connection, _FOUND.name, rows)
    seen_at = literal(computed_at, DateTime(timezone=True))
    # Sorted by key, so that two runs of different days lock the rows in the same order.
    sorted_rows = select(*_FOUND.c, seen_at.label("first_seen_at"), seen_at.label("last_seen_at")).order_by(
        *(_FOUND.c[name] for name in _KEY)
    )
    statement = insert(target).from_select([*_TYPES, "first_seen_at", "last_seen_at"], sorted_rows)
    updated = {name: statement.excluded[name] for name in ("user_id", "day", "detail", "last_seen_at")}
    bulk.execute(connection, statement.on_conflict_do_update(index_elements=list(_KEY), set_=updated))


def _rows(issues: pd.DataFrame) -> set[tuple[object, ...]]:
    return set(issues[list(_LISTED)].itertuples(index=False, name=None))


def _delete(connection: adbc.Connection, tables: StoreTables, deleted: set[tuple[object, ...]]) -> None:
    if not deleted:
        return
    target = tables.data_issues
    rows = pa.table([pa.array(values) for values in zip(*deleted, strict=True)], names=list(_LISTED))
    bulk.create_temporary(connection, _DELETED.name, rows)
    is_deleted = tuple_(*(target.c[name] for name in _LISTED)).in_(select(*_DELETED.c))
    bulk.execute(connection, delete(target).where(is_deleted))


def delete_issues_of_inactive_students(
    connection: Connection, tables: StoreTables, user_ids: NDArray[np.int64]
) -> None:
    """Delete the issues of users who are not among the active students `user_ids`: their rows are not read."""
    issues = tables.data_issues
    listed = connection.execute(select(issues.c.user_id).distinct()).scalars().all()
    inactive = sorted(set(listed).difference(user_ids.tolist()))
    if inactive:
        connection.execute(delete(issues).where(issues.c.user_id == any_(cast(inactive, ARRAY(BigInteger)))))


def students_with_issues(connection: Connection, tables: StoreTables, first: date, last: date) -> dict[date, int]:
    """For the days `first … last` that have any: the students due on the day who have an issue of the day."""
    issues = tables.data_issues
    query = (
        select(issues.c.day, func.count(distinct(issues.c.user_id)))
        .where(_is_due(tables), issues.c.day.between(first, last))
        .group_by(issues.c.day)
    )
    return {day: students for day, students in connection.execute(query)}


def recount_students_with_issues(connection: Connection, tables: StoreTables, first: date, last: date) -> None:
    """Set the `students_with_issues` of the computed days `first … last`; no other run may be writing the days."""
    days = tables.snapshot_days
    counts = students_with_issues(connection, tables, first, last)
    connection.execute(update(days).where(days.c.snapshot_date.between(first, last)).values(students_with_issues=0))
    for day, count in counts.items():
        connection.execute(update(days).where(days.c.snapshot_date == day).values(students_with_issues=count))


def issues_by_day(
    connection: Connection, tables: StoreTables, first: date, last: date
) -> dict[date, tuple[IssueCount, ...]]:
    """The issues of the students due on each of the days `first … last`, the most frequent kind first."""
    issues = tables.data_issues
    numbered = (
        select(
            issues.c.day,
            issues.c.issue,
            issues.c.source_table,
            issues.c.source_key,
            issues.c.detail,
            func.count().over(partition_by=(issues.c.day, issues.c.issue)).label("rows"),
            func.row_number()
            .over(partition_by=(issues.c.day, issues.c.issue), order_by=(issues.c.source_table, issues.c.source_key))
            .label("number"),
        )
        .where(_is_due(tables), issues.c.day.between(first, last))
        .subquery()
    )
    students = (
        select(issues.c.day, issues.c.issue, func.count(distinct(issues.c.user_id)).label("students"))
        .where(_is_due(tables), issues.c.day.between(first, last))
        .group_by(issues.c.day, issues.c.issue)
        .subquery()
    )
    same_kind = and_(students.c.day == numbered.c.day, students.c.issue == numbered.c.issue)
    query = (
        select(
            numbered.c.day,
            numbered.c.issue,
            numbered.c.rows,
            students.c.students,
            numbered.c.source_table,
            numbered.c.source_key,
            numbered.c.detail,
        )
        .select_from(numbered.join(students, same_kind))
        .where(numbered.c.number == 1)
        .order_by(numbered.c.day, numbered.c.rows.desc(), numbered.c.issue)
    )
    by_day: defaultdict[date, list[IssueCount]] = defaultdict(list)
    for day, *values in connection.execute(query):
        by_day[day].append(IssueCount(*values))
    return {day: tuple(counts) for day, counts in by_day.items()}


def _is_due(tables: StoreTables) -> ColumnElement[bool]:
    """Whether the student of an issue has a snapshot or a failure on its day."""
    issues = tables.data_issues
    return or_(
        *(
            exists().where(source.c.user_id == issues.c.user_id, source.c.snapshot_date == issues.c.day)
            for source in (tables.performance_snapshots, tables.snapshot_failures)
        )
    )

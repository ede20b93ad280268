"""The tables `at_risk_students` and `at_risk_weeks`: publication of a week, and the numbers of several weeks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime, timedelta
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa
from sqlalchemy import (
    ColumnElement,
    Connection,
    Date,
    Integer,
    Select,
    Table,
    Update,
    and_,
    case,
    cast,
    column,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    table,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert

from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.store.tables import StoreTables

AT_RISK_ROWS = pa.schema(
    {
        "user_id": pa.int64(),
        "state": pa.string(),
        "score": pa.float64(),
        "results": pa.float32(),
        "presence": pa.float32(),
        "timeliness": pa.float32(),
        "recency": pa.float32(),
        "reasons": pa.string(),  # JSON
        "specialization": pa.string(),
        "level": pa.string(),
        "peers": pa.int32(),
    }
)
"""The columns of a computed week; `listed_since` follows from the stored weeks."""

_COMPUTED = table("computed_at_risk", *map(column, AT_RISK_ROWS.names))
_WEEK = timedelta(weeks=1)


@dataclass(frozen=True)
class AtRiskScope:
    """The week whose students at risk are replaced.

    Attributes:
        start: Its Monday.
        students: Number of active students.
        with_score: Number of those with an engagement score.
    """

    start: date
    students: int
    with_score: int
    computed_at: datetime
    run_id: str


@dataclass(frozen=True)
class AtRiskWeek:
    """The numbers of a computed week.

    Attributes:
        students: Active students.
        with_score: Those of them with an engagement score.
        states: Students by state.
        reasons: Students by code of a reason; a student has up to three.
        new: Students in this week's table who are not in that of the week before; None if that was not computed.
        left: Students in the table of the week before who are not in this week's; None likewise.
        median_weeks_listed: Of the students with the state `listed`; None without one.
    """

    start: date
    students: int
    with_score: int
    computed_at: datetime
    states: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    new: int | None = None
    left: int | None = None
    median_weeks_listed: float | None = None

    @property
    def total(self) -> int:
        return sum(self.states.values())


@dataclass(frozen=True)
class StoredAtRisk:
    """A row of `at_risk_students`, without the time of its computation."""

    user_id: int
    week_start: date
    state: str
    score: float | None
    results: float | None
    presence: float | None
    timeliness: float | None
    recency: float | None
    reasons: Sequence[Mapping[str, Any]]
    listed_since: date | None
    specialization: str | None
    level: str | None
    peers: int | None


def replace_at_risk(connection: adbc.Connection, tables: StoreTables, week: AtRiskScope, rows: pa.Table) -> int:
    """Publish a week inside the caller's transaction; `listed_since` of later weeks follows.

    Args:
        rows: At most one row per student, with the columns `AT_RISK_ROWS`.

    Returns:
        How many students have been added to the week, removed from it, or have other figures than before.
    """
    target = tables.at_risk_students
    of_week = target.c.week_start == literal(week.start, Date)
    bulk.create_temporary(connection, _COMPUTED.name, rows.cast(AT_RISK_ROWS))
    is_computed = exists().where(_COMPUTED.c.user_id == target.c.user_id)
    removed = _count(connection, target, of_week, ~is_computed)
    bulk.execute(connection, delete(target).where(of_week, ~is_computed))
    values: dict[str, ColumnElement[Any]] = {
        **dict(_COMPUTED.c.items()),
        "reasons": cast(_COMPUTED.c.reasons, JSONB),
        "week_start": literal(week.start, Date),
        "computed_at": literal(week.computed_at, target.c.computed_at.type),
    }
    statement = insert(target).from_select(list(values), select(*values.values()))
    figures = [name for name in AT_RISK_ROWS.names if name != "user_id"]
    differs = tuple_(*(target.c[name] for name in figures)).is_distinct_from(
        tuple_(*(statement.excluded[name] for name in figures))
    )
    updated = {name: statement.excluded[name] for name in (*figures, "computed_at")} | {"listed_since": None}
    bulk.execute(
        connection,
        statement.on_conflict_do_update(index_elements=["user_id", "week_start"], set_=updated, where=differs),
    )
    bulk.execute(connection, _update_listed_since(tables, week.start))
    numbers = {
        "students": week.students,
        "with_score": week.with_score,
        "computed_at": week.computed_at,
        "run_id": week.run_id,
    }
    record = insert(tables.at_risk_weeks).values(week_start=week.start, **numbers)
    bulk.execute(connection, record.on_conflict_do_update(index_elements=["week_start"], set_=numbers))
    is_written = target.c.computed_at == literal(week.computed_at, target.c.computed_at.type)
    return removed + _count(connection, target, of_week, is_written)


def _count(connection: adbc.Connection, table: Table, *conditions: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(table).where(*conditions)
    return int(bulk.fetch(connection, query).column(0)[0].as_py())


def withdraw_at_risk(connection: Connection, tables: StoreTables, week_start: date) -> int:
    """Delete a week; `listed_since` of later weeks follows. Returns how many students it had."""
    students, weeks = tables.at_risk_students, tables.at_risk_weeks
    deleted = connection.execute(delete(students).where(students.c.week_start == week_start)).rowcount
    connection.execute(delete(weeks).where(weeks.c.week_start == week_start))
    connection.execute(_update_listed_since(tables, week_start))
    return deleted


def at_risk_weeks(connection: Connection, tables: StoreTables, first: date, last: date) -> dict[date, AtRiskWeek]:
    """The numbers of the computed weeks that start on the days `first … last`, ascending."""
    students, weeks = tables.at_risk_students, tables.at_risk_weeks
    query = (
        select(weeks.c.week_start, weeks.c.students, weeks.c.with_score, weeks.c.computed_at)
        .where(weeks.c.week_start.between(first - _WEEK, last))
        .order_by(weeks.c.week_start)
    )
    computed = {row.week_start: row for row in connection.execute(query)}
    is_included = students.c.week_start.between(first, last)
    states = _counts(connection, select(students.c.week_start, students.c.state).where(is_included))
    reason = func.jsonb_array_elements(students.c.reasons).table_valued("value").render_derived("reason")
    code = func.jsonb_extract_path_text(cast(reason.c.value, JSONB), "code")
    with_code = select(students.c.week_start, code).select_from(students.join(reason, true())).where(is_included)
    reasons = _counts(connection, with_code)
    new = _without_neighbour(connection, tables, first, last, -7)
    left = _without_neighbour(connection, tables, first - _WEEK, last - _WEEK, 7)
    weeks_listed = (students.c.week_start - students.c.listed_since) / 7 + 1
    median = func.percentile_cont(0.5).within_group(weeks_listed)
    medians_query = (
        select(students.c.week_start, median).where(is_included, students.c.state == "listed").group_by("week_start")
    )
    medians = {week_start: float(value) for week_start, value in connection.execute(medians_query)}
    return {
        start: AtRiskWeek(
            start,
            row.students,
            row.with_score,
            row.computed_at,
            states.get(start, {}),
            reasons.get(start, {}),
            new.get(start, 0) if start - _WEEK in computed else None,
            left.get(start - _WEEK, 0) if start - _WEEK in computed else None,
            medians.get(start),
        )
        for start, row in computed.items()
        if start >= first
    }


def at_risk_by_cohort(
    connection: Connection, tables: StoreTables, weeks: Sequence[date]
) -> dict[date, dict[tuple[str, str], int]]:
    """The students at risk of some weeks by specialization and level; '' for none."""
    students = tables.at_risk_students
    cohort = [func.coalesce(students.c[name], "").label(name) for name in ("specialization", "level")]
    query = (
        select(students.c.week_start, *cohort, func.count().label("students"))
        .where(students.c.week_start.in_(weeks))
        .group_by(students.c.week_start, *cohort)
        .order_by(students.c.week_start, *cohort)
    )
    counts: dict[date, dict[tuple[str, str], int]] = {}
    for row in connection.execute(query):
        counts.setdefault(row.week_start, {})[row.specialization, row.level] = row.students
    return counts


def newest_at_risk_week(connection: Connection, tables: StoreTables) -> date | None:
    """The Monday of the newest computed week; None without one."""
    newest: date | None = connection.execute(select(func.max(tables.at_risk_weeks.c.week_start))).scalar()
    return newest


def students_at_risk(
    connection: Connection,
    tables: StoreTables,
    week_start: date,
    specialization: str | None = None,
    level: str | None = None,
) -> list[StoredAtRisk]:
    """The students of a week: the listed, the dormant, those not started; in each state the lowest score first.

    Args:
        specialization: Only the students who have it; None: all.
        level: Only the students who have it; None: all.
    """
    table = tables.at_risk_students
    wanted = {"week_start": week_start, "specialization": specialization, "level": level}
    conditions = [table.c[name] == value for name, value in wanted.items() if value is not None]
    position = case({"listed": 1, "dormant": 2}, value=table.c.state, else_=3)
    query = _rows(tables).where(*conditions).order_by(position, table.c.score.nulls_last(), table.c.user_id)
    return [StoredAtRisk(**row) for row in connection.execute(query).mappings()]


def weeks_at_risk(
    connection: Connection, tables: StoreTables, user_id: int, first: date, last: date
) -> list[StoredAtRisk]:
    """A student's weeks that start on the days `first … last`, ascending."""
    table = tables.at_risk_students
    query = _rows(tables).where(table.c.user_id == user_id, table.c.week_start.between(first, last))
    return [StoredAtRisk(**row) for row in connection.execute(query.order_by(table.c.week_start)).mappings()]


def _rows(tables: StoreTables) -> Select[Any]:
    return select(*(tables.at_risk_students.c[column.name] for column in fields(StoredAtRisk)))


def _counts(connection: Connection, rows: Select[Any]) -> dict[date, dict[str, int]]:
    """The number of rows by week and name, of two columns."""
    week_start, name = rows.subquery().c
    query = select(week_start, name, func.count()).group_by(week_start, name).order_by(name)
    counts: dict[date, dict[str, int]] = {}
    for week, value, count in connection.execute(query):
        counts.setdefault(week, {})[value] = count
    return counts


def _without_neighbour(
    connection: Connection, tables: StoreTables, first: date, last: date, days: int
) -> dict[date, int]:
    """The students by week, of the weeks from `first` to `last`, who are not in the week so many days later."""
    students, neighbour = tables.at_risk_students, tables.at_risk_students.alias("neighbour")
    is_neighbour = and_(
        neighbour.c.user_id == students.c.user_id, neighbour.c.week_start == students.c.week_start + days
    )
    query = (
        select(students.c.week_start, func.count())
        .where(students.c.week_start.between(first, last), ~exists().where(is_neighbour))
        .group_by(students.c.week_start)
    )
    return {week_start: count for week_start, count in connection.execute(query)}


def _update_listed_since(tables: StoreTables, first: date) -> Update:
    """Set `listed_since` of the weeks from `first` on, from the rows and from that of the week before.

    Consecutive weeks with the same state share the Monday of the first of them.
    """
    target = tables.at_risk_students
    rows = target.alias("rows")
    before = literal(first - _WEEK, Date)
    previous = func.lag(rows.c.week_start).over(partition_by=(rows.c.user_id, rows.c.state), order_by=rows.c.week_start)
    is_first = or_(previous.is_(None), previous != rows.c.week_start - cast(7, Integer))
    begins = case((is_first, case((rows.c.week_start == before, rows.c.listed_since), else_=rows.c.week_start)))
    numbered = (
        select(rows.c.user_id, rows.c.week_start, rows.c.state, begins.label("begins"))
        .where(rows.c.week_start >= before, rows.c.state != "not_started")
        .subquery("numbered")
    )
    since = func.max(numbered.c.begins).over(
        partition_by=(numbered.c.user_id, numbered.c.state), order_by=numbered.c.week_start
    )
    current = select(numbered.c.user_id, numbered.c.week_start, since.label("since")).subquery("current")
    return (
        update(target)
        .where(
            target.c.user_id == current.c.user_id,
            target.c.week_start == current.c.week_start,
            target.c.week_start >= literal(first, Date),
            target.c.listed_since.is_distinct_from(current.c.since),
        )
        .values(listed_since=current.c.since)
    )

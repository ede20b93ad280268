"""Queries of the rows, each read-only and with a time limit, and the findings about duplicates and references."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Engine,
    Executable,
    Numeric,
    Row,
    Select,
    String,
    and_,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
    text,
    true,
)
from sqlalchemy.exc import DBAPIError

from snapshot_pipeline.platform.contract.catalogs import TAKES_CONSTRAINTS, FoundTable
from snapshot_pipeline.platform.contract.findings import Finding, create_index, with_count
from snapshot_pipeline.platform.contract.requirements import KEYS, REFERENCES, ROW_KEYS, TIMES
from snapshot_pipeline.platform.tables import platform_metadata
from snapshot_pipeline.platform.timestamps import EARLIEST, bounds
from snapshot_pipeline.postgres.errors import QUERY_CANCELED, sqlstate

MANY_DANGLING = 0.05
"""The share of rows that refer to nothing from which they are advice: a few are deleted users or lessons."""

_CONSEQUENCES = {
    ("user_lesson_progress", "user_id"): "they are ignored",
    ("user_lesson_progress", "lesson_id"): "they count as lessons of their students, but are never recommended",
    ("quizzes", "lesson_id"): "these lessons are never recommended for review",
    ("quiz_attempts", "user_id"): "they are ignored",
    ("quiz_attempts", "quiz_id"): "their scores count, but no lesson is recommended for review because of them",
    ("exercise_submissions", "user_id"): "they are ignored",
}


@dataclass(frozen=True)
class RowRules:
    """How the rows are read and which of them are checked.

    Attributes:
        naive_zone: The zone of timestamps without one.
        student_roles: The roles of students, compared trimmed and in any case.
        score_maximum: The score of full marks.
        recent_days: How many days back rows are checked; None for all rows. Tables without times are checked whole.
    """

    naive_zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    student_roles: tuple[str, ...] = ("student",)
    score_maximum: float = 100
    recent_days: int | None = None


class Rows:
    """Runs queries of one row, read-only and with a time limit.

    Attributes:
        tables: The platform's tables by name, for queries; their timestamps have a zone if the database's have.
    """

    def __init__(
        self,
        engine: Engine,
        schema: str,
        found: Mapping[str, FoundTable],
        seconds: float,
        rules: RowRules | None = None,
    ) -> None:
        self._engine = engine
        self._seconds = seconds
        self._moment = datetime.now(timezone.utc)
        self.schema = schema
        self.found = found
        self.rules = rules or RowRules()
        self.tables = {table.name: table for table in platform_metadata(schema).tables.values()}
        for name, columns in TIMES.items():
            for column in columns:
                if name in found and column in found[name].columns:
                    has_zone = found[name].columns[column].type_name != "timestamp"
                    self.tables[name].c[column].type = DateTime(timezone=has_zone)
        for name, existing in found.items():
            for column, properties in existing.columns.items():
                if properties.type_name == "numeric":
                    self.tables[name].c[column].type = Numeric()

    def can_query(self, table: str, *columns: str) -> bool:
        """Return whether the table has the columns, with accepted types, and the role may read them."""
        return table in self.found and self.found[table].is_queryable(*columns)

    @property
    def period(self) -> str:
        """` of the last 60 days`, or an empty text if all rows are checked."""
        days = self.rules.recent_days
        return "" if days is None else f" of the last {with_count(days, 'day', 'days')}"

    def is_recent(self, table: str) -> ColumnElement[bool]:
        """Return whether a row belongs to the checked days by one of its times."""
        times = [self.tables[table].c[name] for name in TIMES.get(table, ()) if self.can_query(table, name)]
        if self.rules.recent_days is None or not times:
            return true()
        since = self._moment - timedelta(days=self.rules.recent_days)
        return or_(*(column >= self._bound(column, since) for column in times))

    def is_early(self, column: ColumnElement[Any]) -> ColumnElement[bool]:
        """Return whether a time is before 2000."""
        return column < self._bound(column, EARLIEST)

    def is_future(self, column: ColumnElement[Any], by: timedelta = timedelta(0)) -> ColumnElement[bool]:
        """Return whether a time is later than now, by more than `by`."""
        return column >= self._bound(column, self._moment + by + timedelta(microseconds=1))

    def is_valid(self, column: ColumnElement[Any]) -> ColumnElement[bool]:
        """Return whether a time is neither before 2000 nor in the future; null for null."""
        return and_(~self.is_early(column), ~self.is_future(column))

    def example(self, table: str, *columns: str) -> ColumnElement[str]:
        """Return the text `user_id 1, lesson_id 8, started_at …` of a row, without null values."""
        names = (*(name for name in ROW_KEYS.get(table, ("id",)) if self.can_query(table, name)), *columns)
        source = self.tables[table].c
        return func.concat_ws(", ", *(literal(f"{name} ") + cast(source[name], String) for name in names))

    def _bound(self, column: ColumnElement[Any], instant: datetime) -> ColumnElement[Any]:
        return literal(bounds(column, [instant], self.rules.naive_zone)[0], column.type)

    def findings(
        self, table: str, question: str, query: Executable, judge: Callable[[Row[Any]], Finding | None]
    ) -> Iterator[Finding]:
        """Yield the finding of `judge` about the query's row; a timeout or an error is a finding, too."""
        try:
            row = self.fetch_row(query)
        except DBAPIError as error:
            if sqlstate(error) == QUERY_CANCELED:
                took = f"was not checked: the query took longer than {self._seconds:g} s"
                yield Finding("advice", table, f"{question} {took}; run the check again when the database is less busy")
            else:
                message = " ".join(str(error.orig).split())
                yield Finding("error", table, "cannot be read; fix the table or view", detail=message)
            return
        if (finding := judge(row)) is not None:
            yield finding

    def fetch_row(self, query: Executable) -> Row[Any]:
        """Return the query's row.

        Raises:
            DBAPIError: The query fails, or takes too long.
        """
        with self._engine.begin() as connection:
            connection.execute(text("SET TRANSACTION READ ONLY"))
            limit = str(max(1, round(self._seconds * 1000)))
            connection.execute(select(func.set_config("statement_timeout", limit, True)))
            return connection.execute(query).one()

    def cost(self, query: Select[Any]) -> float:
        """Return the planner's estimate of a query's cost, in pages read one after the other; nothing is read.

        Raises:
            DBAPIError: The query fails.
        """
        with self._engine.connect() as connection:
            compiled = query.compile(connection)
            plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {compiled}", compiled.params).scalar_one()
        return float(plan[0]["Plan"]["Total Cost"])


def row_findings(rows: Rows) -> Iterator[Finding]:
    """Yield findings about duplicate keys and dangling references in the tables that can be queried."""
    for name, columns in KEYS.items():
        if rows.can_query(name, *columns) and not rows.found[name].is_unique(columns):
            yield from _duplicate_findings(rows.found[name], columns, rows)
    for name, column, target in REFERENCES:
        if (
            rows.can_query(name, column)
            and rows.can_query(target, "id")
            and (column, target) not in rows.found[name].references
        ):
            yield from _dangling_findings(name, column, target, rows)


def _duplicate_findings(table: FoundTable, columns: tuple[str, ...], rows: Rows) -> Iterator[Finding]:
    source = rows.tables[table.name]
    key = [source.c[column] for column in columns]
    repeated = (
        select(*key, func.count().label("how_often"))
        .where(rows.is_recent(table.name), *(column.is_not(None) for column in key))
        .group_by(*key)
        .having(func.count() > 1)
        .cte("repeated")
    )
    example = select(*repeated.c).order_by(*(repeated.c[column] for column in columns)).limit(1).cte("example")
    count = select(func.count()).select_from(repeated).scalar_subquery()
    query = select(count.label("repeated_keys"), *(select(part).scalar_subquery() for part in example.c))
    names = ", ".join(columns)
    period = rows.period if table.name in TIMES else ""
    is_corrected = table.name == "user_lesson_progress"
    consequence = (
        "one row counts, a completed one first, with the largest minutes; keep one of each on the platform"
        if is_corrected
        else "such rows would count twice; keep one of each"
    )

    def judge(row: Row[Any]) -> Finding | None:
        repeated_keys, *values, how_often = tuple(row)
        if repeated_keys:
            example_key = ", ".join(f"{column} {number}" for column, number in zip(columns, values, strict=True))
            return Finding(
                "note" if is_corrected else "error",
                table.name,
                f"{with_count(repeated_keys, f'({names}) is', f'({names}) are')} in more than one row{period}: "
                f"{consequence}",
                detail=f"e.g. {example_key} in {how_often}",
            )
        if table.kind not in TAKES_CONSTRAINTS:
            return None
        return Finding(
            "advice",
            table.name,
            f"no row{period} repeats ({names}) now, but nothing prevents it; create a unique index",
            create_index(table, columns, rows.schema, unique=True),
        )

    yield from rows.findings(table.name, f"whether rows repeat ({names})", query, judge)


def _dangling_findings(name: str, column: str, target: str, rows: Rows) -> Iterator[Finding]:
    source, known = rows.tables[name].c[column], rows.tables[target].c.id
    all_rows = select(func.count(source)).where(rows.is_recent(name)).scalar_subquery()
    query = select(all_rows.label("all_rows"), func.count().label("how_many"), func.min(source).label("example")).where(
        rows.is_recent(name), source.is_not(None), ~exists(select(literal(1)).where(known == source))
    )

    def judge(row: Row[Any]) -> Finding | None:
        if not row.how_many:
            return None
        subject = with_count(row.how_many, "row", "rows")
        has = "has" if row.how_many == 1 else "have"
        return Finding(
            "advice" if row.how_many >= MANY_DANGLING * row.all_rows else "note",
            name,
            f"{subject}{rows.period if name in TIMES else ''} {has} a {column} that is not in {target}; "
            f"{_CONSEQUENCES[name, column]}: delete them, or find out why the {target} are missing",
            detail=f"e.g. {column} {row.example}",
        )

    yield from rows.findings(name, f"whether every {column} is in {target}", query, judge)

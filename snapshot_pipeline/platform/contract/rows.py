"""Findings about the rows, each from a read-only query with a time limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Engine, Executable, Row, String, and_, cast, exists, func, literal, select, text
from sqlalchemy.exc import DBAPIError

from snapshot_pipeline.platform.contract.catalogs import TAKES_CONSTRAINTS, FoundTable
from snapshot_pipeline.platform.contract.findings import Finding, create_index, with_count
from snapshot_pipeline.platform.contract.requirements import KEYS, REFERENCES
from snapshot_pipeline.platform.tables import platform_metadata

_QUERY_CANCELED = "57014"


class Rows:
    """Runs queries of one row, read-only and with a time limit."""

    def __init__(self, engine: Engine, schema: str, seconds: float) -> None:
        self._engine = engine
        self._seconds = seconds
        self.schema = schema
        self.tables = {table.name: table for table in platform_metadata(schema).tables.values()}

    def findings(
        self, table: str, question: str, query: Executable, judge: Callable[[Row[Any]], Finding | None]
    ) -> Iterator[Finding]:
        """Yield the finding of `judge` about the query's row; a timeout or an error is a finding, too."""
        try:
            with self._engine.begin() as connection:
                connection.execute(text("SET TRANSACTION READ ONLY"))
                limit = str(max(1, round(self._seconds * 1000)))
                connection.execute(select(func.set_config("statement_timeout", limit, True)))
                row = connection.execute(query).one()
        except DBAPIError as error:
            if getattr(error.orig, "pgcode", None) == _QUERY_CANCELED:
                took = f"was not checked: the query took longer than {self._seconds:g} s"
                yield Finding("advice", table, f"{question} {took}; run the check again when the database is less busy")
            else:
                message = " ".join(str(error.orig).split())
                yield Finding("error", table, f"cannot be read: {message}; fix the table or view")
            return
        if (finding := judge(row)) is not None:
            yield finding


def row_findings(tables: dict[str, FoundTable], rows: Rows) -> Iterator[Finding]:
    """Yield findings about students, duplicate keys and dangling references in the tables that can be queried."""
    yield from _student_findings(tables, rows)
    for name, columns in KEYS.items():
        if name in tables and tables[name].is_queryable(*columns) and not tables[name].is_unique(columns):
            yield from _duplicate_findings(tables[name], columns, rows)
    for name, column, target in REFERENCES:
        if (
            name in tables
            and target in tables
            and tables[name].is_queryable(column)
            and tables[target].is_queryable("id")
            and (column, target) not in tables[name].references
        ):
            yield from _dangling_findings(name, column, target, rows)


def _student_findings(tables: dict[str, FoundTable], rows: Rows) -> Iterator[Finding]:
    if "users" not in tables or not tables["users"].is_queryable("role", "is_active"):
        return
    users = rows.tables["users"]
    student = and_(func.upper(cast(users.c.role, String)) == "STUDENT", users.c.is_active)

    def judge(row: Row[Any]) -> Finding | None:
        if row.has_students:
            return None
        return Finding(
            "advice",
            "users",
            "there is no active student (role STUDENT in upper or lower case, is_active true), so no snapshot would be "
            "published; check the values of role",
        )

    query = select(exists(select(literal(1)).select_from(users).where(student)).label("has_students"))
    yield from rows.findings("users", "whether there are students", query, judge)


def _duplicate_findings(table: FoundTable, columns: tuple[str, ...], rows: Rows) -> Iterator[Finding]:
    source = rows.tables[table.name]
    key = [source.c[column] for column in columns]
    repeated = (
        select(*key, func.count().label("how_often"))
        .where(*(column.is_not(None) for column in key))
        .group_by(*key)
        .having(func.count() > 1)
        .cte("repeated")
    )
    example = select(*repeated.c).order_by(*(repeated.c[column] for column in columns)).limit(1).cte("example")
    count = select(func.count()).select_from(repeated).scalar_subquery()
    query = select(count.label("repeated_keys"), *(select(part).scalar_subquery() for part in example.c))
    names = ", ".join(columns)

    def judge(row: Row[Any]) -> Finding | None:
        repeated_keys, *values, how_often = tuple(row)
        if repeated_keys:
            example_key = ", ".join(f"{column} {number}" for column, number in zip(columns, values, strict=True))
            return Finding(
                "error",
                table.name,
                f"{with_count(repeated_keys, f'({names}) is', f'({names}) are')} in more than one row, e.g. "
                f"{example_key} in {how_often}: such rows would count twice; keep one of each",
            )
        if table.kind not in TAKES_CONSTRAINTS:
            return None
        return Finding(
            "advice",
            table.name,
            f"no row repeats ({names}) now, but nothing prevents it; create a unique index",
            create_index(table, columns, rows.schema, unique=True),
        )

    yield from rows.findings(table.name, f"whether rows repeat ({names})", query, judge)


def _dangling_findings(name: str, column: str, target: str, rows: Rows) -> Iterator[Finding]:
    source, known = rows.tables[name].c[column], rows.tables[target].c.id
    query = select(func.count().label("how_many"), func.min(source).label("example")).where(
        source.is_not(None), ~exists(select(literal(1)).where(known == source))
    )

    def judge(row: Row[Any]) -> Finding | None:
        if not row.how_many:
            return None
        subject = with_count(row.how_many, "row has", "rows have")
        return Finding(
            "advice",
            name,
            f"{subject} a {column} that is not in {target}, e.g. {row.example}; they are ignored: delete them, or "
            f"find out why the {target} are missing",
        )

    yield from rows.findings(name, f"whether every {column} is in {target}", query, judge)

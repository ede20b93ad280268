"""Bulk transfers between PostgreSQL and frames, as Arrow over ADBC.

Put here: how a SQLAlchemy statement is run on an ADBC connection, and how a frame goes into a table by binary COPY.
Do not put here: any particular query (`platform.reads`, `store`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa
from sqlalchemy import BigInteger, ColumnElement, Date, DateTime, Dialect, Executable, String, Table, cast, literal
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.sql.expression import ClauseElement

from snapshot_pipeline.errors import cut_in_the_middle

LONGEST_MESSAGE = 4_000
"""Characters of an error of the driver that are kept."""


class _Moment(DateTime):
    """Written with its type: a bare text would be compared as a text with a column that is one, and find anything."""

    def literal_processor(self, dialect: Dialect) -> Callable[[datetime], str]:
        def written(value: datetime) -> str:
            return f"{'TIMESTAMP' if value.tzinfo is None else 'TIMESTAMP WITH TIME ZONE'} '{value.isoformat(' ')}'"

        return written


class _Day(Date):
    """Written with its type, for the same reason."""

    def literal_processor(self, dialect: Dialect) -> Callable[[date], str]:
        return lambda value: f"DATE '{value.isoformat()}'"


class _AdbcDialect(PGDialect):
    """Plain PostgreSQL, whose values can be written into a statement."""

    colspecs = {**PGDialect.colspecs, DateTime: _Moment, Date: _Day}  # noqa: RUF012  # as SQLAlchemy declares it
    supports_statement_cache = True
    _backslash_escapes = False  # a plain character (standard_conforming_strings, on since PostgreSQL 9.1)


# ADBC takes $1, $2, …
_DIALECT = _AdbcDialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]


@contextmanager
def shared_type_cache(*uris: str) -> Iterator[None]:
    """Within, transactions of this process share what the driver learns of a database's types at its first connection.

    Learning takes a tenth of the time of a small run, and each connection learns for itself; so the first one is kept
    open, and the others are made from it. They are no less independent of it, or of its loss.

    Args:
        uris: The databases.
    """
    with ExitStack() as scopes:
        for uri in set(uris):
            scopes.enter_context(_remembered(uri))
        yield


@contextmanager
def _remembered(uri: str) -> Iterator[None]:
    with _TURN:
        known = _KNOWN.setdefault(uri, _Known(uri))
        known.scopes += 1
    try:
        yield
    finally:
        with _TURN:
            known.scopes -= 1
            if not known.scopes:
                del _KNOWN[uri]
                known.forget()


@dataclass
class _Known:
    """A database from whose first connection the others are made; used within `_TURN`.

    Attributes:
        uri: Where it is.
        scopes: How many `shared_type_cache` are open.
        first: The first connection, once there has been one.
    """

    uri: str = field(repr=False)
    scopes: int = 0
    first: adbc.Connection | None = None

    def connect(self) -> adbc.Connection:
        if self.first is None:
            self.first = adbc.connect(self.uri)
        return self.first.adbc_clone()

    def forget(self) -> None:
        if self.first is not None:
            self.first.close()


_KNOWN: dict[str, _Known] = {}
_TURN = threading.Lock()


def _connect(uri: str) -> adbc.Connection:
    with _TURN:
        if known := _KNOWN.get(uri):
            return known.connect()
    return adbc.connect(uri)


@contextmanager
def transaction(uri: str) -> Iterator[adbc.Connection]:
    """Open a connection and a transaction on it; committed at the end, rolled back on an error.

    Args:
        uri: Where the database is, as libpq wants it (`database.adbc_uri`).
    """
    with _connect(uri) as connection:
        try:
            yield connection
        except BaseException:
            # Where the connection is lost, rolling back fails too, and would hide the error that says so.
            with suppress(adbc.Error):
                connection.rollback()
            raise
        connection.commit()


def fetch(connection: adbc.Connection, query: Executable) -> pa.Table:
    """Run a query and return its rows as one Arrow table.

    The values are written into the statement, since the driver streams (`COPY`) only what has no parameters; a query
    with parameters is held as a whole in the client's memory, four times as large, before the first row is converted.
    """
    assert isinstance(query, ClauseElement)  # noqa: S101  # narrows the type: every Core statement is one
    statement = str(query.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))
    with _shown_in_part(), connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetch_arrow_table()


@contextmanager
def _shown_in_part() -> Iterator[None]:
    """Keep an error from repeating a long statement as a whole, as the driver does: it goes into every log."""
    try:
        yield
    except adbc.Error as error:
        message = str(error)
        if len(message) <= LONGEST_MESSAGE:
            raise
        shown = cut_in_the_middle(message, LONGEST_MESSAGE)
        raise type(error)(
            shown, status_code=error.status_code, vendor_code=error.vendor_code, sqlstate=error.sqlstate
        ) from None


def integers(values: Sequence[int]) -> ColumnElement[Any]:
    """A list of integers as one `bigint[]`, also where it is empty, for a query that is fetched."""
    return cast(literal(f"{{{','.join(map(str, values))}}}", String), ARRAY(BigInteger))


def execute(connection: adbc.Connection, statement: Executable) -> None:
    """Run a statement that returns no rows."""
    with connection.cursor() as cursor:
        cursor.execute(*_compiled(statement))


def append(connection: adbc.Connection, table: Table, rows: pa.Table) -> None:
    """Append rows to a table by binary COPY; the Arrow types must be those of the columns.

    Args:
        connection: An open transaction.
        table: The target; its schema is respected.
        rows: Columns by name; those that are left out take their default.
    """
    if rows.num_rows:
        with connection.cursor() as cursor:
            cursor.adbc_ingest(table.name, rows, mode="append", db_schema_name=table.schema)


def create_temporary(connection: adbc.Connection, name: str, rows: pa.Table) -> None:
    """Make a temporary table of the rows; it goes with the connection."""
    with connection.cursor() as cursor:
        cursor.adbc_ingest(name, rows, mode="create", temporary=True)


def _compiled(statement: Executable) -> tuple[str, list[Any] | None]:
    assert isinstance(statement, ClauseElement)  # noqa: S101  # narrows the type: every Core statement is one
    compiled = statement.compile(dialect=_DIALECT)
    # DDL has no parameters, and its compiler not even an empty list of them.
    parameters = [compiled.params[name] for name in getattr(compiled, "positiontup", None) or ()]
    return str(compiled), parameters or None

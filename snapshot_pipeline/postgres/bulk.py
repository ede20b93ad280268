"""Bulk transfers between PostgreSQL and Arrow tables: SQLAlchemy statements on ADBC connections, and binary COPY."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import pandas as pd
import pyarrow as pa
from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Date,
    DateTime,
    Dialect,
    Double,
    Executable,
    Integer,
    String,
    Table,
    cast,
    literal,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.sql.expression import ClauseElement

from snapshot_pipeline.errors import truncate_middle
from snapshot_pipeline.postgres.sessions import session_settings, set_statement

MAX_MESSAGE_LENGTH = 4_000
"""Characters of a driver's error message that are kept."""

_ARROW_TYPES: tuple[tuple[type, pa.DataType], ...] = (
    (BigInteger, pa.int64()),
    (Integer, pa.int32()),
    (Boolean, pa.bool_()),
    (Date, pa.date32()),
    (DateTime, pa.timestamp("us", tz="UTC")),
    (Double, pa.float64()),
    (REAL, pa.float32()),
    (String, pa.string()),
)


class _TypedDateTime(DateTime):
    """Render a literal with its type: as an untyped literal it would be compared with a text column as text."""

    def literal_processor(self, dialect: Dialect) -> Callable[[datetime], str]:
        def render(value: datetime) -> str:
            return f"{'TIMESTAMP' if value.tzinfo is None else 'TIMESTAMP WITH TIME ZONE'} '{value.isoformat(' ')}'"

        return render


class _TypedDate(Date):
    """Render a literal with its type, for the same reason."""

    def literal_processor(self, dialect: Dialect) -> Callable[[date], str]:
        return lambda value: f"DATE '{value.isoformat()}'"


class _AdbcDialect(PGDialect):
    """PostgreSQL with values that can be rendered as literals."""

    colspecs = {**PGDialect.colspecs, DateTime: _TypedDateTime, Date: _TypedDate}  # noqa: RUF012  # as in SQLAlchemy
    supports_statement_cache = True
    _backslash_escapes = False  # a plain character (standard_conforming_strings, on since PostgreSQL 9.1)


# ADBC takes $1, $2, …
_DIALECT = _AdbcDialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]


@contextmanager
def shared_type_cache(*uris: str) -> Iterator[None]:
    """Let all connections to these databases share the types that the driver reads at the first connection.

    Reading the types takes 60 ms, a tenth of a small run, and each connection would do it again. So the first
    connection stays open, and the others are cloned from it. A clone has its own session, and works on when the first
    session is lost.
    """
    with ExitStack() as scopes:
        for uri in set(uris):
            scopes.enter_context(_sharing(uri))
        yield


@contextmanager
def _sharing(uri: str) -> Iterator[None]:
    with _LOCK:
        first = _FIRST_CONNECTIONS.setdefault(uri, _FirstConnection(uri))
        first.scopes += 1
    try:
        yield
    finally:
        with _LOCK:
            first.scopes -= 1
            if not first.scopes:
                del _FIRST_CONNECTIONS[uri]
                first.close()


@dataclass
class _FirstConnection:
    """The first connection to a database, from which the others are cloned; guarded by `_LOCK`.

    Attributes:
        scopes: Number of `shared_type_cache` contexts that are open for this database.
        connection: None until the first use.
    """

    uri: str = field(repr=False)
    scopes: int = 0
    connection: adbc.Connection | None = None

    def clone(self) -> adbc.Connection:
        if self.connection is None:
            self.connection = adbc.connect(self.uri)
        return self.connection.adbc_clone()

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()


_FIRST_CONNECTIONS: dict[str, _FirstConnection] = {}

_LOCK = threading.Lock()
"""Held while a connection is opened or closed: the driver counts them without a lock (apache/arrow-adbc#4753)."""


@contextmanager
def _connected(uri: str) -> Iterator[adbc.Connection]:
    with _LOCK:
        first = _FIRST_CONNECTIONS.get(uri)
        connection = first.clone() if first else adbc.connect(uri)
    try:
        with connection.cursor() as cursor:
            cursor.execute(set_statement(session_settings(uri)))
        connection.commit()
        yield connection
    finally:
        with _LOCK:
            connection.close()


@contextmanager
def transaction(uri: str) -> Iterator[adbc.Connection]:
    """Open a connection with a transaction, which is committed at the end and rolled back on an error."""
    with _connected(uri) as connection:
        try:
            yield connection
        except BaseException:
            # When the connection is lost, the rollback fails too, and would hide the first error.
            with suppress(adbc.Error):
                connection.rollback()
            raise
        connection.commit()


def fetch(connection: adbc.Connection, query: Executable) -> pa.Table:
    """Run a query and return its rows as one Arrow table.

    The values are rendered into the statement, since the driver streams (`COPY`) only statements without parameters.
    The result of a statement with parameters is held in the client's memory as a whole, four times as large, before the
    first row is converted.
    """
    assert isinstance(query, ClauseElement)  # noqa: S101  # narrows the type: every Core statement is a ClauseElement
    statement = str(query.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))
    with _truncated_errors(), connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetch_arrow_table()


@contextmanager
def _truncated_errors() -> Iterator[None]:
    """Shorten error messages, in which the driver repeats the whole statement: they go into every log."""
    try:
        yield
    except adbc.Error as error:
        message = str(error)
        if len(message) <= MAX_MESSAGE_LENGTH:
            raise
        raise type(error)(
            truncate_middle(message, MAX_MESSAGE_LENGTH),
            status_code=error.status_code,
            vendor_code=error.vendor_code,
            sqlstate=error.sqlstate,
        ) from None


def arrow_type(column: Column[Any]) -> pa.DataType:
    """The Arrow type of a column's values; `bigint` is int64, `integer` int32, timestamps are microseconds in UTC."""
    return next(arrow for sql, arrow in _ARROW_TYPES if isinstance(column.type, sql))


def fetch_frame(connection: adbc.Connection, query: Executable) -> pd.DataFrame:
    """As `fetch`, as a data frame whose dates are `datetime64`."""
    frame: pd.DataFrame = fetch(connection, query).to_pandas(date_as_object=False)
    return frame


def integers(values: Sequence[int]) -> ColumnElement[Any]:
    """Return integers as one `bigint[]` expression for `fetch`, also when there are none."""
    return cast(literal(f"{{{','.join(map(str, values))}}}", String), ARRAY(BigInteger))


def execute(connection: adbc.Connection, statement: Executable) -> None:
    """Run a statement that returns no rows."""
    assert isinstance(statement, ClauseElement)  # noqa: S101  # narrows the type, as in `fetch`
    compiled = statement.compile(dialect=_DIALECT)
    # The compiler of DDL has no list of parameters, not even an empty one.
    parameters = [compiled.params[name] for name in getattr(compiled, "positiontup", None) or ()]
    with connection.cursor() as cursor:
        cursor.execute(str(compiled), parameters or None)


def append(connection: adbc.Connection, table: Table, rows: pa.Table) -> None:
    """Append rows, with columns of `arrow_type`, to a table by binary COPY; missing columns take their default."""
    if rows.num_rows:
        with connection.cursor() as cursor:
            cursor.adbc_ingest(table.name, rows, mode="append", db_schema_name=table.schema)


def create_temporary(connection: adbc.Connection, name: str, rows: pa.Table) -> None:
    """Create a temporary table from rows; it is dropped with the connection."""
    with connection.cursor() as cursor:
        cursor.adbc_ingest(name, rows, mode="create", temporary=True)

"""Platform tables that the pipeline created itself: how they are marked, and how they are replaced.

The comment (`COMMENT ON TABLE`) of such a table begins with `MARKER`. A platform's own tables have no such comment, and
nothing in this package drops, creates or fills a table without it.

Rows are sent as Arrow through ADBC's binary COPY: a million progress rows took 1.2 s, against 7.3 s as CSV through
psycopg2. Keys and indexes are built after the rows, which also lets the server find duplicates over the whole table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa
from sqlalchemy import (
    DDL,
    URL,
    Index,
    String,
    Table,
    UniqueConstraint,
    cast,
    func,
    select,
)
from sqlalchemy import column as sql_column
from sqlalchemy import table as sql_table
from sqlalchemy.schema import AddConstraint, CreateIndex, CreateSchema, CreateTable, DropTable, SetTableComment

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.platform.tables import ADVISED_INDEXES, TABLE_NAMES, platform_metadata
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.postgres.errors import INSUFFICIENT_PRIVILEGE, UNIQUE_VIOLATION, readable_database_errors
from snapshot_pipeline.postgres.urls import adbc_uri, masked_url

MARKER = "created by snapshot_pipeline"
"""The beginning of the comment of a table that the pipeline created."""

_COMMENT = f"{MARKER}: `snapshot-pipeline load` and `snapshot-pipeline sample` may replace this table"
_LOCK_KEY = "snapshot_pipeline.platform.ownership"
_ANALYZE = DDL("ANALYZE %(fullname)s")  # type: ignore[no-untyped-call]

_RELATIONS = sql_table(
    "pg_class", sql_column("oid"), sql_column("relname"), sql_column("relnamespace"), schema="pg_catalog"
)
_NAMESPACES = sql_table("pg_namespace", sql_column("oid"), sql_column("nspname", String), schema="pg_catalog")


class PlatformNotOursError(SnapshotPipelineError):
    """The schema has tables that `load` and `sample` did not create; they are not changed."""


class PlatformWriteError(SnapshotPipelineError):
    """The database refused the new tables; nothing was changed."""


class DuplicateKeyError(PlatformWriteError):
    """The appended rows have a duplicate primary or unique key.

    Attributes:
        detail: The server's message, e.g. `Key (id)=(7) is duplicated.`
    """

    def __init__(self, table: str, columns: list[str], detail: str) -> None:
        super().__init__(
            f"{table}: {detail.rstrip('.')}; expected each ({', '.join(columns)}) once. Nothing was changed; remove "
            "one of the rows"
        )
        self.table, self.columns, self.detail = table, columns, detail


def arrow_schema(table: Table) -> pa.Schema:
    """Return the Arrow types of the rows of a table of `platform_metadata`; see `bulk.arrow_type`."""
    return pa.schema([pa.field(column.name, bulk.arrow_type(column), column.nullable) for column in table.columns])


class PlatformWriter:
    """Appends rows to the tables of `replace_platform`.

    Attributes:
        rows: The number of appended rows, by table name.
    """

    def __init__(self, connection: adbc.Connection, tables: dict[str, Table]) -> None:
        self._connection = connection
        self._tables = tables
        self.rows = dict.fromkeys(tables, 0)

    def append(self, table_name: str, rows: pa.Table) -> None:
        """Append rows in bulk; each call costs a round trip, so pass many rows at once.

        Args:
            rows: Some or all of the table's columns, by name, in any order; cast to `arrow_schema`. Other columns are
                null.

        Raises:
            PlatformWriteError: The database refuses a row, e.g. a null in a column that is not nullable.
        """
        table = self._tables[table_name]
        # Nullable in Arrow, so that the server refuses a null, with the column's name.
        target = pa.schema({name: bulk.arrow_type(table.columns[name]) for name in rows.schema.names})
        with _readable_refusal(table):
            bulk.append(self._connection, table, rows.cast(target))
        self.rows[table_name] += rows.num_rows


@contextmanager
def replace_platform(url: URL, schema: str, table_names: Collection[str] = TABLE_NAMES) -> Iterator[PlatformWriter]:
    """Replace the platform's tables by new ones, in one transaction.

    Creates the schema if it is missing, drops the tables that the pipeline created, creates empty ones for
    `table_names`, and lets the caller append. At the end of the block: primary and unique keys, `ADVISED_INDEXES`, the
    marker, `ANALYZE`, commit. If the block raises, nothing is changed.

    Args:
        table_names: The tables to create; a table that is left out is absent afterwards.

    Yields:
        The writer for the rows.

    Raises:
        PlatformNotOursError: A table exists and was not created by the pipeline; nothing is changed.
        DuplicateKeyError: The appended rows have a duplicate key, found at the end of the block.
        DatabaseError: The database cannot be reached, or the role may not create the tables.
        PlatformWriteError: The database refuses (an object depends on an old table, another load is running); nothing
            is changed.
    """
    by_full_name = platform_metadata(schema).tables
    tables = {name: by_full_name[f"{schema}.{name}"] for name in TABLE_NAMES}
    created = {name: table for name, table in tables.items() if name in table_names}
    with _transaction(url) as connection:
        _lock(connection, schema)
        for name in _replaceable(connection, schema):
            with _readable_refusal(tables[name]):
                bulk.execute(connection, DropTable(tables[name]))
        keys = _create(connection, schema, created)
        writer = PlatformWriter(connection, created)
        yield writer
        for name, table in created.items():
            with _readable_refusal(table):
                _finish(connection, table, keys[name])


@contextmanager
def _transaction(url: URL) -> Iterator[adbc.Connection]:
    try:
        with readable_database_errors(url), bulk.transaction(adbc_uri(url)) as connection:
            yield connection
    except adbc.Error as error:
        raise PlatformWriteError(
            f"the database {masked_url(url)} refuses: {_line(error)}; nothing was changed"
        ) from None


def _lock(connection: adbc.Connection, schema: str) -> None:
    query = select(func.pg_try_advisory_xact_lock(func.hashtextextended(f"{_LOCK_KEY}.{schema}", 0)).label("is_free"))
    if not bulk.fetch(connection, query)["is_free"][0].as_py():
        raise PlatformWriteError(
            f"schema {schema}: another `load` or `sample` is running; try again when it has finished"
        )


def _replaceable(connection: adbc.Connection, schema: str) -> list[str]:
    """Return the names of the existing tables; refuse if the pipeline did not create one of them."""
    query = select(
        cast(_RELATIONS.c.relname, String).label("name"),
        func.coalesce(func.obj_description(_RELATIONS.c.oid, "pg_class"), "").label("comment"),
    ).where(_RELATIONS.c.relnamespace == _NAMESPACES.c.oid, _NAMESPACES.c.nspname == schema)
    relations = bulk.fetch(connection, query).to_pylist()
    comments = {relation["name"]: relation["comment"] for relation in relations if relation["name"] in TABLE_NAMES}
    foreign = [name for name in TABLE_NAMES if name in comments and not comments[name].startswith(MARKER)]
    if foreign:
        raise PlatformNotOursError(
            f"schema {schema} has {', '.join(foreign)}, which snapshot-pipeline did not create and does not change; "
            "nothing was changed. Set another database (SNAPSHOT_DATABASE_URL) or schema (SNAPSHOT_PLATFORM_SCHEMA)"
        )
    return [name for name in TABLE_NAMES if name in comments]


def _create(connection: adbc.Connection, schema: str, tables: dict[str, Table]) -> dict[str, list[AddConstraint]]:
    """Create the tables without keys; return the statements that add the keys, by table name."""
    schemas = bulk.fetch(connection, select(_NAMESPACES.c.oid).where(_NAMESPACES.c.nspname == schema))
    missing = schemas.num_rows == 0
    keys = {}
    for name, table in tables.items():
        with _readable_refusal(table):
            if missing:
                bulk.execute(connection, CreateSchema(schema))
                missing = False
            # AddConstraint removes the key from CREATE TABLE, so it must be constructed first.
            keys[name] = [AddConstraint(key) for key in _keys(table)]
            bulk.execute(connection, CreateTable(table))
    return keys


def _keys(table: Table) -> list[Any]:
    unique = [constraint for constraint in table.constraints if isinstance(constraint, UniqueConstraint)]
    return ([table.primary_key] if len(table.primary_key.columns) else []) + unique


def _finish(connection: adbc.Connection, table: Table, keys: list[AddConstraint]) -> None:
    for key in keys:
        try:
            bulk.execute(connection, key)
        except adbc.Error as error:
            # By its code, because ADBC 1.12, the last version for Python 3.10, has no class for it.
            if error.sqlstate != UNIQUE_VIOLATION:
                raise
            columns = [column.name for column in key.element.columns]  # type: ignore[attr-defined]
            detail = _fields(error).get("MESSAGE_DETAIL") or _line(error)
            raise DuplicateKeyError(table.name, columns, detail) from None
    for advised in ADVISED_INDEXES:
        if advised.table == table.name:
            bulk.execute(
                connection, CreateIndex(Index(advised.name, *(table.columns[name] for name in advised.columns)))
            )
    table.comment = _COMMENT
    bulk.execute(connection, SetTableComment(table))
    bulk.execute(connection, _ANALYZE.against(table))


@contextmanager
def _readable_refusal(table: Table) -> Iterator[None]:
    try:
        yield
    except adbc.Error as error:
        if error.sqlstate == INSUFFICIENT_PRIVILEGE:
            raise  # readable_database_errors adds the GRANT
        raise PlatformWriteError(f"{table.fullname}: {_line(error)}; nothing was changed") from None


def _line(error: adbc.Error) -> str:
    """Return the server's message and detail on one line, without the statement."""
    fields = _fields(error)
    if "MESSAGE_PRIMARY" not in fields:
        return " ".join(str(error).split())
    parts = [fields.get(f"MESSAGE_{part}", "") for part in ("PRIMARY", "DETAIL")]
    return " ".join("; ".join(part.rstrip(".") for part in parts if part).split())


def _fields(error: adbc.Error) -> dict[str, str]:
    """Return the fields of the server's message by their libpq names, PG_DIAG_…; ADBC has str or bytes as keys."""
    return {
        (key.decode() if isinstance(key, bytes) else key).removeprefix("PG_DIAG_"): value.decode(errors="replace")
        for key, value in error.details or ()
    }

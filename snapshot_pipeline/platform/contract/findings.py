"""Findings about the platform's structure: tables, columns and types, rights, and indexes.

A finding has a message of one line and, where there is one, a statement to paste.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Column, Connection, Index, MetaData, Table
from sqlalchemy.schema import CreateIndex

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.platform.contract.catalogs import (
    PARTITIONED,
    TAKES_INDEXES,
    DatabaseInfo,
    FoundColumn,
    FoundTable,
    read_tables,
)
from snapshot_pipeline.platform.contract.requirements import (
    COLUMNS,
    ID,
    INTEGERS,
    MOMENT,
    NUMBERS,
    OPTIONAL_COLUMNS,
    Accepted,
)
from snapshot_pipeline.platform.tables import ADVISED_INDEXES, OPTIONAL_TABLES, TABLE_NAMES
from snapshot_pipeline.postgres.urls import DISPLAY_DIALECT, quote_identifier

Severity = Literal["error", "advice", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "advice", "note")
"""The most severe first."""

_QUERIES = frozenset({"v", "m"})
_TEXTS = frozenset({"text", "varchar", "bpchar", "citext", "name"})
_EXAMPLE = 'docs/operations.md, "A platform of another shape"'
_NAMED = "and name the view's schema in SNAPSHOT_PLATFORM_SCHEMA"
_INSTEAD = "or create a view that has it in another schema and name that schema in SNAPSHOT_PLATFORM_SCHEMA"


@dataclass(frozen=True)
class Finding:
    """Something that a database lacks, or that looks wrong in its rows.

    Attributes:
        severity: `error`: the pipeline cannot run, or would publish meaningless figures. `advice`: it runs. `note`:
            the rows are corrected or ignored; nothing has to be done.
        table: The table's name; None for the database or a schema.
        message: What was found and what to do, in one line; names no row.
        statement: SQL that fixes it, if there is one.
        detail: An example, or the database's error. It may quote a row, so it is never sent.
    """

    severity: Severity
    table: str | None
    message: str
    statement: str | None = None
    detail: str | None = None


def sort_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Sort by severity, the most severe first; findings of the same severity keep their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def full_name(schema: str, name: str) -> str:
    """Return the quoted name of a table or index for SQL that is displayed."""
    return f"{quote_identifier(schema)}.{quote_identifier(name)}"


def with_count(number: int, singular: str, plural: str) -> str:
    """`1 row has`, `2,000 rows have`."""
    return f"{number:,} {singular if number == 1 else plural}"


def require_structure(connection: Connection, schema: str) -> dict[str, FoundTable]:
    """Return the tables, or refuse a platform whose structure is wrong, before rows are read.

    Raises:
        SnapshotPipelineError: A table or column is missing, or has a type that cannot be read; the first is named.
    """
    tables = read_tables(connection, schema)
    findings = (finding for name in TABLE_NAMES for finding in table_findings(name, tables.get(name), schema))
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        more = f" ({len(errors) - 1} more like this)" if len(errors) > 1 else ""
        raise SnapshotPipelineError(
            f"{errors[0].table}: {errors[0].message}{more}; `snapshot-pipeline check` lists everything to fix"
        )
    return tables


def table_findings(name: str, table: FoundTable | None, schema: str) -> Iterator[Finding]:
    """Yield findings about the columns of a table; `table` is None if it is missing."""
    if table is None:
        if name not in OPTIONAL_TABLES:
            yield Finding(
                "error",
                name,
                f"is missing in the schema {schema}; create it or a view of that name, or name "
                "the schema that has it in SNAPSHOT_PLATFORM_SCHEMA",
            )
        return
    for column, accepted in COLUMNS[name].items():
        yield from _column_findings(table, column, accepted)


def _column_findings(table: FoundTable, column: str, accepted: Accepted) -> Iterator[Finding]:
    existing = table.columns.get(column)
    if existing is None:
        if consequence := OPTIONAL_COLUMNS.get((table.name, column)):
            yield Finding("advice", table.name, f"has no column {column} ({accepted.words}), so {consequence}")
        else:
            yield Finding("error", table.name, f"has no column {column} ({accepted.words}); add it, {_INSTEAD}")
    elif not existing.is_accepted(accepted):
        yield Finding(
            "error",
            table.name,
            f"the column {column} is {existing.display_type}; expected {accepted.words}: "
            f"{_conversion(table, column, existing, accepted)}",
        )
    elif column == "time_spent_minutes" and existing.type_name not in INTEGERS:
        yield Finding(
            "advice",
            table.name,
            f"the column {column} is {existing.display_type} and is read as whole minutes, rounded; expected integer",
        )


def _conversion(table: FoundTable, column: str, existing: FoundColumn, accepted: Accepted) -> str:
    """Return what to do about a column of the wrong type."""
    if table.kind in _QUERIES and existing.type_name == "text":
        typed = f"NULL::{accepted.type_for_null}"
        return f"convert it in the view; a column that is always NULL needs a type, {typed} AS {column}"
    if accepted is ID and existing.type_name in _TEXTS | {"uuid"}:
        return f"number the ids in a view ({_EXAMPLE}) {_NAMED}"
    if accepted is MOMENT and existing.type_name in NUMBERS:
        return f"if it counts seconds since 1970, select to_timestamp({column}) in a view ({_EXAMPLE}) {_NAMED}"
    return f"change its type, {_INSTEAD}"


def schema_findings(database: DatabaseInfo) -> Iterator[Finding]:
    """Yield findings about the platform's schema and the role's right to use it."""
    if not database.schema_exists:
        yield Finding(
            "error",
            None,
            f"database {database.database} has no schema {database.schema}; set SNAPSHOT_PLATFORM_SCHEMA to the schema "
            "of the platform's tables",
        )
    elif not database.may_use_schema:
        yield Finding(
            "error",
            None,
            f"the role {database.role} may not use the schema {database.schema}; let its owner run",
            f"GRANT USAGE ON SCHEMA {quote_identifier(database.schema)} TO {quote_identifier(database.role)};",
        )


def reading_findings(table: FoundTable, database: DatabaseInfo) -> Iterator[Finding]:
    """Yield findings about the rights to read a table's columns and all of its rows."""
    unreadable = [
        column for column in COLUMNS[table.name] if column in table.columns and not table.columns[column].is_readable
    ]
    if unreadable:
        yield Finding(
            "error",
            table.name,
            f"the role {database.role} may not read {', '.join(unreadable)}; let the table's owner run",
            f"GRANT SELECT ON {full_name(database.schema, table.name)} TO {quote_identifier(database.role)};",
        )
    if table.hides_rows:
        yield Finding(
            "advice",
            table.name,
            f"row-level security applies to the role {database.role}, so it may not see all rows; if the pipeline "
            "should see all, let the table's owner run",
            f"CREATE POLICY snapshot_pipeline_reads ON {full_name(database.schema, table.name)} FOR SELECT TO "
            f"{quote_identifier(database.role)} USING (true);",
        )


def index_findings(tables: Mapping[str, FoundTable], schema: str) -> Iterator[Finding]:
    """Yield advice about the advised indexes that no valid index replaces."""
    for advised in ADVISED_INDEXES:
        table = tables.get(advised.table)
        if table is None or table.kind not in TAKES_INDEXES or not set(advised.columns) <= set(table.columns):
            continue
        serving = [index for index in table.indexes if index.columns[: len(advised.columns)] == advised.columns]
        if any(index.is_valid for index in serving):
            continue
        columns = ", ".join(advised.columns)
        if serving:
            message = f"the index {serving[0].name} is not valid because its creation was interrupted; rebuild it"
            statement = f"REINDEX INDEX CONCURRENTLY {full_name(schema, serving[0].name)};"
        else:
            message = f"no index begins with ({columns}), so finding {advised.reason} scans the whole table; create one"
            statement = create_index(table, advised.columns, schema, unique=False)
        yield Finding("advice", table.name, message, statement)


def create_index(table: FoundTable, columns: tuple[str, ...], schema: str, *, unique: bool) -> str:
    """Return the statement that creates an index over the columns, under a name that is not taken."""
    name = f"{table.name}_{'_'.join(columns)}_{'key' if unique else 'idx'}"
    # IF NOT EXISTS would do nothing where an index over other columns has the name.
    taken = name in table.relation_names
    source = Table(table.name, MetaData(schema=schema), *(Column(column) for column in columns))
    index = Index(
        f"{name}_2" if taken else name,
        *source.c,
        unique=unique,
        # PostgreSQL has no CONCURRENTLY for a partitioned table.
        postgresql_concurrently=table.kind != PARTITIONED,
    )
    return " ".join(str(CreateIndex(index, if_not_exists=True).compile(dialect=DISPLAY_DIALECT)).split()) + ";"

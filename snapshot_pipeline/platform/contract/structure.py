"""Whether the tables and columns are there, in types that can be read.

Put here: findings about what the platform's tables are like.
Do not put here: who may read them (`rights`), or what stands in them (`rows`).
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.platform.contract.catalogs import FoundTable, read_tables
from snapshot_pipeline.platform.contract.findings import Finding
from snapshot_pipeline.platform.contract.requirements import COLUMNS, INTEGERS, NOT_READ, Accepted
from snapshot_pipeline.platform.tables import OPTIONAL_TABLES, TABLE_NAMES

_INSTEAD = "or put a view that has it in a schema of its own and name that in SNAPSHOT_PLATFORM_SCHEMA"


def require_structure(connection: Connection, schema: str) -> None:
    """Refuse a platform that cannot be read, before anything is: a wrong type would look like wrong rows.

    Raises:
        SnapshotPipelineError: A table or a column is missing, or of a type that cannot be read; the first one is named.
    """
    tables = read_tables(connection, schema)
    findings = (finding for name in TABLE_NAMES for finding in table_findings(name, tables.get(name), schema))
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        more = f" ({len(errors) - 1} more like this)" if len(errors) > 1 else ""
        raise SnapshotPipelineError(
            f"{errors[0].table}: {errors[0].message}{more}; `snapshot-pipeline check` lists all that is to be done"
        )


def table_findings(name: str, table: FoundTable | None, schema: str) -> Iterator[Finding]:
    """Of one of the platform's tables; None where it is missing."""
    if table is None:
        if name not in OPTIONAL_TABLES:
            yield Finding(
                "error",
                name,
                f"is missing in the schema {schema}; create it, put a view of that name in its place, or name "
                "the schema that holds it in SNAPSHOT_PLATFORM_SCHEMA",
            )
        return
    for column, accepted in COLUMNS[name].items():
        yield from _column_findings(table, column, accepted)


def _column_findings(table: FoundTable, column: str, accepted: Accepted) -> Iterator[Finding]:
    found = table.columns.get(column)
    if found is None:
        if (table.name, column) in NOT_READ:
            yield Finding("advice", table.name, f"has no column {column} ({accepted.words}); nothing reads it so far")
        else:
            yield Finding("error", table.name, f"has no column {column} ({accepted.words}); add it, {_INSTEAD}")
    elif not found.is_accepted(accepted):
        yield Finding(
            "error",
            table.name,
            f"the column {column} is {found.shown_type}; expected {accepted.words}: change its type, {_INSTEAD}",
        )
    elif column == "time_spent_minutes" and found.type_name not in INTEGERS:
        yield Finding(
            "advice",
            table.name,
            f"the column {column} is {found.shown_type} and is read as whole minutes, rounded; expected integer",
        )

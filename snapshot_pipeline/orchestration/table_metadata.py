"""Definition metadata of an asset that is a table: its location, its columns and their lineage.

Dagster stores column lineage under `dagster/column_lineage`, which the open-source UI of 1.13 does not show. So each
column's description also names its source columns.
"""

from __future__ import annotations

from typing import Any

import dagster as dg
from pydantic import SecretStr
from sqlalchemy import Column, Table, UniqueConstraint
from sqlalchemy.dialects.postgresql.base import PGDialect

from snapshot_pipeline.orchestration.names import LEARNING_PLATFORM
from snapshot_pipeline.pipeline.column_lineage import COLUMN_LINEAGE
from snapshot_pipeline.platform.tables import TABLE_NAMES, platform_metadata
from snapshot_pipeline.postgres.urls import DatabaseUrlError, parse_url
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.tables import DESCRIPTION, VALUES, StoreTables

STORAGE = "postgresql"
_LONG_LIST = 8
"""Number of source columns above which other columns refer to the list instead of repeating it."""
_DIALECT = PGDialect()  # type: ignore[no-untyped-call]


def table_key(table: str) -> dg.AssetKey:
    """Return the asset key of a table, the platform's or ours."""
    return dg.AssetKey([LEARNING_PLATFORM, table] if table in TABLE_NAMES else table)


def store_table_metadata(table: str, settings: Settings) -> dict[str, Any]:
    """Return the metadata of an asset that is one of our tables."""
    definition = StoreTables.of(settings.store_schema).metadata.tables[f"{settings.store_schema}.{table}"]
    return {
        **_table_metadata(definition, settings.database_url),
        "one_row": definition.info[DESCRIPTION],
        "dagster/column_lineage": column_lineage(table),
    }


def platform_table_metadata(table: str, settings: Settings) -> dict[str, Any]:
    """Return the metadata of an asset that is a table of the platform, with the columns that we read."""
    definition = platform_metadata(settings.platform_schema).tables[f"{settings.platform_schema}.{table}"]
    return _table_metadata(definition, settings.source_database_url or settings.database_url)


def column_lineage(table: str) -> dg.TableColumnLineage:
    """Return the source columns of each column of one of our tables."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(table_key(source.table), source.column) for source in sorted(set(sources))]
            for column, sources in COLUMN_LINEAGE.get(table, {}).items()
        }
    )


def column_schema(table: Table) -> dg.TableSchema:
    """Return the columns of a table with type, description, source columns and allowed values."""
    keys = [
        f"unique together: {', '.join(column.name for column in constraint.columns)}"
        for constraint in [table.primary_key, *table.constraints]
        if isinstance(constraint, UniqueConstraint) or constraint is table.primary_key
        if len(constraint.columns) > 1
    ]
    sources = _sources_by_column(table)
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                type=column.type.compile(_DIALECT).lower(),
                description=f"{column.doc}{sources.get(column.name, '')}",
                constraints=_constraints(table, column),
            )
            for column in table.columns
        ],
        constraints=dg.TableConstraints(other=list(dict.fromkeys(keys))),
    )


def public_address(url: SecretStr | None) -> str | None:
    """Return the address of a database without user, password and options; None for the embedded server."""
    if url is None:
        return None
    try:
        parsed = parse_url(url.get_secret_value(), "the URL")
    except DatabaseUrlError:
        return None
    host = parsed.host or parsed.query.get("host", "")
    port = parsed.port or parsed.query.get("port", "")
    return f"postgresql://{host}{f':{port}' if port else ''}/{parsed.database}"


def _table_metadata(table: Table, url: SecretStr | None) -> dict[str, Any]:
    address = public_address(url)
    return {
        "dagster/table_name": f"{table.schema}.{table.name}",
        "dagster/storage_kind": STORAGE,
        **({"dagster/uri": address} if address else {}),
        "dagster/column_schema": column_schema(table),
    }


def _sources_by_column(table: Table) -> dict[str, str]:
    """Return a sentence with the source columns of each column that has any; a long list is written once."""
    sentences: dict[str, str] = {}
    long_list: tuple[str, set[str]] | None = None
    for column, references in COLUMN_LINEAGE.get(table.name, {}).items():
        sources = {str(source) for source in references}
        names = ", ".join(f"`{source}`" for source in sorted(sources))
        if long_list and sources >= long_list[1]:
            added = "".join(f" and `{source}`" for source in sorted(sources - long_list[1]))
            sentences[column] = f" Computed from the same columns as `{long_list[0]}`{added}."
        elif sources:
            sentences[column] = f" Computed from {names}."
            if len(sources) > _LONG_LIST and long_list is None:
                long_list = column, sources
    return sentences


def _constraints(table: Table, column: Column[Any]) -> dg.TableColumnConstraints:
    values = column.info.get(VALUES)
    return dg.TableColumnConstraints(
        nullable=bool(column.nullable),
        unique=column.primary_key and len(table.primary_key.columns) == 1,
        other=[values] if values else [],
    )

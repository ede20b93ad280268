"""What the UI says of a table that an asset stands for: where it is, its columns, and what they are made from.

Put here: from our table objects, the settings and `pipeline.origins` to Dagster's metadata.
Do not put here: the sentences (`store.tables`, `platform.tables`), or what a run found (`assets/`).

Dagster keeps the lineage of columns under `dagster/column_lineage`, which only its cloud draws: the open-source UI of
1.13 leaves it out. So each column's sentence also ends with what it is made from.
"""

from __future__ import annotations

from typing import Any

import dagster as dg
from pydantic import SecretStr
from sqlalchemy import Column, Table, UniqueConstraint
from sqlalchemy.dialects.postgresql.base import PGDialect

from snapshot_pipeline.orchestration.asset_keys import table_key
from snapshot_pipeline.pipeline.column_lineage import COLUMN_LINEAGE
from snapshot_pipeline.platform.tables import platform_metadata
from snapshot_pipeline.postgres.urls import DatabaseUrlError, parse_url
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.tables import DESCRIPTION, VALUES, StoreTables

STORAGE = "postgresql"
_DIALECT = PGDialect()  # type: ignore[no-untyped-call]


def store_table_metadata(table: str, settings: Settings) -> dict[str, Any]:
    """The metadata of an asset that stands for one of our tables."""
    found = StoreTables.of(settings.store_schema).metadata.tables[f"{settings.store_schema}.{table}"]
    return {
        **_table_metadata(found, settings.database_url),
        "one_row": found.info[DESCRIPTION],
        "dagster/column_lineage": column_lineage(table),
    }


def platform_table_metadata(table: str, settings: Settings) -> dict[str, Any]:
    """The metadata of an asset that stands for a table of the platform: of it, the columns that we read."""
    found = platform_metadata(settings.platform_schema).tables[f"{settings.platform_schema}.{table}"]
    return _table_metadata(found, settings.source_database_url or settings.database_url)


def column_lineage(table: str) -> dg.TableColumnLineage:
    """What each column of one of our tables is made from."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(table_key(origin.table), origin.column) for origin in sorted(set(origins))]
            for column, origins in COLUMN_LINEAGE.get(table, {}).items()
        }
    )


def column_schema(table: Table) -> dg.TableSchema:
    """The columns of a table: type, sentence, origins, and which values they may have."""
    keys = [
        f"unique together: {', '.join(column.name for column in constraint.columns)}"
        for constraint in [table.primary_key, *table.constraints]
        if isinstance(constraint, UniqueConstraint) or constraint is table.primary_key
        if len(constraint.columns) > 1
    ]
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                type=column.type.compile(_DIALECT).lower(),
                description=_sentence(table.name, column),
                constraints=_constraints(table, column),
            )
            for column in table.columns
        ],
        constraints=dg.TableConstraints(other=list(dict.fromkeys(keys))),
    )


def shown_address(url: SecretStr | None) -> str:
    """A database's address as everybody may see it: no user, no password, no options."""
    if url is None:
        return "the embedded server; its address: snapshot-pipeline db url"
    try:
        read = parse_url(url.get_secret_value(), "the URL")
    except DatabaseUrlError:
        return "an address that cannot be read; see: snapshot-pipeline check"
    host = read.host or read.query.get("host", "")
    port = read.port or read.query.get("port", "")
    return f"postgresql://{host}{f':{port}' if port else ''}/{read.database}"


def _table_metadata(table: Table, url: SecretStr | None) -> dict[str, Any]:
    return {
        "dagster/table_name": f"{table.schema}.{table.name}",
        "dagster/storage_kind": STORAGE,
        "dagster/uri": shown_address(url),
        "dagster/column_schema": column_schema(table),
    }


def _sentence(table: str, column: Column[Any]) -> str:
    origins = COLUMN_LINEAGE.get(table, {}).get(column.name, ())
    made_from = f" Made from {', '.join(f'`{origin}`' for origin in sorted(set(origins)))}." if origins else ""
    return f"{column.doc}{made_from}"


def _constraints(table: Table, column: Column[Any]) -> dg.TableColumnConstraints:
    values = column.info.get(VALUES)
    return dg.TableColumnConstraints(
        nullable=bool(column.nullable),
        unique=column.primary_key and len(table.primary_key.columns) == 1,
        other=[values] if values else [],
    )

"""Generate `docs/tables.md`: `make docs`.

Tables and columns are described at their definitions (`snapshot_pipeline.store.tables`,
`snapshot_pipeline.platform.tables`), their sources in `snapshot_pipeline.pipeline.column_lineage`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Column, Table, UniqueConstraint
from sqlalchemy.dialects.postgresql.base import PGDialect

from snapshot_pipeline.pipeline.column_lineage import COLUMN_LINEAGE
from snapshot_pipeline.platform.tables import ADVISED_INDEXES, OPTIONAL_TABLES, platform_metadata
from snapshot_pipeline.store.tables import DESCRIPTION, VALUES, StoreTables

PAGE = Path(__file__).with_name("tables.md")

_OPENING = """\
# The tables

<!-- Made by `make docs` from the table definitions; do not edit. -->

Every table and column that the pipeline writes or reads. [metrics.md](metrics.md) defines the figures,
[operations.md](operations.md#retention) how long they are kept. All timestamps are `timestamptz`; days are local dates
in `SNAPSHOT_TIMEZONE`. No table has a foreign key to a table of the platform.

## Ours

These tables are in the schema `SNAPSHOT_STORE_SCHEMA`. Any application may read them; only the pipeline writes them,
except that the platform sets `dismissed_at` and `is_active` of `adaptive_recommendations`. The table
`snapshot_pipeline_version` in the same schema holds the revision of the last migration.
"""

_PLATFORM = """\
## The platform's

These tables are in the schema `SNAPSHOT_PLATFORM_SCHEMA`, and are only read. The pipeline uses these columns; a table
may have others. The types are those that `snapshot-pipeline load` and `sample` create; an id may also be an `integer`,
and a timestamp a plain `timestamp`. `snapshot-pipeline check` compares an existing platform's tables with this list.
"""

_DIALECT = PGDialect()  # type: ignore[no-untyped-call]
_SHORTER = {"timestamp with time zone": "timestamptz", "varchar": "text"}


def page() -> str:
    """The whole page."""
    ours = StoreTables.of("public").metadata.tables.values()
    platforms = platform_metadata("public").tables.values()
    lines = [_OPENING]
    for table in ours:
        lines += [f"### `{table.name}`", "", table.info[DESCRIPTION], "", *_columns(table), "", *_keys(table)]
    lines.append(_PLATFORM)
    for table in platforms:
        optional = " (optional)" if table.name in OPTIONAL_TABLES else ""
        lines += [f"### `{table.name}`{optional}", "", *_columns(table), "", *_keys(table)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _columns(table: Table) -> Iterator[str]:
    has_values = any(VALUES in column.info for column in table.columns)
    yield f"| column | type | null | meaning |{' values |' if has_values else ''}"
    yield f"|---|---|---|---|{'---|' if has_values else ''}"
    for column in table.columns:
        values = f" {column.info.get(VALUES, '')} |" if has_values else ""
        null = "yes" if column.nullable else ""
        yield f"| `{column.name}` | {_type(column)} | {null} | {column.doc}{_computed_from(column)} |{values}"


def _computed_from(column: Column[object]) -> str:
    origins = COLUMN_LINEAGE.get(column.table.name, {}).get(column.name, ())
    return f" Computed from {', '.join(f'`{origin}`' for origin in sorted(set(origins)))}." if origins else ""


def _type(column: Column[object]) -> str:
    name = column.type.compile(_DIALECT).lower()
    return f"`{_SHORTER.get(name, name)}`"


def _keys(table: Table) -> Iterator[str]:
    """What is unique, and which indexes there are, as one paragraph."""
    keys = [", ".join(f"`{column.name}`" for column in table.primary_key.columns)] if table.primary_key.columns else []
    sentences = [f"Primary key: {key}." for key in keys]
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            sentences.append(f"Unique: {', '.join(f'`{column.name}`' for column in constraint.columns)}.")
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        kind = "Unique index" if index.unique else "Index"
        where = index.dialect_options["postgresql"]["where"]
        only = "" if where is None else f" where `{where}`"
        sentences.append(f"{kind}: {', '.join(f'`{column.name}`' for column in index.columns)}{only}.")
    advised = [advice for advice in ADVISED_INDEXES if advice.table == table.name]
    for advice in advised:
        sentences.append(f"Advised index: {', '.join(f'`{name}`' for name in advice.columns)} ({advice.reason}).")
    if sentences:
        yield " ".join(sentences)
        yield ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE} is up to date\n")

"""Whether the indexes are there that our reads lean on, and the statements that create what is missing.

Put here: findings about indexes, which are all advice: without them the reads are right, but slow.
Do not put here: which indexes are advised (`tables`).
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Column, Index, MetaData, Table
from sqlalchemy.schema import CreateIndex

from snapshot_pipeline.platform.contract.catalogs import PARTITIONED, TAKES_INDEXES, FoundTable
from snapshot_pipeline.platform.contract.findings import Finding, full_name
from snapshot_pipeline.platform.tables import ADVISED_INDEXES
from snapshot_pipeline.postgres.urls import DISPLAY_DIALECT


def index_findings(tables: dict[str, FoundTable], schema: str) -> Iterator[Finding]:
    """Of the advised indexes that no valid index takes the place of."""
    for advised in ADVISED_INDEXES:
        table = tables.get(advised.table)
        if table is None or table.kind not in TAKES_INDEXES or not set(advised.columns) <= set(table.columns):
            continue
        serving = [index for index in table.indexes if index.columns[: len(advised.columns)] == advised.columns]
        if any(index.is_valid for index in serving):
            continue
        columns = ", ".join(advised.columns)
        if serving:
            message = (
                f"the index {serving[0].name} is not valid (it was interrupted while it was built); build it again"
            )
            statement = f"REINDEX INDEX CONCURRENTLY {full_name(schema, serving[0].name)};"
        else:
            message = (
                f"no index begins with ({columns}), so {advised.reason} are looked for in the whole table; create it"
            )
            statement = create_index(table, advised.columns, schema, unique=False)
        yield Finding("advice", table.name, message, statement)


def create_index(table: FoundTable, columns: tuple[str, ...], schema: str, *, unique: bool) -> str:
    """The statement that creates an index over the columns, under a name that is free."""
    name = f"{table.name}_{'_'.join(columns)}_{'key' if unique else 'idx'}"
    # IF NOT EXISTS would do nothing where the name is taken by an index over something else.
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

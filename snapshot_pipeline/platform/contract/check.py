"""A database is held against the contract.

Put here: what is looked at, and in which order. Do not put here: any look of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from sqlalchemy import Engine

from snapshot_pipeline.platform.contract.catalogs import FoundTable, Place, read_missing_rights, read_place, read_tables
from snapshot_pipeline.platform.contract.findings import Finding
from snapshot_pipeline.platform.contract.indexes import index_findings
from snapshot_pipeline.platform.contract.rights import reading_findings, schema_findings, store_findings
from snapshot_pipeline.platform.contract.rows import Rows, row_findings
from snapshot_pipeline.platform.contract.structure import table_findings
from snapshot_pipeline.platform.tables import TABLE_NAMES
from snapshot_pipeline.postgres.errors import readable_database_errors

DATA_CHECK_SECONDS = 60.0
"""How long one look at the rows may take before it is given up: the platform comes first."""


def check_platform(
    engine: Engine,
    schema: str,
    store_schema: str,
    store_rights: Mapping[str, Collection[str]],
    data_check_seconds: float = DATA_CHECK_SECONDS,
    source: Engine | None = None,
) -> list[Finding]:
    """Hold a database against what the pipeline needs of it; nothing is written.

    Args:
        engine: The database, as the role that the pipeline works as.
        schema: The schema of the platform's tables.
        store_schema: The schema of the tables that we own.
        store_rights: What the role must be allowed to do with the tables that we own where they exist already, by
            their names, e.g. `SELECT` and `INSERT`.
        data_check_seconds: The time limit of each look at the rows.
        source: Where the platform's tables are read, if not in `engine`'s database.

    Returns:
        The findings, errors first, else in the order of the tables; none: all is well.

    Raises:
        DatabaseError: The database cannot be reached.
    """
    source = source or engine
    with readable_database_errors(engine.url), engine.connect() as connection:
        store_place = read_place(connection, schema, store_schema, store_rights)
        missing_rights = read_missing_rights(connection, store_schema, store_rights)
    with readable_database_errors(source.url), source.connect() as connection:
        place = read_place(connection, schema, store_schema, store_rights)
        tables = read_tables(connection, schema)
    findings = [*schema_findings(place)]
    if place.schema_exists:
        findings += _platform_findings(tables, place, Rows(source, schema, data_check_seconds))
    findings += store_findings(missing_rights, store_place)
    return sorted(findings, key=lambda finding: finding.severity != "error")


def _platform_findings(tables: dict[str, FoundTable], place: Place, rows: Rows) -> Iterator[Finding]:
    for name in TABLE_NAMES:
        yield from table_findings(name, tables.get(name), place.schema)
        if name in tables:
            yield from reading_findings(tables[name], place)
    if place.may_use_schema:
        yield from row_findings(tables, rows)
    yield from index_findings(tables, place.schema)

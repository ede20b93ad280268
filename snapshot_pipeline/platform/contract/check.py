"""The check of a database against the contract."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from sqlalchemy import Engine

from snapshot_pipeline.platform.contract.catalogs import (
    DatabaseInfo,
    read_database_info,
    read_missing_rights,
    read_tables,
)
from snapshot_pipeline.platform.contract.findings import (
    SEVERITIES,
    Finding,
    index_findings,
    reading_findings,
    schema_findings,
    store_findings,
    table_findings,
)
from snapshot_pipeline.platform.contract.plausibility import plausibility_findings
from snapshot_pipeline.platform.contract.rows import RowRules, Rows, row_findings
from snapshot_pipeline.platform.tables import TABLE_NAMES
from snapshot_pipeline.postgres.errors import readable_database_errors

DATA_CHECK_SECONDS = 60.0
"""The time limit of each query of the rows, so that the check does not burden the platform."""


def check_platform(
    engine: Engine,
    schema: str,
    store_schema: str,
    store_rights: Mapping[str, Collection[str]],
    data_check_seconds: float = DATA_CHECK_SECONDS,
    source: Engine | None = None,
    rules: RowRules | None = None,
) -> list[Finding]:
    """Check whether a database has what the pipeline needs; writes nothing.

    Args:
        engine: The database, connected as the pipeline's role.
        store_rights: Rights needed on each of the pipeline's own tables if it exists, e.g. `SELECT` and `INSERT`.
        data_check_seconds: The time limit of each query of the rows.
        source: The database that the platform is read from, if not `engine`'s.
        rules: How the rows are read, and which of them; by default all, with the defaults of the settings.

    Returns:
        The findings, errors first and notes last, then in the order of the tables.

    Raises:
        DatabaseError: The database cannot be reached.
    """
    source = source or engine
    with readable_database_errors(engine.url), engine.connect() as connection:
        store_database = read_database_info(connection, schema, store_schema, store_rights)
        missing_rights = read_missing_rights(connection, store_schema, store_rights)
    with readable_database_errors(source.url), source.connect() as connection:
        database = read_database_info(connection, schema, store_schema, store_rights)
        tables = read_tables(connection, schema)
    findings = [*schema_findings(database)]
    if database.schema_exists:
        findings += _platform_findings(database, Rows(source, schema, tables, data_check_seconds, rules))
    findings += store_findings(missing_rights, store_database)
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def _platform_findings(database: DatabaseInfo, rows: Rows) -> Iterator[Finding]:
    for name in TABLE_NAMES:
        yield from table_findings(name, rows.found.get(name), database.schema)
        if name in rows.found:
            yield from reading_findings(rows.found[name], database)
    if database.may_use_schema:
        yield from row_findings(rows)
        yield from plausibility_findings(rows)
    yield from index_findings(rows.found, database.schema)

"""The check of a database against the contract."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Engine

from snapshot_pipeline.platform.contract.catalogs import (
    DatabaseInfo,
    read_database_info,
    read_tables,
)
from snapshot_pipeline.platform.contract.findings import (
    Finding,
    index_findings,
    reading_findings,
    schema_findings,
    sort_findings,
    table_findings,
)
from snapshot_pipeline.platform.contract.plausibility import plausibility_findings
from snapshot_pipeline.platform.contract.rows import RowRules, Rows, row_findings
from snapshot_pipeline.platform.contract.sessions import session_findings
from snapshot_pipeline.platform.tables import TABLE_NAMES
from snapshot_pipeline.postgres.errors import readable_database_errors

DATA_CHECK_SECONDS = 60.0
"""The time limit of each query of the rows, so that the check does not burden the platform."""


def check_platform(
    source: Engine, schema: str, data_check_seconds: float = DATA_CHECK_SECONDS, rules: RowRules | None = None
) -> list[Finding]:
    """Check whether a database has what the pipeline reads; writes nothing.

    Args:
        source: The database that the platform is read from, connected as the pipeline's role.
        data_check_seconds: The time limit of each query of the rows.
        rules: How the rows are read, and which of them; by default all, with the defaults of the settings.

    Returns:
        The findings, errors first and notes last, then in the order of the tables.

    Raises:
        DatabaseError: The database cannot be reached.
    """
    with readable_database_errors(source.url), source.connect() as connection:
        findings = [*session_findings(connection)]
        database = read_database_info(connection, schema)
        tables = read_tables(connection, schema)
    findings += schema_findings(database)
    if database.schema_exists:
        findings += _platform_findings(database, Rows(source, schema, tables, data_check_seconds, rules))
    return sort_findings(findings)


def _platform_findings(database: DatabaseInfo, rows: Rows) -> Iterator[Finding]:
    for name in TABLE_NAMES:
        yield from table_findings(name, rows.found.get(name), database.schema)
        if name in rows.found:
            yield from reading_findings(rows.found[name], database)
    if database.may_use_schema:
        yield from row_findings(rows)
        yield from plausibility_findings(rows)
    yield from index_findings(rows.found, database.schema)

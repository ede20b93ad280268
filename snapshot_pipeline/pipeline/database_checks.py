"""The checks of an installation's databases: the platform's tables and sessions, and the schema of our own tables."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, Engine, text

from snapshot_pipeline.platform.contract import Finding, RowRules, TableState, check_platform, read_table_states
from snapshot_pipeline.platform.contract.sessions import session_findings
from snapshot_pipeline.postgres.errors import readable_database_errors
from snapshot_pipeline.postgres.urls import quote_identifier
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.migrate import VERSION_TABLE, find_obstacle
from snapshot_pipeline.store.tables import StoreTables

_MISSING_RIGHTS = text(
    """
    SELECT c.relname::text AS table_name, pg_catalog.pg_get_userbyid(c.relowner)::text AS owner,
        string_agg(wanted.right_name, ', ' ORDER BY wanted.position) AS rights
    FROM unnest(CAST(:tables AS text[]), CAST(:rights AS text[])) WITH ORDINALITY AS wanted(name, right_name, position)
    JOIN pg_catalog.pg_class c ON c.relname = wanted.name AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND NOT has_table_privilege(c.oid, wanted.right_name)
        -- Without our version table, a table of one of our names is not ours.
        AND EXISTS (SELECT FROM pg_catalog.pg_class v WHERE v.relnamespace = n.oid AND v.relname = :version_table)
    GROUP BY c.relname, c.relowner ORDER BY min(wanted.position)
    """
)


def _row_rules(settings: Settings, *, full: bool) -> RowRules:
    """Return how the rows are read; unless `full`, those of the last SNAPSHOT_LATE_WINDOW_DAYS are checked."""
    recent_days = None if full else settings.late_window_days
    return RowRules(settings.naive_zone, settings.student_roles, settings.score_maximum, recent_days)


def find_platform_findings(settings: Settings, source: Engine, *, full: bool = False) -> list[Finding]:
    """Check the database of the platform's tables; see `check_platform`."""
    return check_platform(source, settings.platform_schema, rules=_row_rules(settings, full=full))


def find_session_findings(engine: Engine) -> list[Finding]:
    """Check the sessions of a database that the platform is not read from: encoding, time limits, pooling."""
    with readable_database_errors(engine.url), engine.connect() as connection:
        return list(session_findings(connection))


def find_table_states(settings: Settings, source: Engine) -> dict[str, TableState]:
    """Return how large and how new each existing table of the platform is."""
    return read_table_states(source, settings.platform_schema, _row_rules(settings, full=False))


def find_store_findings(engine: Engine, schema: str) -> list[Finding]:
    """Check the schema of our tables with the role of the pipeline; nothing is changed.

    Raises:
        DatabaseError: The database cannot be reached.
    """
    with readable_database_errors(engine.url), engine.connect() as connection:
        return list(_findings(connection, schema))


def _findings(connection: Connection, schema: str) -> Iterator[Finding]:
    """Yield missing rights on our tables, which another role may have created; else why they cannot be used."""
    rights = _wanted_rights(schema)
    parameters = {"schema": schema, "tables": [name for name, _ in rights], "rights": [right for _, right in rights]}
    missing = connection.execute(_MISSING_RIGHTS, {**parameters, "version_table": VERSION_TABLE}).all()
    role = connection.scalar(text("SELECT current_user"))
    for table, owner, lacking in missing:
        grant = f"GRANT {lacking} ON {quote_identifier(schema)}.{quote_identifier(table)} TO {quote_identifier(role)};"
        yield Finding("error", table, f"belongs to {owner}; the role {role} lacks {lacking}; let {owner} run", grant)
    if VERSION_TABLE not in {row.table_name for row in missing} and (obstacle := find_obstacle(connection, schema)):
        yield Finding("error", None, obstacle.reason, obstacle.statement)


def _wanted_rights(schema: str) -> list[tuple[str, str]]:
    """Return the rights that a nightly run needs, as pairs of table and right."""
    tables = StoreTables.of(schema).metadata.sorted_tables
    writing = [(table.name, right) for table in tables for right in ("SELECT", "INSERT", "UPDATE", "DELETE")]
    return [*writing, (VERSION_TABLE, "SELECT")]

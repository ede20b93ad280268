"""Dagster's database: it can be used, has no tables but Dagster's, and belongs to this installation.

Does not import Dagster, so that `snapshot-pipeline check` can look at it quickly.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from sqlalchemy import URL, Connection, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.postgres.engines import dagster_url, platform_database_name
from snapshot_pipeline.postgres.errors import readable_database_errors
from snapshot_pipeline.postgres.sessions import open_engine, require_own_session
from snapshot_pipeline.postgres.urls import masked_url, quote_identifier
from snapshot_pipeline.settings import Settings

OWNER_KEY = "snapshot_pipeline.installation"
"""The key in Dagster's table `kvs` under which the installation is recorded."""

_LAST_TABLES = frozenset({"runs", "kvs", "instance_info", "event_logs", "jobs"})
"""A table of each part of Dagster's storage; if they exist, no table has to be created."""

_NAMES_SHOWN = 3

# Dagster creates its tables in the first schema of the search path. Its `runs` have a column that no other `runs` has.
_STATE = text(
    """
    SELECT current_user::text AS role, current_database()::text AS database, current_schema()::text AS schema,
        current_setting('search_path') AS search_path,
        coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
        EXISTS (
            SELECT FROM pg_catalog.pg_namespace n
            WHERE n.nspname = current_schema() AND pg_get_userbyid(n.nspowner) = 'pg_database_owner'
        ) AS is_database_owners,
        EXISTS (
            SELECT FROM pg_catalog.pg_attribute a
            JOIN pg_catalog.pg_class c ON c.oid = a.attrelid AND c.relname = 'runs' AND c.relkind = 'r'
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
            WHERE a.attname = 'run_body'
        ) AS is_dagsters,
        ARRAY(
            SELECT c.relname::text FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
            WHERE c.relkind = 'r'
        ) AS tables,
        ARRAY(
            SELECT format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = ANY(current_schemas(false))
            WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_depend d
                WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
            )
            ORDER BY 1
        ) AS relations
    """
)
_OWNER = text("SELECT value FROM kvs WHERE key = :key")
_HAS_RUNS = text("SELECT EXISTS (SELECT FROM runs)")
_RECORD_OWNER = text("INSERT INTO kvs (key, value) VALUES (:key, :value) ON CONFLICT DO NOTHING")


class DagsterDatabaseError(SnapshotPipelineError):
    """Dagster's database cannot be used by this installation; one line that says why and what to do."""


@dataclass(frozen=True)
class _State:
    """The schema in which Dagster keeps its tables, as the session of the role sees it."""

    role: str
    database: str
    schema: str | None
    search_path: str
    may_create: bool
    is_database_owners: bool
    is_dagsters: bool
    tables: list[str]
    relations: list[str]


@dataclass(frozen=True)
class Owner:
    """The installation that Dagster's records belong to.

    The server's address is not part of it: the same server has several names, and changes them in a failover.
    """

    database: str
    store_schema: str


def check_dagster_database(settings: Settings) -> None:
    """Check that Dagster's database can be used by this installation; nothing is written.

    Raises:
        SnapshotPipelineError: It cannot; one line that says why and what to do.
    """
    url = dagster_url(settings)
    engine = open_engine(url, poolclass=NullPool)
    with readable_database_errors(url), engine.connect() as connection:
        require_own_session(connection)
        if has_dagster_tables(connection, url):
            require_owner(connection, url, owner(settings))


def owner(settings: Settings) -> Owner:
    """Return what the settings say about the installation."""
    return Owner(platform_database_name(settings), settings.store_schema)


def has_dagster_tables(connection: Connection, url: URL) -> bool:
    """Return whether all tables of Dagster exist; if not, they can be created.

    Raises:
        DagsterDatabaseError: They cannot be created, or would be among the tables of others.
    """
    state = _State(**connection.execute(_STATE).one()._mapping)
    if state.schema is None:
        raise DagsterDatabaseError(
            f"the search_path of the role {state.role} in {masked_url(url)} names no schema that exists and that the "
            f"role may use ({state.search_path}); expected one for Dagster's tables: {_own_schema(state)}"
        )
    if not state.is_dagsters:
        if state.relations:
            raise DagsterDatabaseError(
                f"{masked_url(url)} has tables that are not Dagster's ({_listed(state.relations)}) where Dagster would "
                f"create its own (search_path {state.search_path}); create an empty database for Dagster "
                f"that the role {state.role} owns and name it in SNAPSHOT_DAGSTER_DATABASE_URL, or give Dagster a "
                f"schema of its own there: {_own_schema(state)}"
            )
        if not state.may_create:
            raise DagsterDatabaseError(
                f"the role {state.role} may not create Dagster's tables in the schema {state.schema} of "
                f"{masked_url(url)}; let the owner run: {_permission(state)}"
            )
    return {*state.tables} >= _LAST_TABLES


def require_owner(connection: Connection, url: URL, expected: Owner) -> bool:
    """Return whether Dagster's tables are recorded as this installation's; False: they are nobody's yet, and empty.

    Raises:
        DagsterDatabaseError: They belong to another installation, or to another project of Dagster.
    """
    value = connection.execute(_OWNER, {"key": OWNER_KEY}).scalar_one_or_none()
    instead = "set SNAPSHOT_DAGSTER_DATABASE_URL to a database of its own"
    if value is None:
        if connection.execute(_HAS_RUNS).scalar_one():
            raise DagsterDatabaseError(
                f"{masked_url(url)} has the runs of another Dagster project; {instead} for this installation"
            )
        return False
    recorded = Owner(**json.loads(value))
    if recorded != expected:
        rename = f"UPDATE kvs SET value = {_literal(_value(expected))} WHERE key = '{OWNER_KEY}';"  # noqa: S608
        raise DagsterDatabaseError(
            f"{masked_url(url)} has the records of another installation ({_described(recorded)}); for this one "
            f"({_described(expected)}) {instead}. If it is the same one with a new name, run there: {rename}"
        )
    return True


def record_owner(connection: Connection, installation: Owner) -> None:
    """Record that Dagster's tables belong to this installation, unless they belong to one."""
    connection.execute(_RECORD_OWNER, {"key": OWNER_KEY, "value": _value(installation)})


def _value(installation: Owner) -> str:
    return json.dumps(asdict(installation), ensure_ascii=False)


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _described(installation: Owner) -> str:
    return f"database {installation.database}, SNAPSHOT_STORE_SCHEMA={installation.store_schema}"


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _own_schema(state: _State) -> str:
    role, database = quote_identifier(state.role), quote_identifier(state.database)
    return (
        f"CREATE SCHEMA dagster AUTHORIZATION {role}; ALTER ROLE {role} IN DATABASE {database} SET search_path TO "
        "dagster;"
    )


def _permission(state: _State) -> str:
    role = quote_identifier(state.role)
    if state.is_database_owners:
        return f"ALTER DATABASE {quote_identifier(state.database)} OWNER TO {role};"
    return f"GRANT USAGE, CREATE ON SCHEMA {quote_identifier(state.schema or '')} TO {role};"

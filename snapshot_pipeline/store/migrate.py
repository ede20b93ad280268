"""Create our tables, or bring them to the newest revision; refuse a schema in which others have tables of our names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, func, select, text
from sqlalchemy.schema import CreateSchema
from sqlalchemy.sql import quoted_name

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.postgres.urls import quote_identifier
from snapshot_pipeline.store.tables import StoreTables

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "initial"
"""The newest revision in `migrations/versions`: a constant, because importing Alembic is slow; a test compares it."""

VERSION_TABLE = "snapshot_pipeline_version"
_SCRIPTS = "snapshot_pipeline.store:migrations"
_NAMES_SHOWN = 5

# From the catalogs, which every role may read: `to_regclass` fails in a schema that the role may not use.
_SCHEMA = text(
    """
    SELECT current_user::text AS role, current_database()::text AS database,
        n.oid IS NOT NULL AS exists,
        pg_catalog.pg_get_userbyid(CASE pg_catalog.pg_get_userbyid(n.nspowner) WHEN 'pg_database_owner' THEN d.datdba
            ELSE n.nspowner END)::text AS owner,
        coalesce(has_schema_privilege(n.oid, 'USAGE'), false) AS may_use,
        CASE WHEN n.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE')
            ELSE has_schema_privilege(n.oid, 'USAGE') AND has_schema_privilege(n.oid, 'CREATE') END AS may_create,
        EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relname = :version_table)
            AS has_version_table,
        ARRAY(
            SELECT c.relname::text FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relname = ANY(:names)
            UNION SELECT t.typname::text FROM pg_catalog.pg_type t
                WHERE t.typnamespace = n.oid AND t.typname = ANY(:names)
            ORDER BY 1
        ) AS our_names,
        ARRAY(
            SELECT r.rolname::text FROM pg_catalog.pg_roles r
            WHERE r.rolcanlogin AND NOT r.rolsuper AND has_schema_privilege(r.oid, n.oid, 'CREATE') ORDER BY 1
        ) AS creators
    FROM pg_catalog.pg_database d LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = :schema
    WHERE d.datname = current_database()
    """
)

_HAS_VERSION = text(
    """
    SELECT has_schema_privilege(n.oid, 'USAGE') FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = :schema AND c.relname = :version_table
    """
)


class StoreSchemaError(SnapshotPipelineError):
    """Our tables cannot be read, or created, in the schema that the settings name.

    Attributes:
        reason: What was found and what to do, in one line.
        statement: SQL that fixes it, if there is one; the message of the error has it at its end.
    """

    def __init__(self, reason: str, statement: str | None = None) -> None:
        super().__init__(f"{reason}: {statement}" if statement else reason)
        self.reason, self.statement = reason, statement


class UnknownRevisionError(StoreSchemaError):
    """The tables have a revision that this version of the code does not know, older or newer."""


class NotOursError(StoreSchemaError):
    """The schema has a relation of one of our names, and no version table of ours: nothing there is changed."""


class NotMigratedError(StoreSchemaError):
    """Our tables do not exist yet, and the role may not create them or the command only reads."""


@dataclass(frozen=True)
class _Schema:
    """The schema of our tables as the catalogs describe it, for the role of the connection."""

    role: str
    database: str
    exists: bool
    owner: str | None
    may_use: bool
    may_create: bool
    has_version_table: bool
    our_names: list[str]
    creators: list[str]


def migrate(engine: Engine, schema: str) -> str:
    """Create our tables in `schema`, or upgrade them; two queries if there is nothing to do.

    The schema is created if it is missing. Several processes may call this at once: they take turns.

    Returns:
        The revision of the tables.

    Raises:
        StoreSchemaError: See `find_obstacle`; nothing was changed.
    """
    with engine.begin() as connection:
        if _revision(connection, schema) == HEAD:
            return HEAD
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"{VERSION_TABLE}.{schema}", 0))))
        if obstacle := find_obstacle(connection, schema):
            raise obstacle
        _upgrade(connection, schema)
    return HEAD


def require_tables(engine: Engine, schema: str) -> None:
    """Check that our tables exist at the newest revision; nothing is changed.

    Raises:
        StoreSchemaError: They do not, or the role may not read them.
    """
    with engine.connect() as connection:
        if _revision(connection, schema) == HEAD:
            return
        raise find_obstacle(connection, schema) or NotMigratedError(
            f"schema {schema} of database {connection.engine.url.database} does not have the pipeline's tables yet; "
            "run `snapshot-pipeline db migrate`, or compute the first days with `snapshot-pipeline materialize`"
        )


def find_obstacle(connection: Connection, schema: str) -> StoreSchemaError | None:
    """Return why our tables can neither be used nor be created or upgraded; None if they can. Nothing is changed."""
    state = _read_schema(connection, schema)
    quoted_schema, quoted_role = quote_identifier(schema), quote_identifier(state.role)
    if state.has_version_table and not state.may_use:
        return StoreSchemaError(
            f"the role {state.role} may not use the schema {schema} of the pipeline's own tables; let its owner run",
            f"GRANT USAGE ON SCHEMA {quoted_schema} TO {quoted_role};",
        )
    revision = _revision(connection, schema)
    if revision == HEAD:
        return None
    if revision is not None and revision not in _known_revisions():
        return UnknownRevisionError(
            f"schema {schema!r} has our tables at revision {revision}, expected {HEAD}; install the version of "
            "snapshot_pipeline that created them, or, since there are no upgrades before 0.1.0, drop them and "
            "materialize again",
            f"DROP TABLE IF EXISTS {_our_tables(schema)} CASCADE",
        )
    if revision is None and state.our_names:
        return NotOursError(
            f"schema {schema} of database {state.database} has {_listed(state.our_names)}, which snapshot_pipeline did "
            "not create and does not change; set SNAPSHOT_STORE_SCHEMA to another schema for the pipeline's own "
            "tables, such as snapshots"
        )
    return None if state.may_create else _missing_permission(state, schema)


def _missing_permission(state: _Schema, schema: str) -> NotMigratedError:
    if not state.exists:
        return NotMigratedError(
            f"database {state.database} has no schema {schema} for the pipeline's own tables, and the role "
            f"{state.role} may not create it; create it and the roles with docs/roles.sql, or let the database's owner "
            "run",
            f"CREATE SCHEMA {quote_identifier(schema)} AUTHORIZATION {quote_identifier(state.role)};",
        )
    migrator = ", ".join(state.creators) or state.owner
    return NotMigratedError(
        f"schema {schema} of database {state.database} does not have the pipeline's tables at revision {HEAD}, and the "
        f"role {state.role} may not create them; run `snapshot-pipeline db migrate` with the URL of a role that may "
        f"({migrator}) in SNAPSHOT_DATABASE_URL"
    )


def _read_schema(connection: Connection, schema: str) -> _Schema:
    tables = StoreTables.of(schema).metadata.sorted_tables
    names = [table.name for table in tables] + [index.name for table in tables for index in table.indexes]
    parameters = {"schema": schema, "version_table": VERSION_TABLE, "names": names}
    return _Schema(**connection.execute(_SCHEMA, parameters).one()._mapping)


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more of the pipeline's names" if more > 0 else "")


def _our_tables(schema: str) -> str:
    names = [table.name for table in StoreTables.of(schema).metadata.sorted_tables]
    return ", ".join(f"{quote_identifier(schema)}.{quote_identifier(name)}" for name in [*names, VERSION_TABLE])


def _known_revisions() -> set[str]:
    from alembic.script import ScriptDirectory  # slow, and hardly ever needed

    return {script.revision for script in ScriptDirectory.from_config(_alembic_config()).walk_revisions()}


def _upgrade(connection: Connection, schema: str) -> None:
    # Imported here, because every command and run calls `migrate`, and hardly one has anything to migrate.
    from alembic import command

    if not connection.dialect.has_schema(connection, schema):
        connection.execute(CreateSchema(schema))
    config = _alembic_config()
    # As a quoted name: Alembic would read a dot in a plain one as the end of a database's name.
    config.attributes.update(connection=connection, schema=quoted_name(schema, quote=True))
    command.upgrade(config, HEAD)


def _alembic_config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", _SCRIPTS)
    return config


def _revision(connection: Connection, schema: str) -> str | None:
    """Return the revision of our tables; None without a version table that the role may use."""
    if not connection.execute(_HAS_VERSION, {"schema": schema, "version_table": VERSION_TABLE}).scalar_one_or_none():
        return None
    versions = Table(VERSION_TABLE, MetaData(schema=schema), Column("version_num", String))
    return connection.execute(select(versions.c.version_num)).scalar_one_or_none()

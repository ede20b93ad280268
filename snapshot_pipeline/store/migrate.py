"""Create our tables, or bring them to the newest revision."""

from __future__ import annotations

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, func, select
from sqlalchemy.schema import CreateSchema
from sqlalchemy.sql import quoted_name

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.postgres.urls import quote_identifier
from snapshot_pipeline.store.tables import StoreTables

HEAD = "initial"
"""The newest revision in `migrations/versions`: a constant, because importing Alembic is slow; a test compares it."""

VERSION_TABLE = "snapshot_pipeline_version"
_SCRIPTS = "snapshot_pipeline.store:migrations"


class UnknownRevisionError(SnapshotPipelineError):
    """The tables have a revision that this version of the code does not know, older or newer."""


def migrate(engine: Engine, schema: str) -> str:
    """Create our tables in `schema`, or upgrade them; two queries if there is nothing to do.

    The schema is created if it is missing. Several processes may call this at once: they take turns.

    Returns:
        The revision of the tables.

    Raises:
        UnknownRevisionError: The tables have a revision that this version does not know.
    """
    with engine.begin() as connection:
        if _revision(connection, schema) == HEAD:
            return HEAD
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"{VERSION_TABLE}.{schema}", 0))))
        _upgrade(connection, schema)
    return HEAD


def _upgrade(connection: Connection, schema: str) -> None:
    # Imported here, because every command and run calls `migrate`, and hardly one has anything to migrate.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", _SCRIPTS)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    revision = _revision(connection, schema)
    if revision is not None and revision not in known:
        names = [table.name for table in StoreTables.of(schema).metadata.sorted_tables]
        tables = ", ".join(f"{quote_identifier(schema)}.{quote_identifier(name)}" for name in [*names, VERSION_TABLE])
        raise UnknownRevisionError(
            f"schema {schema!r} has our tables at revision {revision}, expected {HEAD}; install the version of "
            "snapshot_pipeline that created them, or, since there are no upgrades before 0.1.0, drop them and "
            f"materialize again: DROP TABLE IF EXISTS {tables} CASCADE"
        )
    if not connection.dialect.has_schema(connection, schema):
        connection.execute(CreateSchema(schema))
    # As a quoted name: Alembic would read a dot in a plain one as the end of a database's name.
    config.attributes.update(connection=connection, schema=quoted_name(schema, quote=True))
    command.upgrade(config, HEAD)


def _revision(connection: Connection, schema: str) -> str | None:
    version_table = select(func.to_regclass(func.format("%I.%I", schema, VERSION_TABLE)))
    if connection.execute(version_table).scalar_one() is None:
        return None
    versions = Table(VERSION_TABLE, MetaData(schema=schema), Column("version_num", String))
    return connection.execute(select(versions.c.version_num)).scalar_one_or_none()

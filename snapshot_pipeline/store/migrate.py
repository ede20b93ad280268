"""Brings our tables to the shape that this version of the code knows.

Put here: the one way to run the migrations. Do not put here: the migrations themselves (`migrations/versions`).
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, func, select
from sqlalchemy.schema import CreateSchema
from sqlalchemy.sql import quoted_name

from snapshot_pipeline.errors import SnapshotPipelineError

HEAD = max(path.name[:4] for path in (Path(__file__).parent / "migrations" / "versions").glob("[0-9]*.py"))
"""The newest of `migrations/versions`, by name: without Alembic, whose import takes longer than all else here."""

VERSION_TABLE = "snapshot_pipeline_version"
_SCRIPTS = "snapshot_pipeline.store:migrations"


class NewerSchemaError(SnapshotPipelineError):
    """The tables were made by a newer version of the code than this one."""


def migrate(engine: Engine, schema: str) -> str:
    """Create or change our tables as the migrations say; where all is done already, two queries find that out.

    Several processes may call this at once: they take turns.

    Args:
        engine: The database, as a role that may create tables in `schema`.
        schema: Where our tables live; created when it is missing.

    Returns:
        The revision that the tables now have.

    Raises:
        NewerSchemaError: The tables are of a revision that this version of the code does not know.
    """
    with engine.begin() as connection:
        if _revision(connection, schema) == HEAD:
            return HEAD
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"{VERSION_TABLE}.{schema}", 0))))
        _upgrade(connection, schema)
    return HEAD


def _upgrade(connection: Connection, schema: str) -> None:
    # Here, because every command and every run comes by, and hardly one has anything to migrate.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", _SCRIPTS)
    scripts = ScriptDirectory.from_config(config)
    found = _revision(connection, schema)
    if found not in {None, *(script.revision for script in scripts.walk_revisions())}:
        raise NewerSchemaError(
            f"schema {schema!r} holds our tables at revision {found}, this version knows up to {HEAD}; "
            "install the newer version of snapshot_pipeline again"
        )
    if not connection.dialect.has_schema(connection, schema):
        connection.execute(CreateSchema(schema))
    for script in reversed(list(scripts.iterate_revisions(HEAD, found or "base"))):
        # What takes its time is done before the transaction, beside readers and writers, and can be done twice.
        prepare = getattr(script.module, "prepare", None)
        if prepare is not None:
            prepare(connection.engine, schema)
    # As a quoted name: Alembic would read a dot in a plain one as the end of a database's name.
    config.attributes.update(connection=connection, schema=quoted_name(schema, quote=True))
    command.upgrade(config, HEAD)


def _revision(connection: Connection, schema: str) -> str | None:
    found = select(func.to_regclass(func.format("%I.%I", schema, VERSION_TABLE)))
    if connection.execute(found).scalar_one() is None:
        return None
    versions = Table(VERSION_TABLE, MetaData(schema=schema), Column("version_num", String))
    return connection.execute(select(versions.c.version_num)).scalar_one_or_none()

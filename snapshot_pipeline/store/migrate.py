"""Brings our tables to the shape that this version of the code knows.

Put here: the one way to run the migrations. Do not put here: the migrations themselves (`migrations/versions`).
"""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.schema import CreateSchema
from sqlalchemy.sql import quoted_name

from snapshot_pipeline.errors import SnapshotPipelineError

VERSION_TABLE = "snapshot_pipeline_version"
_SCRIPTS = "snapshot_pipeline.store:migrations"


class NewerSchemaError(SnapshotPipelineError):
    """The tables were made by a newer version of the code than this one."""


def migrate(engine: Engine, schema: str) -> str:
    """Create or change our tables as the migrations say; where all is done already, one query finds that out.

    Several processes may call this at once: they take turns.

    Args:
        engine: The database, as a role that may create tables in `schema`.
        schema: Where our tables live; created when it is missing.

    Returns:
        The revision that the tables now have.

    Raises:
        NewerSchemaError: The tables are of a revision that this version of the code does not know.
    """
    config = Config()
    config.set_main_option("script_location", _SCRIPTS)
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head() or ""
    with engine.begin() as connection:
        if _revision(connection, schema) == head:
            return head
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"{VERSION_TABLE}.{schema}", 0))))
        found = _revision(connection, schema)
        if found not in {None, *(script.revision for script in scripts.walk_revisions())}:
            raise NewerSchemaError(
                f"schema {schema!r} holds our tables at revision {found}, this version knows up to {head}; "
                "install the newer version of snapshot_pipeline again"
            )
        if not engine.dialect.has_schema(connection, schema):
            connection.execute(CreateSchema(schema))
        for script in reversed(list(scripts.iterate_revisions("head", found or "base"))):
            # What takes its time is done before the transaction, beside readers and writers, and can be done twice.
            prepare = getattr(script.module, "prepare", None)
            if prepare is not None:
                prepare(engine, schema)
        # As a quoted name: Alembic would read a dot in a plain one as the end of a database's name.
        config.attributes.update(connection=connection, schema=quoted_name(schema, quote=True))
        command.upgrade(config, "head")
    return head


def _revision(connection: Connection, schema: str) -> str | None:
    options = {"version_table": VERSION_TABLE, "version_table_schema": schema}
    return MigrationContext.configure(connection, opts=options).get_current_revision()

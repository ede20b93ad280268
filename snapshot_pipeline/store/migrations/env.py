"""Alembic's environment: runs on the connection and schema that `store.migrate` passes."""

from alembic import context

from snapshot_pipeline.store.migrate import VERSION_TABLE

schema = context.config.attributes["schema"]
context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,  # the application may have an alembic_version of its own
    version_table_schema=schema,
)
with context.begin_transaction():
    context.run_migrations()

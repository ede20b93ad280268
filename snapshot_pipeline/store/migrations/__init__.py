"""The history of our tables, for Alembic; `store.migrate` runs it."""

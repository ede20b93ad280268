"""The tables that contenders write to, and the connections they do it through.

Put here: what is made, emptied and settled around a run. Do not put here: what fills the tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from benchmarks.contenders.protocol import OURS
from benchmarks.worlds import World
from snapshot_pipeline.pipeline.installation import open_installation

SNAPSHOTS = "performance_snapshots"
RECOMMENDATIONS = "adaptive_recommendations"


def make_like_ours(world: World, schema: str, table: str) -> None:
    """Make an empty table with the columns, keys and indexes of ours in a schema of its own, in the place of an older.

    It is a plain table even where ours has partitions: that is what somebody who writes the SQL by hand would make.
    """
    with open_installation(world.settings(OURS)):
        pass  # our own tables are there now, as today's migrations make them
    with connected(world) as connection:
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
        connection.execute(text(f"DROP TABLE IF EXISTS {schema}.{table}"))
        connection.execute(text(f"CREATE TABLE {schema}.{table} (LIKE {OURS}.{table} INCLUDING ALL)"))


def empty(world: World, schema: str, *tables: str) -> None:
    """Remove all rows of some tables."""
    with connected(world) as connection:
        connection.execute(text("TRUNCATE " + ", ".join(f"{schema}.{table}" for table in tables)))


def settle(world: World) -> None:
    """Write to disk what is still to be written, so that it is not written while the next contender is timed."""
    with connected(world) as connection:
        connection.execute(text("CHECKPOINT"))


@contextmanager
def connected(world: World, schema: str | None = None) -> Iterator[Connection]:
    """A connection on which each statement is a transaction of its own.

    Args:
        world: The database.
        schema: Looked in before ours, and before `public`, for a table that is named without a schema.
    """
    engine = create_engine(world.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        if schema:
            connection.execute(text(f"SET search_path TO {schema}, {OURS}, public"))
        yield connection


@contextmanager
def generous(world: World, schema: str) -> Iterator[Connection]:
    """A connection as somebody would set it up for a large statement: no sort and no hash table goes to disk."""
    with connected(world, schema) as connection:
        connection.execute(text("SET work_mem = '256MB'"))
        connection.execute(text("SET jit = off"))  # tried: compiling took longer than it saved
        yield connection


@cache
def _statement(name: str) -> str:
    return (Path(__file__).parent / "statements" / f"{name}.sql").read_text(encoding="utf-8")


def execute_file(connection: Connection, name: str, parameters: dict[str, Any]) -> int:
    """Execute a statement below `statements/` and return how many rows it wrote."""
    return connection.execute(text(_statement(name)), parameters).rowcount

"""The tables and connections of the contenders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from benchmarks.contenders.protocol import OURS
from benchmarks.datasets import Dataset
from snapshot_pipeline.pipeline.installation import open_installation

SNAPSHOTS = "performance_snapshots"
RECOMMENDATIONS = "adaptive_recommendations"


def make_like_ours(dataset: Dataset, schema: str, table: str) -> None:
    """Create an empty table with the columns, keys and indexes of ours in another schema, replacing an older one.

    It is not partitioned even if ours is, as a hand-written solution would not be.
    """
    with open_installation(dataset.settings(OURS)):
        pass  # creates our tables
    with connected(dataset) as connection:
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
        connection.execute(text(f"DROP TABLE IF EXISTS {schema}.{table}"))
        connection.execute(text(f"CREATE TABLE {schema}.{table} (LIKE {OURS}.{table} INCLUDING ALL)"))


def empty(dataset: Dataset, schema: str, *tables: str) -> None:
    """Delete all rows of some tables."""
    with connected(dataset) as connection:
        connection.execute(text("TRUNCATE " + ", ".join(f"{schema}.{table}" for table in tables)))


def flush_to_disk(dataset: Dataset) -> None:
    """Write a checkpoint, so that the next contender is not timed while it is written."""
    with connected(dataset) as connection:
        connection.execute(text("CHECKPOINT"))


@contextmanager
def connected(dataset: Dataset, schema: str | None = None) -> Iterator[Connection]:
    """A connection in autocommit mode.

    Args:
        schema: First schema of the search path, before ours and `public`.
    """
    engine = create_engine(dataset.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        if schema:
            connection.execute(text(f"SET search_path TO {schema}, {OURS}, public"))
        yield connection


@contextmanager
def connected_with_work_mem(dataset: Dataset, schema: str) -> Iterator[Connection]:
    """A connection set up for a large statement: no sort and no hash table spills to disk."""
    with connected(dataset, schema) as connection:
        connection.execute(text("SET work_mem = '256MB'"))
        connection.execute(text("SET jit = off"))  # measured: compiling took longer than it saved
        yield connection


@cache
def _statement(name: str) -> str:
    return (Path(__file__).parent / "statements" / f"{name}.sql").read_text(encoding="utf-8")


def execute_file(connection: Connection, name: str, parameters: dict[str, Any]) -> int:
    """Execute a file of `statements/`; returns the number of rows written."""
    return connection.execute(text(_statement(name)), parameters).rowcount

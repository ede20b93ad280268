"""Our tables in a database of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import pytest
from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.pool import NullPool

from snapshot_pipeline.postgres.engines import adbc_uri
from snapshot_pipeline.store.migrate import migrate
from snapshot_pipeline.store.months import ensure_partitions
from snapshot_pipeline.store.tables import StoreTables
from snapshot_pipeline_tests.pipeline.installations import new_database


@dataclass(frozen=True)
class Store:
    """Our migrated tables.

    Attributes:
        engine: For small questions.
        uri: For bulk transfers.
        tables: The tables in schema `public`.
    """

    engine: Engine
    uri: str
    tables: StoreTables


@pytest.fixture(scope="module")
def migrated_url(server_url: URL) -> Iterator[URL]:
    """A database with our empty tables, one per test file; the days of the tests lie in 2025 and 2026."""
    with new_database(server_url) as url:
        engine = create_engine(url, poolclass=NullPool)
        migrate(engine, "public")
        ensure_partitions(engine, StoreTables.of("public"), date(2025, 1, 1), date(2026, 12, 31))
        yield url


@pytest.fixture
def store(migrated_url: URL) -> Iterator[Store]:
    """The tables, emptied after the test."""
    engine = create_engine(migrated_url, poolclass=NullPool)
    tables = StoreTables.of("public")
    yield Store(engine, adbc_uri(migrated_url), tables)
    with engine.begin() as connection:
        for table in tables.metadata.sorted_tables:
            connection.execute(table.delete())

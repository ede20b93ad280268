"""Fixtures: our migrated tables in a database of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.pool import NullPool

from snapshot_pipeline.postgres.urls import adbc_uri
from snapshot_pipeline.store.tables import StoreTables
from snapshot_pipeline_tests.pipeline.installations import new_database


@dataclass(frozen=True)
class Store:
    """Our migrated tables.

    Attributes:
        engine: For single queries.
        uri: For bulk transfers.
        tables: The tables in schema `public`.
    """

    engine: Engine
    uri: str
    tables: StoreTables


@pytest.fixture(scope="module")
def migrated_url(server_url: URL, migrated_template: URL) -> Iterator[URL]:
    """A database with our empty tables, for the tests of one file."""
    with new_database(server_url, migrated_template) as url:
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

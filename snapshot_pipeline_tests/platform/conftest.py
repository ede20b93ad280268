"""Fixtures: a whole platform with one student in a schema of its own, and a role without rights on it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import URL, Engine, Index, create_engine

from snapshot_pipeline.platform.tables import ADVISED_INDEXES, platform_metadata
from snapshot_pipeline_tests.platform.odd_platforms import Platform, quoted


@pytest.fixture
def platform(module_database_url: URL) -> Iterator[Platform]:
    """A schema of its own, in one database for all tests of this file."""
    engine = create_engine(module_database_url)
    schema = f'Odd "{uuid.uuid4().hex[:8]}" 100%'
    metadata = platform_metadata(schema)
    for advised in ADVISED_INDEXES:
        table = metadata.tables[f"{schema}.{advised.table}"]
        Index(advised.name, *(table.columns[name] for name in advised.columns))
    platform = Platform(engine, schema)
    platform.run(f"CREATE SCHEMA {quoted(schema)}")
    metadata.create_all(engine)
    platform.run("INSERT INTO users VALUES (1, 'student', true)", "INSERT INTO quizzes VALUES (1)")
    yield platform
    engine.dispose()


@pytest.fixture
def reader(platform: Platform) -> Iterator[Engine]:
    """The platform's database as a role without any right of its own."""
    role = f"Reader {uuid.uuid4().hex[:8]}"
    platform.run(f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'reader'")
    engine = create_engine(platform.engine.url.set(username=role, password="reader"))  # noqa: S106
    yield engine
    engine.dispose()
    platform.run(f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"')

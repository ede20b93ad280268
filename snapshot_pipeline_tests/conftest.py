"""What every test may ask for: a real PostgreSQL server, and a fresh database on it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import URL, create_engine, make_url, text

from snapshot_pipeline.embedded import EmbeddedServer


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[URL]:
    """A superuser's URL of a real server: `SNAPSHOT_TEST_SERVER_URL`, or one started for the session."""
    if named := os.environ.get("SNAPSHOT_TEST_SERVER_URL"):
        yield make_url(named).set(drivername="postgresql+psycopg2")
        return
    server = EmbeddedServer(tmp_path_factory.mktemp("server"))
    server.start()
    yield server.url("postgres")
    server.delete()  # as root its cluster lies outside of pytest's directory, where nobody would clean up


@pytest.fixture
def database_url(server_url: URL) -> Iterator[URL]:
    """The URL of a new, empty database, dropped after the test."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = create_engine(server_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    yield server_url.set(database=name)
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    admin.dispose()

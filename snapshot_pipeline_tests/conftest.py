"""Fixtures of all tests (a PostgreSQL server, new databases on it), the marker `system`, and the order of the files."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import URL, create_engine, make_url, text

from snapshot_pipeline.embedded import EmbeddedServer
from snapshot_pipeline_tests import order

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts background jobs so; the processes that tests start would inherit it, and not end on Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the system tests and sort the files."""
    order.prepare(items)


@pytest.fixture(scope="session")
def embedded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A running server of our own, which tests share: none of them stops it."""
    server = EmbeddedServer(tmp_path_factory.mktemp("server"))
    server.start()
    admin = create_engine(server.url("postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:  # what tests write need not outlive a power cut
        connection.execute(text("ALTER SYSTEM SET fsync = off"))
        connection.execute(text("SELECT pg_reload_conf()"))
    admin.dispose()
    yield server
    server.delete()  # as root its cluster lies outside of pytest's directory, where nobody would clean up


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest) -> URL:
    """A superuser's URL of a real server: `SNAPSHOT_TEST_SERVER_URL`, or one started for the session."""
    if named := os.environ.get("SNAPSHOT_TEST_SERVER_URL"):
        return make_url(named).set(drivername="postgresql+psycopg2")
    server: EmbeddedServer = request.getfixturevalue("embedded_server")
    return server.url("postgres")


@pytest.fixture
def database_url(server_url: URL) -> Iterator[URL]:
    """The URL of a new, empty database, dropped after the test."""
    with _new_database(server_url) as url:
        yield url


@pytest.fixture(scope="module")
def module_database_url(server_url: URL) -> Iterator[URL]:
    """One such database for all tests of a file, which keep out of each other's way."""
    with _new_database(server_url) as url:
        yield url


@contextmanager
def _new_database(server_url: URL) -> Iterator[URL]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = create_engine(server_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    yield server_url.set(database=name)
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    admin.dispose()

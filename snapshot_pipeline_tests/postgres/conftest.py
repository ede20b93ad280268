"""A database with tables in two schemas, and a role without privileges in it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from snapshot_pipeline_tests.postgres.administration import PASSWORD, administration


@pytest.fixture(scope="session")
def database(server_url: URL) -> Iterator[URL]:
    """A database with tables in two schemas, shared by all tests of this directory."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with administration(server_url) as execute:
        execute(f"CREATE DATABASE {name}")
        with administration(server_url.set(database=name)) as execute_there:
            execute_there("CREATE TABLE public.scores (a int)")
            execute_there('CREATE SCHEMA "My Schema"')
            execute_there('CREATE TABLE "My Schema".scores (a int)')
        yield server_url.set(database=name)
        execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def role(database: URL) -> Iterator[URL]:
    """A role that may only connect, with a password that needs percent-encoding."""
    name = f"Reader {uuid.uuid4().hex[:12]}"
    with administration(database) as execute:
        quoted_password = PASSWORD.replace("'", "''")
        execute(f"CREATE ROLE \"{name}\" LOGIN PASSWORD '{quoted_password}'")
        yield database.set(username=name, password=PASSWORD)
        execute(f'DROP OWNED BY "{name}"')
        execute(f'DROP ROLE "{name}"')

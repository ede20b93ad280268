"""Connections to the running server: they check that it serves our data directory, and create its databases."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import psycopg2
from psycopg2 import errors, sql

from snapshot_pipeline.embedded.directory import ServerDirectory

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

DATABASES = ("platform", "dagster")
USER = "snapshot"
HOST = "127.0.0.1"


class NotOurServerError(Exception):
    """The server on our port serves another data directory, or our server was never started."""


@contextlib.contextmanager
def connected(directory: ServerDirectory) -> Iterator[Connection]:
    """Connect to the server in autocommit mode, and check that it serves our data directory.

    Raises:
        NotOurServerError: It serves another one, or ours was never started.
        psycopg2.OperationalError: It does not answer, or refuses the connection.
    """
    password, port = directory.read("password"), directory.read("port")
    if password is None or port is None or not directory.data.is_dir():
        raise NotOurServerError("no server was ever started")
    connection = psycopg2.connect(
        host=HOST,
        hostaddr=HOST,
        port=port,
        user=USER,
        password=password,
        dbname="postgres",
        sslmode="disable",
        connect_timeout=3,
        client_encoding="UTF8",
        options="-c statement_timeout=60s",
    )
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SHOW cluster_name")
            if cursor.fetchone() != (directory.identity,):
                raise NotOurServerError(f"the server on port {port} serves another directory")
        yield connection
    finally:
        connection.close()


def missing_databases(directory: ServerDirectory) -> tuple[str, ...] | None:
    """Return which of `DATABASES` our running server lacks; None if it does not answer."""
    try:
        with connected(directory) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database")
            existing = {name for (name,) in cursor.fetchall()}
    except (psycopg2.Error, NotOurServerError):
        return None
    return tuple(name for name in DATABASES if name not in existing)


def create_databases(directory: ServerDirectory) -> None:
    """Create those of `DATABASES` that are missing."""
    for name in missing_databases(directory) or ():
        # The statement of a process that was killed while it created one goes on, and may finish before ours.
        with (
            contextlib.suppress(errors.DuplicateDatabase, errors.UniqueViolation),
            connected(directory) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

"""What every connection is opened with: parameters of libpq, and settings of the session.

The settings travel in the URL as startup options, so that both drivers and the workers of a cluster have them. Poolers
such as PgBouncer drop startup options: the settings are therefore set once more after connecting.
"""

from __future__ import annotations

import re
import selectors
import time
from collections.abc import Mapping
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import psycopg2
from psycopg2.extensions import parse_dsn
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError

from snapshot_pipeline.postgres.errors import DatabaseError
from snapshot_pipeline.postgres.urls import CONNECTION_DEFAULTS, adbc_uri, masked_url, quote_identifier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg2.extensions import connection as DriverConnection

ENCODING = "UTF8"

PINNED = {
    "client_encoding": ENCODING,
    "quote_all_identifiers": "off",  # on, it changes the names that catalogs return: ADBC finds no type
    "standard_conforming_strings": "on",  # off, a backslash in a literal is an escape
}
"""Settings that must have these values in every session, whatever the server, the database or the role sets."""

POOLING_ADVICE = (
    "a pooler gives each transaction another session, so that locks and time limits are lost or leak to other clients; "
    "set pool_mode = session for the pipeline's database in pgbouncer.ini, or connect without the pooler"
)

_PROBES = 3

_IDLE_SECONDS = 1.0


def open_engine(url: URL, settings: Mapping[str, str] | None = None, **options: Any) -> Engine:
    """Create an engine; its URL serves `adbc_uri` too, and gives bulk transfers the same settings.

    Args:
        settings: Settings of each session, such as `lock_timeout`; the URL's own `options` take precedence.
        options: Arguments of `create_engine`.
    """
    complete = complete_url(url, settings)
    # Without use_native_hstore=False, each new connection would look a type up that nobody uses.
    engine = create_engine(complete, use_native_hstore=False, **options)
    is_checked = False

    def set_up(connection: DriverConnection, _record: object) -> None:
        nonlocal is_checked
        connection.set_client_encoding(ENCODING)
        wanted = session_settings(adbc_uri(complete))
        with _autocommit(connection):
            if not is_checked:
                # On a direct connection all are in force. If a pooler has dropped them, this must be the pipeline's own
                # session: otherwise they would reach other clients.
                differing = _differing(connection, wanted)
                if differing and _has_changing_session(connection, complete):
                    raise DatabaseError(f"{masked_url(url)}: {POOLING_ADVICE}")
                if "quote_all_identifiers" in differing:
                    raise DatabaseError(f"{masked_url(url)}: {_quoting_advice(url)}")
                is_checked = True
            with connection.cursor() as cursor:
                cursor.execute(set_statement(wanted))

    event.listen(engine, "connect", set_up)
    return engine


def replace_closed_connections(engine: Engine) -> None:
    """Let the pool reconnect silently when the server has closed a connection, after a restart for example.

    `pool_pre_ping` does the same with a query at every checkout, which doubles the queries of Dagster's storage. Here
    the server is asked only if it has sent something, such as its farewell, or nothing was asked for a second.
    """

    def check(connection: Any, record: Any, _proxy: object) -> None:
        returned = record.info.get("returned")
        if returned is None:  # a new connection
            return
        try:
            if time.monotonic() - returned >= _IDLE_SECONDS or _has_input(connection):
                engine.dialect.do_ping(connection)
        except psycopg2.Error as error:
            raise DisconnectionError(str(error)) from error

    def note(_connection: object, record: Any) -> None:
        record.info["returned"] = time.monotonic()

    event.listen(engine, "checkout", check)
    event.listen(engine, "checkin", note)


def _has_input(connection: DriverConnection) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        return bool(selector.select(0))


def complete_url(url: URL, settings: Mapping[str, str] | None = None) -> URL:
    """Add the parameters of every connection to a URL, and the settings as startup options."""
    url = url.update_query_dict({name: value for name, value in CONNECTION_DEFAULTS.items() if name not in url.query})
    url = url.update_query_dict({"client_encoding": ENCODING})
    given = url.query.get("options", "")
    # PostgreSQL uses the last of two equal options: the user's own replace ours, but not those that are pinned.
    options = [*_options(settings or {}), *([given] if isinstance(given, str) else given), *_options(PINNED)]
    return url.update_query_dict({"options": " ".join(option for option in options if option)})


@lru_cache
def session_settings(uri: str) -> Mapping[str, str]:
    """Return the settings in the startup options of a libpq URI, and those that are pinned."""
    words = re.findall(r"(?:\\.|[^\s\\])+", parse_dsn(uri).get("options") or "")
    # `-c name=value`, `-cname=value` and `--name=value` mean the same.
    assignments = re.findall(r"(?:^|\0)(?:-c\0?|--)([^=\0]+)=([^\0]*)", "\0".join(words))
    values = {name.replace("-", "_"): re.sub(r"\\(.)", r"\1", value) for name, value in assignments}
    return {**values, **PINNED}


def set_statement(settings: Mapping[str, str]) -> str:
    """Return the query that sets the settings for the rest of the session."""
    calls = (f"set_config({_literal(name)}, {_literal(value)}, false)" for name, value in settings.items())
    return f"SELECT {', '.join(calls)}"


def settings_not_in_force(connection: Connection) -> dict[str, tuple[str, str]]:
    """Return the settings of the engine's URL that its session does not have: name, value in force, value expected."""
    driver_connection: Any = connection.connection.driver_connection
    return _differing(driver_connection, session_settings(adbc_uri(connection.engine.url)))


def is_transaction_pooled(connection: Connection) -> bool:
    """Return whether a pooler gives the connection another session of the server in each transaction."""
    driver_connection: Any = connection.connection.driver_connection
    with _autocommit(driver_connection):
        return _has_changing_session(driver_connection, connection.engine.url)


def server_encoding(connection: Connection) -> str:
    """Return the encoding of the database, such as UTF8."""
    driver_connection: Any = connection.connection.driver_connection
    return str(driver_connection.get_parameter_status("server_encoding"))


def require_utf8(engine: Engine) -> None:
    """Connect and check the encoding of the database.

    Raises:
        DatabaseError: The encoding is not UTF8.
    """
    with engine.connect() as connection:
        _require_utf8(connection)


def require_own_session(connection: Connection) -> None:
    """Check the encoding of the database, and that no pooler shares the session; for a connection without transaction.

    Raises:
        DatabaseError: The encoding is not UTF8, or a pooler gives each transaction another session.
    """
    _require_utf8(connection)
    if is_transaction_pooled(connection):
        raise DatabaseError(f"{masked_url(connection.engine.url)}: {POOLING_ADVICE}")


def _require_utf8(connection: Connection) -> None:
    encoding = server_encoding(connection)
    if encoding != ENCODING:
        raise DatabaseError(f"{masked_url(connection.engine.url)}: {encoding_advice(encoding)}")


def encoding_advice(encoding: str) -> str:
    """Return what is wrong with an encoding and what to do, in one line."""
    return (
        f"the database has the encoding {encoding}, which cannot store every text; expected {ENCODING}: restore a dump "
        "of it into a database created with ENCODING 'UTF8' TEMPLATE template0"
    )


def _quoting_advice(url: URL) -> str:
    role = quote_identifier(url.username or "")
    return (
        "quote_all_identifiers is on, so ADBC cannot find types, and a pooler drops the startup option that turns it "
        f"off; run ALTER ROLE {role} SET quote_all_identifiers = off;"
    )


def _options(settings: Mapping[str, str]) -> list[str]:
    return [f"-c {name}={value}" for name, value in settings.items()]


def _literal(value: str) -> str:
    # E'' means the same whatever standard_conforming_strings is.
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"


def _differing(connection: DriverConnection, wanted: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return name, value in force and value expected of the settings that differ; changes nothing."""
    names, values = list(wanted), list(wanted.values())
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting(name, true) FROM unnest(%s::text[]) AS name", (names,))
        in_force = [value for (value,) in cursor.fetchall()]
        # The server writes a value in its own way, such as 10s for 10000: so it writes both. Local to the statement.
        cursor.execute(
            "SELECT set_config(name, value, true) FROM unnest(%s::text[], %s::text[]) AS wanted(name, value)",
            (names, values),
        )
        expected = [value for (value,) in cursor.fetchall()]
    pairs = zip(names, in_force, expected, strict=True)
    return {name: (str(now), value) for name, now, value in pairs if now != value}


def _has_changing_session(connection: DriverConnection, url: URL) -> bool:
    """Compare the server's processes of two connections: a pooler that shares them gives both the same one."""
    with closing(psycopg2.connect(adbc_uri(url))) as other:
        for _ in range(_PROBES):
            process = _server_process(connection)
            if _server_process(other) == process:  # its transaction stays open meanwhile
                return True
            if _server_process(connection) != process:
                return True
            other.rollback()
    return False


def _server_process(connection: DriverConnection) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_catalog.pg_backend_pid()")
        (process,) = cursor.fetchone() or (0,)
    return int(process)


@contextmanager
def _autocommit(connection: DriverConnection) -> Iterator[None]:
    before = connection.autocommit
    if not before:
        connection.rollback()
        connection.autocommit = True
    try:
        yield
    finally:
        if not before and not connection.closed:
            connection.autocommit = before

"""SQLAlchemy engines and transactions: which databases the settings name, how they are connected to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import URL, Connection, Engine, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.embedded import EmbeddedServer
from snapshot_pipeline.postgres.errors import readable_database_errors, retry_transient
from snapshot_pipeline.postgres.sessions import open_engine, replace_closed_connections
from snapshot_pipeline.postgres.urls import parse_url
from snapshot_pipeline.settings import Settings

P = ParamSpec("P")
Result = TypeVar("Result")

_EMBEDDED_PLATFORM = "platform"
_DAGSTER_SUFFIX = "_dagster"
_NAME_BYTES = 63  # PostgreSQL cuts longer names


def run_transaction(
    engine: Engine, function: Callable[Concatenate[Connection, P], Result], *args: P.args, **kwargs: P.kwargs
) -> Result:
    """Call `function(connection, *args, **kwargs)` in a transaction; repeat both as `retry_transient` does.

    The transaction is committed when the function returns and rolled back when it raises. All effects of the function
    must belong to the transaction, since it may be called several times.

    Raises:
        Exception: The error of the last attempt, or the first error that is not transient.
    """

    def attempt() -> Result:
        with engine.begin() as connection:
            return function(connection, *args, **kwargs)

    return retry_transient(attempt)


def platform_url(settings: Settings) -> URL:
    """Return the URL of the platform's database.

    It is SNAPSHOT_DATABASE_URL or, when that is unset, the database `platform` of the embedded server, which is started
    if it is not running.

    Raises:
        DatabaseUrlError: The URL is not valid.
        EmbeddedServerError: The server cannot be started.
    """
    if settings.database_url:
        return parse_url(settings.database_url.get_secret_value(), "SNAPSHOT_DATABASE_URL")
    return _embedded_url(settings, _EMBEDDED_PLATFORM)


def platform_database_name(settings: Settings) -> str:
    """Return the name of the platform's database; connects to nothing and starts no server."""
    return str(platform_url(settings).database) if settings.database_url else _EMBEDDED_PLATFORM


def dagster_url(settings: Settings) -> URL:
    """Return the URL of Dagster's database.

    It is SNAPSHOT_DAGSTER_DATABASE_URL or, when that is unset, `<platform's database>_dagster` on the platform's
    server, and `dagster` on the embedded one.
    """
    if settings.dagster_database_url:
        return parse_url(settings.dagster_database_url.get_secret_value(), "SNAPSHOT_DAGSTER_DATABASE_URL")
    if settings.database_url:
        name = platform_database_name(settings).encode()[: _NAME_BYTES - len(_DAGSTER_SUFFIX)].decode(errors="ignore")
        return platform_url(settings).set(database=name + _DAGSTER_SUFFIX)
    return _embedded_url(settings, "dagster")


def create_platform_engine(settings: Settings) -> Engine:
    """Create an engine for small queries to the database of `platform_url`; its URL serves `adbc_uri` too.

    Every session has the lock, statement and idle-in-transaction timeouts of the settings: the application that owns
    the database comes first.
    """
    return _create_engine(platform_url(settings), settings)


def create_source_engine(settings: Settings) -> Engine | None:
    """Create the same for SNAPSHOT_SOURCE_DATABASE_URL; return None if that is unset."""
    if settings.source_database_url is None:
        return None
    url = parse_url(settings.source_database_url.get_secret_value(), "SNAPSHOT_SOURCE_DATABASE_URL")
    return _create_engine(url, settings)


def check_connection(url: URL) -> None:
    """Connect once.

    Raises:
        DatabaseError: The connection fails; one line that says why and what to do.
    """
    engine = open_engine(url, poolclass=NullPool)
    with readable_database_errors(url), engine.connect() as connection:
        connection.execute(text("SELECT 1"))


def start_existing_server(settings: Settings) -> None:
    """Start the embedded server if the settings name no database, for a command that only reads: never create one.

    Raises:
        EmbeddedServerError: There is none yet, or it cannot be started.
    """
    if settings.database_url is None:
        EmbeddedServer(settings.home).start_existing()


def _embedded_url(settings: Settings, database: str) -> URL:
    server = EmbeddedServer(settings.home)
    server.start()
    return server.url(database)


def _create_engine(url: URL, settings: Settings) -> Engine:
    engine = open_engine(url, _time_limits(settings), pool_size=2, max_overflow=8)
    replace_closed_connections(engine)
    return engine


def _time_limits(settings: Settings) -> dict[str, str]:
    limits = {
        "lock_timeout": settings.lock_timeout_seconds,
        "statement_timeout": settings.statement_timeout_seconds,
        "idle_in_transaction_session_timeout": settings.statement_timeout_seconds,
    }
    return {name: str(max(1, round(seconds * 1000))) for name, seconds in limits.items()}

"""An open installation: settings, databases, our tables, and the transactions and locks of its runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine

from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.postgres.engines import (
    create_platform_engine,
    create_source_engine,
    run_transaction,
    start_existing_server,
)
from snapshot_pipeline.postgres.errors import readable_database_errors
from snapshot_pipeline.postgres.sessions import require_utf8
from snapshot_pipeline.postgres.urls import adbc_uri
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.locks import LeasedLock, exclusive_days, exclusive_recommendations
from snapshot_pipeline.store.migrate import migrate, require_tables
from snapshot_pipeline.store.tables import StoreTables

P = ParamSpec("P")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Installation:
    """An open installation; see `open_installation`.

    Attributes:
        engine: The database of our tables, for small queries.
        uri: The same for bulk transfers by ADBC; contains the password, so it is never shown.
        source_engine: The database of the platform's tables, for small queries; usually `engine`.
    """

    settings: Settings
    engine: Engine
    uri: str = field(repr=False)
    source_engine: Engine

    @property
    def store(self) -> StoreTables:
        return StoreTables.of(self.settings.store_schema)

    def transaction(
        self, function: Callable[Concatenate[Connection, StoreTables, P], Result], *args: P.args, **kwargs: P.kwargs
    ) -> Result:
        """Call a function of `store` with a connection and our tables, in a transaction that is retried.

        For example `installation.transaction(day_counts, first, last)`; see `run_transaction`.
        """
        return run_transaction(self.engine, function, self.store, *args, **kwargs)

    def leased_transaction(
        self,
        lock: LeasedLock,
        function: Callable[Concatenate[Connection, StoreTables, P], Result],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Result:
        """As `transaction`, but only while the run holds its lock and lease.

        Raises:
            LeaseLostError: Another run has taken over.
        """

        def publish(connection: Connection) -> Result:
            lock.check_lock()
            lock.lease.check(connection)
            return function(connection, self.store, *args, **kwargs)

        return run_transaction(self.engine, publish)

    def lock_days(self, first: date, last: date, owner: str) -> AbstractContextManager[LeasedLock]:
        """Lock the days `first … last` for a run; see `exclusive_days`."""
        settings = self.settings
        return exclusive_days(self.engine, settings.store_schema, first, last, owner, settings.run_lock_seconds)

    def lock_recommendations(self, owner: str) -> AbstractContextManager[LeasedLock]:
        """Lock the recommendations for a run; see `exclusive_recommendations`."""
        settings = self.settings
        return exclusive_recommendations(self.engine, settings.store_schema, owner, settings.run_lock_seconds)


@contextmanager
def open_installation(settings: Settings) -> Iterator[Installation]:
    """Connect to the database, or start the embedded one, and migrate our tables.

    Raises:
        SnapshotPipelineError: The database cannot be used; one line that says why and what to do.
    """
    with _connected(settings) as installation:
        migrate(installation.engine, settings.store_schema)
        yield installation


@contextmanager
def open_for_reading(settings: Settings) -> Iterator[Installation]:
    """As `open_installation`, for a command that only reads: our tables must exist, and are not migrated.

    An embedded server is started if it exists, and never created.

    Raises:
        SnapshotPipelineError: The database cannot be used, or our tables do not exist yet.
    """
    start_existing_server(settings)
    with _connected(settings) as installation:
        require_tables(installation.engine, settings.store_schema)
        yield installation


@contextmanager
def _connected(settings: Settings) -> Iterator[Installation]:
    engine = create_platform_engine(settings)
    source_engine = create_source_engine(settings) or engine
    try:
        uri = adbc_uri(engine.url)
        with readable_database_errors(engine.url), bulk.shared_type_cache(uri, adbc_uri(source_engine.url)):
            require_utf8(engine)
            yield Installation(settings, engine, uri, source_engine)
    finally:
        engine.dispose()
        source_engine.dispose()

"""One installation: its settings, its database, its tables.

Put here: what every run needs before it can begin. Do not put here: the runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Engine

from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.postgres.engines import create_platform_engine, create_source_engine
from snapshot_pipeline.postgres.errors import readable_database_errors
from snapshot_pipeline.postgres.urls import adbc_uri
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.migrate import migrate
from snapshot_pipeline.store.tables import StoreTables


@dataclass(frozen=True)
class Installation:
    """An open installation; see `open_installation`.

    Attributes:
        settings: What the operator has set.
        engine: For small questions, by SQLAlchemy.
        uri: For bulk transfers, by ADBC; holds the password, so it is never shown.
        source_engine: For small questions about the platform: `engine`, unless it is read in a database of its own.
    """

    settings: Settings
    engine: Engine
    uri: str = field(repr=False)
    source_engine: Engine

    @property
    def store(self) -> StoreTables:
        """The tables that we own."""
        return StoreTables.of(self.settings.store_schema)


@contextmanager
def open_installation(settings: Settings) -> Iterator[Installation]:
    """Start or find the database and bring our tables up to date; everything is closed at the end.

    Raises:
        SnapshotPipelineError: The database cannot be used; one line that says why and what to do.
    """
    engine = create_platform_engine(settings)
    source_engine = create_source_engine(settings) or engine
    try:
        uri = adbc_uri(engine.url)
        with readable_database_errors(engine.url), bulk.shared_type_cache(uri, adbc_uri(source_engine.url)):
            migrate(engine, settings.store_schema)
            yield Installation(settings, engine, uri, source_engine)
    finally:
        engine.dispose()
        source_engine.dispose()

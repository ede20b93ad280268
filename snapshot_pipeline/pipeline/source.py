"""Where a run reads the platform: in its own database, or in a read replica that has come far enough.

Put here: what a batch needs to read, wherever it is worked on.
Do not put here: the questions (`platform.reads`), or how far a replica has come (`platform.replication`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import URL

from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.platform.reads import PlatformReader, PlatformTables, read_session
from snapshot_pipeline.platform.replication import Replica
from snapshot_pipeline.postgres.errors import readable_database_errors, retry_transient
from snapshot_pipeline.postgres.urls import adbc_uri


@dataclass(frozen=True)
class Source:
    """The platform as one run reads it; picklable.

    Attributes:
        url: The database; holds the password, which no form of it shows.
        is_replica: Whether it is another one than that of our tables, so that an error must name it.
        tables: The platform's tables.
        naive_zone: The zone that plain time stamps are read in.
        position: How far a replica must have come in the write-ahead log before it is read; None where it is none.
    """

    url: URL
    is_replica: bool
    tables: PlatformTables
    naive_zone: ZoneInfo
    position: str | None = None

    @contextmanager
    def session(self) -> Iterator[PlatformReader]:
        """Read in one transaction: all that is read in it belongs to one state of the platform, see `read_session`.

        Raises:
            ReplicaBehindError: One name stands for several replicas, and this one is not as far as the first.
        """
        # Without a replica the errors are made readable where the installation is opened.
        readable = readable_database_errors(self.url) if self.is_replica else nullcontext()
        with readable, read_session(adbc_uri(self.url), self.tables, self.naive_zone, self.position) as reader:
            yield reader

    def not_before(self, reader: PlatformReader) -> Source:
        """The same, read in no earlier state than an open session sees."""
        if self.position is None:
            return self  # no standby, which has but one state
        return replace(self, position=reader.position() or self.position)


def open_source(installation: Installation, until: datetime | None) -> Source:
    """Find the platform's tables, and wait for a replica that does not have all that happened before a moment.

    Args:
        installation: Where.
        until: The end of what is to be computed, which has passed; None for a look at the platform as it is, however
            far a replica is behind.

    Raises:
        ReplicaBehindError: The replica has not come so far within SNAPSHOT_REPLICA_WAIT_SECONDS.
        SnapshotPipelineError: A table is missing, or something else that the operator can mend.
    """
    engine, settings = installation.source_engine, installation.settings
    is_replica = engine is not installation.engine
    with readable_database_errors(engine.url) if is_replica else nullcontext():
        tables = retry_transient(lambda: PlatformTables.of(engine, settings.platform_schema))
        source = Source(engine.url, is_replica, tables, settings.naive_zone)
        if until is None or not is_replica:
            return source
        position = Replica(engine, installation.engine).await_replay(until, settings.replica_wait_seconds)
        return replace(source, position=position)

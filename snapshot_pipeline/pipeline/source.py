"""The platform as a run reads it: in its own database, or on a read replica that has replayed enough."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from sqlalchemy import URL

from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.platform.reads import PlatformReader, PlatformTables, ReadRules, read_session
from snapshot_pipeline.platform.replication import await_replay
from snapshot_pipeline.postgres.errors import readable_database_errors, retry_transient
from snapshot_pipeline.postgres.sessions import require_utf8
from snapshot_pipeline.postgres.urls import adbc_uri


@dataclass(frozen=True)
class Source:
    """The platform's tables and how to connect to them; picklable.

    Attributes:
        url: The database; its string forms mask the password.
        is_replica: Whether it is not the database of our tables, so that errors must name it.
        rules: How the rows are read; their moment is when the run began.
        position: The write-ahead log position that a replica must have replayed; None if it is not a replica.
    """

    url: URL
    is_replica: bool
    tables: PlatformTables
    rules: ReadRules
    position: str | None = None

    @contextmanager
    def session(self) -> Iterator[PlatformReader]:
        """Open a read-only transaction with one snapshot of the platform; see `read_session`.

        Raises:
            ReplicaBehindError: The host name resolves to several replicas, and this one is behind.
        """
        # Errors of the installation's own database are translated where it is opened.
        readable = readable_database_errors(self.url) if self.is_replica else nullcontext()
        with readable, read_session(adbc_uri(self.url), self.tables, self.rules, self.position) as reader:
            yield reader

    def not_before(self, reader: PlatformReader) -> Source:
        """The same source, but never in an older state than an open session sees."""
        if self.position is None:
            return self  # not a replica, so it has only one state
        return replace(self, position=reader.position() or self.position)


def open_source(installation: Installation, until: datetime | None) -> Source:
    """Find the platform's tables, and wait until a replica has replayed everything before an instant.

    Args:
        until: The end of the days to compute, in the past; None to read the platform as it is, even from a replica that
            is behind.

    Raises:
        ReplicaBehindError: The replica has not replayed enough within SNAPSHOT_REPLICA_WAIT_SECONDS.
        SnapshotPipelineError: A table is missing.
    """
    engine, settings = installation.source_engine, installation.settings
    is_replica = engine is not installation.engine
    with readable_database_errors(engine.url) if is_replica else nullcontext():
        if is_replica:  # not when the installation is opened: most commands do without the replica
            retry_transient(require_utf8, engine)
        tables = retry_transient(PlatformTables.of, engine, settings.platform_schema)
        rules = ReadRules(
            datetime.now(timezone.utc), settings.naive_zone, settings.student_roles, settings.score_maximum
        )
        source = Source(engine.url, is_replica, tables, rules)
        if until is None or not is_replica:
            return source
        position = await_replay(engine, installation.engine, until, settings.replica_wait_seconds)
        return replace(source, position=position)

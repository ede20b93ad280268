"""The storage, artifact and log classes that `dagster.yaml` names; their locations follow from our settings.

So one `dagster.yaml` serves a laptop without any settings and a production server.
See https://docs.dagster.io/deployment/oss/dagster-yaml.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from types import TracebackType
from typing import Any

import psycopg2
from dagster import Field, IntSource
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import URL, Connection, Dialect, Engine, event, func, select

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.home import create_directory
from snapshot_pipeline.orchestration.instance.dagster_internals import (
    CapturedLogContext,
    ConfigurableClassData,
    LocalArtifactStorage,
    LocalComputeLogManager,
    record_processes,
    share_engine,
    space_batched_events,
)
from snapshot_pipeline.orchestration.instance.database import (
    has_dagster_tables,
    owner,
    record_owner,
    require_owner,
)
from snapshot_pipeline.orchestration.instance.run_process import this_process
from snapshot_pipeline.orchestration.names import POOLS, SNAPSHOTS_POOL
from snapshot_pipeline.postgres.engines import dagster_url
from snapshot_pipeline.postgres.errors import is_out_of_connections, readable_database_errors, retry_transient
from snapshot_pipeline.postgres.sessions import complete_url, open_engine, replace_closed_connections, require_utf8
from snapshot_pipeline.settings import Settings, load_settings

EVENT_BATCH_SIZE = "50"
"""Materializations that Dagster writes at a time: a range of 365 days took 5.7 s instead of 14.6 s."""

_CONNECTION_SECONDS = 30
"""Age at which a connection is replaced: a firewall may have dropped one that was idle."""

_FREE_CONNECTION_SECONDS = 30.0
_FREE_CONNECTION_PAUSE = 0.5
"""How long, and how often, a process waits for a free connection."""

_CREATION_SECONDS = 120
"""How long to wait for another process that creates the tables."""


class SnapshotStorage(DagsterPostgresStorage):
    """Dagster's storage in SNAPSHOT_DAGSTER_DATABASE_URL, or in the embedded server, which is started if necessary.

    Dagster's own storage opens a connection per query, a hundred in a run of one day. This one keeps its connections.
    """

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return the one option; everything else comes from the settings."""
        limit = "How many runs may write snapshots at the same time. Default: 1, or the limit that was set in the UI."
        return {"runs_writing_snapshots": Field(IntSource, is_required=False, description=limit)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> SnapshotStorage:
        """Open the storage, create its tables if necessary, and set the limits of the pools."""
        # Here, because every process of a run opens the storage. A value that the operator has set is kept.
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", EVENT_BATCH_SIZE)
        try:
            storage = cls._open(load_settings(), inst_data)
        except SnapshotPipelineError:
            sys.excepthook = _print_on_one_line  # Dagster's own commands leave the error to the interpreter
            raise
        if runs := config_value.get("runs_writing_snapshots"):
            limits = {limit.name: limit.limit for limit in storage.event_log_storage.get_pool_limits()}
            if limits.get(SNAPSHOTS_POOL) != runs:
                storage.event_log_storage.set_concurrency_slots(SNAPSHOTS_POOL, runs)
        return storage

    @classmethod
    def _open(cls, settings: Settings, inst_data: ConfigurableClassData | None) -> SnapshotStorage:
        """Open the storage if the database is this installation's; create what is missing."""
        address, installation = dagster_url(settings), owner(settings)
        url = complete_url(address)
        engine = _engine(url, os.getpid())

        def open_storage(*, creates_tables: bool) -> SnapshotStorage:
            named = url.render_as_string(hide_password=False)
            storage = cls(postgres_url=named, should_autocreate_tables=creates_tables, inst_data=inst_data)
            share_engine(storage, engine)
            space_batched_events(storage)
            record_processes(storage, lambda: this_process(settings.home))
            return storage

        with readable_database_errors(address):
            retry_transient(require_utf8, engine)
            with engine.connect() as connection:
                is_ours = has_dagster_tables(connection, address) and require_owner(connection, address, installation)
            storage = open_storage(creates_tables=False)
            if not is_ours or _unknown_pools(storage):
                with _creation_lock(engine) as connection:
                    storage = open_storage(creates_tables=not has_dagster_tables(connection, address))
                    if not require_owner(connection, address, installation):
                        record_owner(connection, installation)
                    # With only a default limit, the first two runs of a new pool overlap; a stored limit prevents it.
                    for pool in _unknown_pools(storage):
                        storage.event_log_storage.set_concurrency_slots(pool, 1)
        return storage


def _print_on_one_line(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print an error that a user can fix without its traceback; all others as usual."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, SnapshotPipelineError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        sys.__excepthook__(kind, error, traceback)
    else:
        print(f"error: {cause}", file=sys.stderr)


def _unknown_pools(storage: SnapshotStorage) -> list[str]:
    return sorted(set(POOLS) - storage.event_log_storage.get_concurrency_keys())


@contextmanager
def _creation_lock(engine: Engine) -> Iterator[Connection]:
    """Let one process at a time create what is missing: web server, daemon and runs start at the same time."""
    with engine.connect() as connection:
        try:
            connection.execute(select(func.set_config("lock_timeout", f"{_CREATION_SECONDS}s", False)))
            connection.execute(select(func.pg_advisory_lock(func.hashtext("snapshot_pipeline.dagster_storage"))))
            yield connection
        finally:
            connection.invalidate()  # ends the session, and with it the lock


@lru_cache
def _engine(url: URL, process_id: int) -> Engine:
    """Return one engine per process; it keeps two connections, since Dagster sends a query while it reads another.

    The process id is part of the cache key: a forked process must not use its parent's connections.
    """
    engine = open_engine(
        url,
        isolation_level="AUTOCOMMIT",
        pool_size=2,
        max_overflow=-1,  # as many as its threads need at the same time
        pool_recycle=_CONNECTION_SECONDS,
    )
    replace_closed_connections(engine)
    event.listen(engine, "do_connect", _wait_for_free_connection)
    return engine


def _wait_for_free_connection(dialect: Dialect, _record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    """Connect, and try again while all connections are in use: Dagster would give up a run, or its retry, at once."""
    deadline = time.monotonic() + _FREE_CONNECTION_SECONDS
    while True:
        try:
            return dialect.connect(*arguments, **options)
        except psycopg2.OperationalError as error:
            if not is_out_of_connections(str(error)) or time.monotonic() > deadline:
                raise
        time.sleep(_FREE_CONNECTION_PAUSE)


class SnapshotArtifacts(LocalArtifactStorage):
    """Run artifacts in SNAPSHOT_HOME/artifacts."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return no options; the location comes from the settings."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> SnapshotArtifacts:
        """Create the artifact storage."""
        return cls(base_dir=str(create_directory(load_settings().home, "artifacts")), inst_data=inst_data)


class SnapshotComputeLogs(LocalComputeLogManager):
    """Standard output and error of runs in SNAPSHOT_HOME/logs."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return no options; the location comes from the settings."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> SnapshotComputeLogs:
        """Create the log manager."""
        return cls(base_dir=str(create_directory(load_settings().home, "logs")), inst_data=inst_data)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Capture the output of a step; the helper processes that Dagster starts for it ignore Ctrl-C.

        They belong to the terminal's foreground process group, and one of them would print a traceback on Ctrl-C. They
        end with the step.
        """
        with ExitStack() as captured:
            with _block_interrupts():
                context = captured.enter_context(super().capture_logs(log_key))
            yield context


@contextmanager
def _block_interrupts() -> Iterator[None]:
    """Delay Ctrl-C to the end of the block; processes that are started in it inherit the blocked signal."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

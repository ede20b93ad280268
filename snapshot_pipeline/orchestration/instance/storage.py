"""What `dagster.yaml` names, so that one file serves a laptop with nothing set and a production server.

Put here: Dagster's storage, artifacts and logs, with places that follow from our settings.
Do not put here: the launcher (`launcher`), or anything that an asset needs.
See https://docs.dagster.io/deployment/oss/dagster-yaml.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any

from dagster import Field, IntSource
from dagster._core.storage.compute_log_manager import CapturedLogContext
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import retry_pg_connection_fn
from sqlalchemy import URL, Engine, create_engine, inspect

from snapshot_pipeline.orchestration import pools
from snapshot_pipeline.postgres.engines import dagster_url
from snapshot_pipeline.settings import load_settings

EVENT_BATCH_SIZE = "50"
"""Materializations that Dagster writes at a time: a range of 365 days took 5.7 s instead of 14.6 s."""

_CONNECTION_SECONDS = 30
"""The age at which a connection is replaced: one that has stood idle may have been forgotten by a firewall."""

_FIRST_TABLES = frozenset({"runs", "instance_info", "event_logs", "jobs"})
"""By which each part of Dagster's storage knows that its tables have been made."""


class SnapshotStorage(DagsterPostgresStorage):
    """Dagster's records in SNAPSHOT_DAGSTER_DATABASE_URL, or in the embedded server, which is started if need be.

    Dagster's own storage opens a connection for each question, a hundred in a run of one day. Here a process keeps
    those that it has.
    """

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """How many runs may write snapshots at the same time; the settings say the rest."""
        limit = "How many runs may write snapshots at the same time; unset, one, unless it was set in the UI."
        return {"runs_writing_snapshots": Field(IntSource, is_required=False, description=limit)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> SnapshotStorage:
        """Open the storage."""
        # Every process of a run opens the storage, whoever started Dagster; a value of the operator's own counts.
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", EVENT_BATCH_SIZE)
        url = dagster_url(load_settings())
        engine = _engine(url, os.getpid())
        tables = retry_pg_connection_fn(lambda: set(inspect(engine).get_table_names()))
        storage = cls(
            postgres_url=url.render_as_string(hide_password=False),
            should_autocreate_tables=not tables >= _FIRST_TABLES,
            inst_data=inst_data,
        )
        for part in (storage._run_storage, storage._event_log_storage, storage._schedule_storage):
            part._engine = engine  # private in Dagster 1.13; a test counts the connections
        # A default limit alone lets the first two runs of a new pool overlap; one that is stored does not.
        known = storage.event_log_storage.get_concurrency_keys()
        for pool in sorted(set(pools.ALL) - known):
            storage.event_log_storage.set_concurrency_slots(pool, 1)
        if runs := config_value.get("runs_writing_snapshots"):
            _limit(storage, pools.SNAPSHOTS, runs)
        return storage


@lru_cache
def _engine(url: URL, process_id: int) -> Engine:
    """One engine a process: two connections are kept, since Dagster asks one thing while it reads another.

    Args:
        url: Dagster's database.
        process_id: This process; one that was forked must not speak on the connections of its parent.
    """
    return create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        pool_size=2,
        max_overflow=-1,  # as many as its threads need at the same time
        pool_recycle=_CONNECTION_SECONDS,
        pool_pre_ping=True,  # after a restart of the server the next question opens a new one, as if none were kept
    )


def _limit(storage: SnapshotStorage, pool: str, runs: int) -> None:
    stored = {limit.name: limit.limit for limit in storage.event_log_storage.get_pool_limits()}
    if stored.get(pool) != runs:
        storage.event_log_storage.set_concurrency_slots(pool, runs)


class SnapshotArtifacts(LocalArtifactStorage):
    """Run artifacts below SNAPSHOT_HOME."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing to configure: the settings say it."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> SnapshotArtifacts:
        """Name the folder."""
        return cls(base_dir=str(load_settings().home / "artifacts"), inst_data=inst_data)


class SnapshotComputeLogs(LocalComputeLogManager):
    """The output of runs below SNAPSHOT_HOME."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing to configure: the settings say it."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> SnapshotComputeLogs:
        """Name the folder."""
        return cls(base_dir=str(load_settings().home / "logs"), inst_data=inst_data)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Capture what a step prints; the helpers that Dagster starts for it take no notice of Ctrl-C.

        They are in the foreground of the terminal, too, where one of them would answer with a traceback. They end with
        the step.
        """
        with ExitStack() as captured:
            with _interrupts_held_back():
                context = captured.enter_context(super().capture_logs(log_key))
            yield context


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C is answered afterwards; processes that are started meanwhile never hear of it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

"""The lock that the process of a run holds in Dagster's database, so that every machine knows which process runs it.

PostgreSQL releases the lock however the process ends. So it shows what no queue can show: that the process of a run is
gone (`celery_launcher`), and that a run is already being executed (`celery_app`).
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.postgres.engines import dagster_url
from snapshot_pipeline.postgres.errors import retry_transient
from snapshot_pipeline.postgres.sessions import open_engine
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.locks import RunLock, holders

CHECK_SECONDS = 5.0
"""How often the process checks that its session holds the lock, and takes the lock again after a lost connection."""

_SPACE = "snapshot_pipeline.dagster_runs"
_WAIT_SECONDS = 1.0
_LOG = logging.getLogger(__name__)


@contextmanager
def run_lock(settings: Settings, run_id: str, is_run_active: Callable[[], bool]) -> Iterator[None]:
    """Hold the lock of a run while this process executes it; reconnect when the database loses the session.

    Args:
        is_run_active: Returns whether the run is still to be executed; called from another thread every
            `CHECK_SECONDS`. After two negative answers in a row this process is killed: a run that was terminated, or
            given up for dead and retried, must not go on, and a process that waits for the database receives no signal.

    Raises:
        LockedError: Another process executes the run.
    """
    owner = f"run {run_id[:8]} on {socket.gethostname()[:20]}, {os.getpid()}"
    engine = open_engine(dagster_url(settings), poolclass=NullPool)
    lock = RunLock(engine, _SPACE, [_key(run_id)], f"the figures of run {run_id}", owner, _WAIT_SECONDS)
    ended = threading.Event()
    checker = threading.Thread(
        target=_check_periodically, args=(lock, is_run_active, ended), name="run lock", daemon=True
    )
    try:
        retry_transient(lock.check_lock)
        checker.start()
        yield
    finally:
        ended.set()
        if checker.is_alive():
            checker.join()
        lock.release()


def run_lock_holders(settings: Settings, run_id: str) -> list[str]:
    """Return the application names of the sessions that hold the lock of a run; empty if no process executes it."""
    engine = open_engine(dagster_url(settings), poolclass=NullPool)
    with engine.connect() as connection:
        return holders(connection, _SPACE, _key(run_id))


def _check_periodically(lock: RunLock, is_run_active: Callable[[], bool], ended: threading.Event) -> None:
    was_inactive = False
    while not ended.wait(CHECK_SECONDS):
        try:
            lock.check_lock()
            is_inactive = not is_run_active()
            if was_inactive and is_inactive:
                _LOG.warning("the run has ended according to Dagster, so this process ends")
                os.kill(os.getpid(), signal.SIGKILL)
            was_inactive = is_inactive
        except (DBAPIError, SnapshotPipelineError) as error:  # the next check tries again
            _LOG.warning("the lock of the run cannot be checked at the moment: %s", type(error).__name__)


def _key(run_id: str) -> int:
    return UUID(run_id).int % 2**31

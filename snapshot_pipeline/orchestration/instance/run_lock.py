"""Which process is at a run, known to all machines: it holds a lock in Dagster's database for as long as it lives.

Put here: taking that lock, and looking whether somebody has it. PostgreSQL lets go of it however the process ends, so
it says two things that no queue can say: that a run's process is gone, and that a run is already being executed.
Do not put here: who starts runs (`celery_app`), or what follows when one is gone (`celery_launcher`).
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

from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.postgres.engines import dagster_url
from snapshot_pipeline.postgres.errors import retry_transient
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.locks import RunLock, holders

LOOK_SECONDS = 5.0
"""How often the holder looks whether its session still lives, and takes the lock again when it does not."""

_SPACE = "snapshot_pipeline.dagster_runs"
_WAIT_SECONDS = 1.0
_LOG = logging.getLogger(__name__)


@contextmanager
def run_lock(settings: Settings, run_id: str, is_wanted: Callable[[], bool]) -> Iterator[None]:
    """Hold a run for as long as it is executed here; the session is made anew when the database loses it.

    Args:
        settings: The installation.
        run_id: The run.
        is_wanted: Whether the run is still to be executed, asked from another thread every `LOOK_SECONDS`. When it
            says no twice, this process is killed: a run that somebody has ended, or that was given up for dead and is
            being retried, must not go on, and one that waits for the database hears no signal.

    Raises:
        LockedError: Another process executes the run.
    """
    owner = f"run {run_id[:8]} on {socket.gethostname()[:20]}, {os.getpid()}"
    engine = create_engine(dagster_url(settings), poolclass=NullPool)
    lock = RunLock(engine, _SPACE, [_number(run_id)], f"the figures of run {run_id}", owner, _WAIT_SECONDS)
    is_over = threading.Event()
    keeper = threading.Thread(target=_keep, args=(lock, is_wanted, is_over), name="keeps the run held", daemon=True)
    try:
        retry_transient(lock.check_lock)
        keeper.start()
        yield
    finally:
        is_over.set()
        if keeper.is_alive():
            keeper.join()
        lock.release()


def run_lock_holders(settings: Settings, run_id: str) -> list[str]:
    """Who executes a run, as the database server names them; [] when nobody does."""
    engine = create_engine(dagster_url(settings), poolclass=NullPool)
    with engine.connect() as connection:
        return holders(connection, _SPACE, _number(run_id))


def _keep(lock: RunLock, is_wanted: Callable[[], bool], is_over: threading.Event) -> None:
    is_wanted_no_more = False
    while not is_over.wait(LOOK_SECONDS):
        try:
            lock.check_lock()
            was_wanted_no_more, is_wanted_no_more = is_wanted_no_more, not is_wanted()
            if was_wanted_no_more and is_wanted_no_more:
                _LOG.warning("the run is over for everybody else, so this process ends")
                os.kill(os.getpid(), signal.SIGKILL)
        except (DBAPIError, SnapshotPipelineError) as error:  # the next look tries again
            _LOG.warning("the run cannot be held at the moment: %s", type(error).__name__)


def _number(run_id: str) -> int:
    return UUID(run_id).int % 2**31

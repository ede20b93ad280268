"""Proof that the process of a run is alive, or that it has ended: a file that the process keeps locked.

The kernel releases the lock when the process ends, however it ends. So nothing has to be compared that may be wrong:
process ids, which are reused and mean nothing in another container; start times, which move with the clock; host names.
A daemon that cannot see the file knows nothing about the process.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import IO

from dagster import DagsterRun

from snapshot_pipeline.home import HomeError, create_directory
from snapshot_pipeline.orchestration.instance.dagster_internals import HIDDEN_TAG_PREFIX

if sys.platform != "win32":
    import fcntl

PROCESS_TAG = f"{HIDDEN_TAG_PREFIX}snapshot_pipeline/process"
"""Run tag, hidden in the UI: the name of the locked file of the run's process, in SNAPSHOT_HOME/processes; its host."""

_KEPT_SECONDS = 7 * 86_400
"""Age at which the files of ended processes are deleted; no run takes that long."""

_LOG = logging.getLogger(__name__)
_held: dict[tuple[int, Path], IO[bytes]] = {}  # by process id: a forked process needs a file of its own


def this_process(home: Path) -> dict[str, str]:
    """Return the tag for a run that this process executes.

    Where files cannot be locked, as on Windows, its name is `unknown`; it replaces the one that a retry has inherited.
    """
    directory = home / "processes"
    key = os.getpid(), directory
    name = "unknown"
    try:
        if key not in _held and sys.platform != "win32":
            create_directory(home, "processes")
            _delete_old(directory)
            _held[key] = _create_locked(directory / uuid.uuid4().hex)
    except (OSError, HomeError) as error:
        _LOG.warning("cannot create and lock this process's file, so its end will not be noticed: %s", error)
    if key in _held:
        name = Path(_held[key].name).name
    return {PROCESS_TAG: f"{name} on {socket.gethostname()}, process {os.getpid()}"}


def has_ended(home: Path, run: DagsterRun) -> bool:
    """Return whether the process of a run is known to have ended; False if it is alive, or nothing is known."""
    name = run.tags.get(PROCESS_TAG, "").partition(" ")[0]
    return re.fullmatch("[0-9a-f]{32}", name) is not None and _is_unlocked(home / "processes" / name)


def _create_locked(path: Path) -> IO[bytes]:
    file = path.open("xb")
    if sys.platform != "win32":
        path.chmod(0o600)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def _is_unlocked(path: Path) -> bool:
    """Return whether the file exists, and no process holds its lock; False also if that cannot be found out."""
    if sys.platform == "win32":
        return False
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _delete_old(directory: Path) -> None:
    for path in directory.iterdir():
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _KEPT_SECONDS and _is_unlocked(path):
                path.unlink()

"""Which processes of the server are alive.

Put here: how they are told from all others. Do not put here: starting or ending one (`starting`, `stopping`).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

from snapshot_pipeline.embedded.alive import is_held
from snapshot_pipeline.embedded.directory import ServerDirectory

# Servers that this process started. Kept so that one that was killed can be reaped and leaves no zombie, and so that
# Python does not warn of a child that is meant to outlive it.
children: list[subprocess.Popen[bytes]] = []


def any_alive(directory: ServerDirectory) -> bool:
    """Whether any process of the server lives; the lock is asked first, for it costs nothing."""
    for child in children:
        child.poll()
    return is_held(directory) or bool(visible_processes(directory))


def visible_processes(directory: ServerDirectory) -> list[psutil.Process]:
    """The living processes of the server of our data directory, seen from here."""
    return [process for process in psutil.process_iter() if is_ours(process, directory)]


def postmaster(directory: ServerDirectory) -> psutil.Process | None:
    """The living server process that postmaster.pid names; None when that file is stale, or missing."""
    try:
        first_line = (directory.data / "postmaster.pid").read_text(encoding="utf-8").split("\n")[0]
        process = psutil.Process(int(first_line))
    except (OSError, ValueError, psutil.Error):
        return None
    return process if is_ours(process, directory) else None


def is_ours(process: psutil.Process, directory: ServerDirectory) -> bool:
    """Whether it is a living process of the server of our data directory; a zombie is not alive.

    They are known by the identity in their command line or title: /proc shows it to everyone, while the working
    directory of another account's process is hidden from root in a container. The working directory tells of a
    server that was started by hand.
    """
    try:
        if not process.name().startswith("postgres") or process.status() == psutil.STATUS_ZOMBIE:
            return False
        if sys.platform != "win32" and process.uids().real != directory.data.stat().st_uid:
            return False
        return has_our_settings(process, directory) or _works_in(process, directory.data)
    except (psutil.Error, FileNotFoundError):
        return False


def has_our_settings(process: psutil.Process, directory: ServerDirectory) -> bool:
    """Whether the server was started by this package: then its title or command line shows our identity.

    Raises:
        psutil.Error: The process has ended.
    """
    return directory.identity in " ".join(process.cmdline())


def _works_in(process: psutil.Process, directory: Path) -> bool:
    try:
        return Path(process.cwd()).samefile(directory)
    except (psutil.Error, OSError):
        return False

"""Stopping the server, and getting rid of what a killed one left behind.

Put here: what ends processes. Do not put here: how they are found (`processes`).
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time

import psutil

from snapshot_pipeline.embedded.alive import is_held
from snapshot_pipeline.embedded.binaries import program
from snapshot_pipeline.embedded.directory import ServerDirectory
from snapshot_pipeline.embedded.errors import EmbeddedServerError
from snapshot_pipeline.embedded.processes import any_alive, postmaster, visible_processes

STOP_SECONDS = 60.0
ORPHAN_SECONDS = 5.0  # what idle processes of a killed server need to notice that it is gone


def stop(directory: ServerDirectory) -> bool:
    """Stop the server, ending all connections to it; return whether it ran.

    Raises:
        EmbeddedServerError: It did not stop.
    """
    running = postmaster(directory)
    if running is None:
        end_orphans(directory)
        return False
    if sys.platform == "win32":
        control = program("pg_ctl", directory.place, None)
        subprocess.run([control, "stop", "-D", directory.data, "-m", "fast"], check=False)  # noqa: S603
    else:
        with contextlib.suppress(psutil.NoSuchProcess):
            running.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown: roll back, check point, leave
    deadline = time.monotonic() + STOP_SECONDS
    while any_alive(directory):
        if time.monotonic() > deadline:
            raise EmbeddedServerError(
                f"the embedded server (process {running.pid}) did not stop within {STOP_SECONDS:.0f} s; "
                f"see {directory.log}"
            )
        time.sleep(0.02)
    return True


def end_orphans(directory: ServerDirectory) -> None:
    """Wait for what a killed server left behind, and end what does not go: it would keep the new one out.

    Raises:
        EmbeddedServerError: A server that cannot be seen from here works on the cluster.
    """
    deadline = time.monotonic() + ORPHAN_SECONDS
    while any_alive(directory):
        if postmaster(directory):
            return  # it had not written its process id yet
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    for process in visible_processes(directory):
        with contextlib.suppress(psutil.Error):
            process.kill()
    deadline = time.monotonic() + ORPHAN_SECONDS
    while is_held(directory):
        if time.monotonic() > deadline:
            raise EmbeddedServerError(
                f"a server that cannot be seen from here works on {directory.data}, perhaps in another container; "
                "stop that one, or give each its own SNAPSHOT_HOME"
            )
        time.sleep(0.05)

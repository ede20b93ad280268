"""Starting the server, and waiting until it answers.

Put here: the server's command line, and what may go wrong on the way to its first answer. Do not put here: making the
cluster (`cluster`), or getting rid of an earlier server (`stopping`).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

import psutil
import psycopg2

from snapshot_pipeline.embedded import log
from snapshot_pipeline.embedded.account import running_as, server_account
from snapshot_pipeline.embedded.alive import held_alive
from snapshot_pipeline.embedded.binaries import program
from snapshot_pipeline.embedded.connection import HOST, NotOurServerError, connected
from snapshot_pipeline.embedded.directory import ServerDirectory
from snapshot_pipeline.embedded.errors import EmbeddedServerError
from snapshot_pipeline.embedded.ports import free_port
from snapshot_pipeline.embedded.processes import children, has_our_settings, postmaster
from snapshot_pipeline.embedded.stopping import end_orphans

START_SECONDS = 120.0  # crash recovery after a bulk load takes its time
# What the log says of a port that was taken in between, or of processes of a killed server that are not gone yet.
_PASSING = ("could not bind", "could not create any TCP/IP sockets", "shared memory block", "lock file")


def launch(directory: ServerDirectory) -> None:
    """Start the server and wait for its answer; a port that was taken in between is replaced.

    Raises:
        EmbeddedServerError: It does not answer; the message ends with what its log says.
    """
    deadline = time.monotonic() + START_SECONDS
    running = postmaster(directory)
    if running is None:
        end_orphans(directory)
        log.turn_over(directory.log)
    else:
        _learn_port(directory, running)
    while True:
        beginning = log.end_of(directory.log)
        process = None if postmaster(directory) else _spawn(directory)
        problem = _wait(directory, process, deadline)
        if problem is None:
            return
        said = log.said_since(directory.log, beginning)
        if time.monotonic() > deadline or not any(sign in said for sign in _PASSING):
            raise EmbeddedServerError(
                f"the embedded server below {directory.home} {problem}; the end of {directory.log}: {said or '(empty)'}"
            )
        time.sleep(0.2)


def _learn_port(directory: ServerDirectory, running: psutil.Process) -> None:
    """Take down the port of a server that is starting still, or whose port was forgotten."""
    if not has_our_settings(running, directory):
        raise EmbeddedServerError(
            f"a server that was started by hand (process {running.pid}) works on {directory.data}; "
            "stop it (pg_ctl stop), so that it can be started with its own port and settings"
        )
    directory.write("port", (directory.data / "postmaster.pid").read_text(encoding="utf-8").split("\n")[3])


def _spawn(directory: ServerDirectory) -> subprocess.Popen[bytes]:
    account = server_account(directory)
    settings = {
        "port": str(free_port(directory)),
        "listen_addresses": HOST,
        "unix_socket_directories": "",
        "cluster_name": directory.identity,
        "logging_collector": "off",
        "log_destination": "stderr",
        **_shared_memory_settings(),
    }
    command: list[str | Path] = [
        program("postgres", directory.place, account),
        *("-D", directory.data),
        *(argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")),
    ]
    (directory.data / "postmaster.pid").unlink(missing_ok=True)  # nothing of ours lives: see end_orphans
    with directory.log.open("ab") as said, held_alive(directory) as alive:
        process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 - our own binary, our own arguments
            command,
            cwd=directory.data,
            stdout=said,
            stderr=subprocess.STDOUT,
            **_detached(alive),
            **running_as(account),
        )
    children.append(process)
    return process


def _shared_memory_settings() -> dict[str, str]:
    """Keep parallel queries out of a /dev/shm that is too small for them: containers have 64 MB by default."""
    shared = Path("/dev/shm")  # noqa: S108 - looked at, not written
    if shared.is_dir() and shutil.disk_usage(shared).total < 512_000_000:
        return {"dynamic_shared_memory_type": "mmap"}
    return {}


def _detached(alive: IO[bytes]) -> dict[str, Any]:
    """The arguments of `subprocess.Popen` for a process that outlives us and that Ctrl-C does not reach."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    return {"start_new_session": True, "pass_fds": (alive.fileno(),)}


def _wait(directory: ServerDirectory, process: subprocess.Popen[bytes] | None, deadline: float) -> str | None:
    """Wait until the server answers: None. Otherwise what is wrong, as the end of a sentence."""
    last = "no answer"
    while time.monotonic() < deadline:
        try:
            with connected(directory):
                return None
        except (psycopg2.OperationalError, NotOurServerError) as error:
            last = " ".join(str(error).split())
            if "password authentication failed" in last:
                return f"does not accept the password in {directory.path / 'password'}"
        if process is not None and process.poll() is not None:
            return f"ended with status {process.returncode} while it started"
        if process is None and postmaster(directory) is None:
            return "ended while it started"
        time.sleep(0.03)
    return f"did not answer within {START_SECONDS:.0f} s ({last})"

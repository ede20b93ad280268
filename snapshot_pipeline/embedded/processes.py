"""The server's processes: find them, start the server and wait for its answer, stop it, end what a crash left."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import psutil
import psycopg2

from snapshot_pipeline.embedded.connection import HOST, NotOurServerError, connected
from snapshot_pipeline.embedded.directory import EmbeddedServerError, ServerDirectory
from snapshot_pipeline.embedded.programs import program, running_as, server_account

START_SECONDS = 120.0  # crash recovery after a bulk load takes its time
STOP_SECONDS = 60.0
ORPHAN_SECONDS = 5.0  # what idle processes of a killed server need to notice that it is gone

# Below the ephemeral ports of Linux, so that no outgoing connection takes the port while the server is stopped.
PORTS = range(20_000, 30_000)

# Log messages of a start that may be repeated: the port was taken in between, or processes of a killed server have not
# ended yet.
_TRANSIENT = ("could not bind", "could not create any TCP/IP sockets", "shared memory block", "lock file")

_PERMANENT = ("No space left on device", "Disk quota exceeded", "File too large")

# Servers that this process started, each with its data directory. They are kept so that a killed server is reaped and
# leaves no zombie, and so that Python does not warn of a child that is meant to outlive it.
_children: list[tuple[Path, subprocess.Popen[bytes]]] = []


def start(directory: ServerDirectory) -> None:
    """Start the server and wait for its answer; choose another port if its own was taken in between.

    Raises:
        EmbeddedServerError: It does not answer; the message ends with the last lines of its log.
    """
    deadline = time.monotonic() + START_SECONDS
    running = postmaster(directory)
    if running is None:
        end_orphans(directory)
        directory.rotate_log()
    else:
        _recover_port(directory, running)
    while True:
        log_size = directory.log_size()
        process = None if postmaster(directory) else _spawn(directory)
        problem = _wait_for_answer(directory, process, deadline)
        if problem is None:
            return
        log_lines = directory.log_since(log_size)
        if time.monotonic() > deadline or not may_be_retried(log_lines):
            raise EmbeddedServerError(
                f"the embedded server below {directory.home} {problem}; "
                f"the end of {directory.log}: {log_lines or '(empty)'}"
            )
        time.sleep(0.2)


def may_be_retried(log_lines: str) -> bool:
    """Return whether a start that wrote this to the log may succeed soon."""
    return any(part in log_lines for part in _TRANSIENT) and not any(part in log_lines for part in _PERMANENT)


def _recover_port(directory: ServerDirectory, running: psutil.Process) -> None:
    """Store the port of a running server: it may still be starting, or its port file may be wrong."""
    if not _has_our_settings(running, directory):
        raise EmbeddedServerError(
            f"a server that was started by hand (process {running.pid}) is running on {directory.data}; "
            "stop it (pg_ctl stop), so that it can be started with its own port and settings"
        )
    directory.write("port", (directory.data / "postmaster.pid").read_text(encoding="utf-8").split("\n")[3])


def _spawn(directory: ServerDirectory) -> subprocess.Popen[bytes]:
    account = server_account(directory)
    settings = {
        "port": str(_free_port(directory)),
        "listen_addresses": HOST,
        "unix_socket_directories": "",
        "cluster_name": directory.identity,
        "logging_collector": "off",
        "log_destination": "stderr",
        **_shared_memory_settings(),
    }
    command: list[str | Path] = [
        program("postgres", directory.cluster_dir, account),
        *("-D", directory.data),
        *(argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")),
    ]
    (directory.data / "postmaster.pid").unlink(missing_ok=True)  # no process of ours is alive: see end_orphans
    with directory.log.open("ab") as log, directory.alive_lock() as alive:
        process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 - our own binary, our own arguments
            command,
            cwd=directory.data,
            stdout=log,
            stderr=subprocess.STDOUT,
            **_detached(alive),
            **running_as(account),
        )
    _children.append((directory.data, process))
    return process


def _free_port(directory: ServerDirectory) -> int:
    """Return the stored port if it is free, so that URLs stay valid; otherwise choose and store another."""
    stored = directory.read("port")
    if stored and stored.isdecimal() and _is_free(int(stored)):
        return int(stored)
    for _ in range(100):
        port = PORTS[secrets.randbelow(len(PORTS))]
        if _is_free(port):
            directory.write("port", str(port))
            return port
    raise EmbeddedServerError(f"no free port was found on {HOST} between {PORTS[0]} and {PORTS[-1]}")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
        if sys.platform != "win32":  # as PostgreSQL does; the option has another meaning on Windows
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((HOST, port))
        except OSError:
            return False
        return True


def _shared_memory_settings() -> dict[str, str]:
    """Keep parallel queries out of a /dev/shm that is too small for them: containers have 64 MB by default."""
    shared = Path("/dev/shm")  # noqa: S108 - only its size is read
    if shared.is_dir() and shutil.disk_usage(shared).total < 512_000_000:
        return {"dynamic_shared_memory_type": "mmap"}
    return {}


def _detached(alive: IO[bytes]) -> dict[str, Any]:
    """Return the arguments of `subprocess.Popen` for a process that outlives us and that Ctrl-C does not reach."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    return {"start_new_session": True, "pass_fds": (alive.fileno(),)}


def _wait_for_answer(
    directory: ServerDirectory, process: subprocess.Popen[bytes] | None, deadline: float
) -> str | None:
    """Wait until the server answers and return None; otherwise return the problem, as the end of a sentence."""
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
            return f"ended with status {process.returncode} during its start"
        if process is None and postmaster(directory) is None:
            return "ended during its start"
        time.sleep(0.03)
    return f"did not answer within {START_SECONDS:.0f} s ({last})"


def stop(directory: ServerDirectory) -> bool:
    """Stop the server and end all connections to it; return whether it was running."""
    running = postmaster(directory)
    if running is None:
        end_orphans(directory)
        return False
    if sys.platform == "win32":
        control = program("pg_ctl", directory.cluster_dir, None)
        subprocess.run([control, "stop", "-D", directory.data, "-m", "fast"], check=False)  # noqa: S603
    else:
        with contextlib.suppress(psutil.NoSuchProcess):
            running.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown: roll back, check point, exit
    if not _wait_until(lambda: not _is_any_alive(directory), STOP_SECONDS):
        raise EmbeddedServerError(
            f"the embedded server (process {running.pid}) did not stop within {STOP_SECONDS:.0f} s; see {directory.log}"
        )
    return True


def end_orphans(directory: ServerDirectory) -> None:
    """Wait for the processes of a killed server, and kill those that do not end: they would keep a new server out.

    Raises:
        EmbeddedServerError: The cluster is in use by a server that cannot be seen from here.
    """
    # A postmaster may appear: it had not written its process id yet.
    _wait_until(lambda: not _is_any_alive(directory) or postmaster(directory) is not None, ORPHAN_SECONDS)
    if postmaster(directory):
        return
    for process in _visible_processes(directory):
        with contextlib.suppress(psutil.Error):
            process.kill()
    if not _wait_until(lambda: not directory.is_alive_locked(), ORPHAN_SECONDS):
        raise EmbeddedServerError(
            f"a server that is not visible here is running on {directory.data}, perhaps in another container; "
            "stop it, or use a different SNAPSHOT_HOME for each"
        )


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition; return whether it was met in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _is_any_alive(directory: ServerDirectory) -> bool:
    # A killed child frees its lock, and loses its command line, a moment before it can be reaped.
    unreaped = [data for data, child in _children if child.poll() is None]
    # The lock before the processes: to check it costs nothing.
    return directory.data in unreaped or directory.is_alive_locked() or bool(_visible_processes(directory))


def _visible_processes(directory: ServerDirectory) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if is_ours(process, directory)]


def postmaster(directory: ServerDirectory) -> psutil.Process | None:
    """Return the running server process that postmaster.pid names; None if that file is stale or missing."""
    try:
        first_line = (directory.data / "postmaster.pid").read_text(encoding="utf-8").split("\n")[0]
        process = psutil.Process(int(first_line))
    except (OSError, ValueError, psutil.Error):
        return None
    return process if is_ours(process, directory) else None


def is_ours(process: psutil.Process, directory: ServerDirectory) -> bool:
    """Return whether this is a living process (not a zombie) of the server of our data directory.

    Our processes have the directory's identity in their command line or title: /proc shows it to everyone, while the
    working directory of another account's process is hidden from root in a container. The working directory identifies
    a server that was started by hand.
    """
    try:
        if not process.name().startswith("postgres") or process.status() == psutil.STATUS_ZOMBIE:
            return False
        if sys.platform != "win32" and process.uids().real != directory.data.stat().st_uid:
            return False
        return _has_our_settings(process, directory) or _works_in(process, directory.data)
    except (psutil.Error, FileNotFoundError):
        return False


def _has_our_settings(process: psutil.Process, directory: ServerDirectory) -> bool:
    """Return whether this package started the server: its title or command line then contains our identity."""
    return directory.identity in " ".join(process.cmdline())


def _works_in(process: psutil.Process, directory: Path) -> bool:
    try:
        return Path(process.cwd()).samefile(directory)
    except (psutil.Error, OSError):
        return False

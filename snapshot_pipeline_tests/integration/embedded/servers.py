"""Helpers for tests of the embedded server: its processes and files, other client processes, other users."""

from __future__ import annotations

import contextlib
import os
import pwd
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg2

from snapshot_pipeline.embedded import EmbeddedServer

IS_ROOT = os.geteuid() == 0


def plain_url(server: EmbeddedServer, database: str = "platform") -> str:
    return server.url(database).set(drivername="postgresql").render_as_string(hide_password=False)


def execute(server: EmbeddedServer, statement: str, database: str = "platform") -> list[tuple[object, ...]]:
    with contextlib.closing(psycopg2.connect(plain_url(server, database))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


def postmaster(server: EmbeddedServer) -> psutil.Process:
    return psutil.Process(int((data_of(server) / "postmaster.pid").read_text().split()[0]))


def data_of(server: EmbeddedServer) -> Path:
    location = server.home / "postgres" / "location"
    return Path(location.read_text().strip() if location.exists() else location.parent) / "data"


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met within a minute"
        time.sleep(0.002)


def fork(function: Callable[[], object]) -> int:
    """Run `function` in a process, and a process group, of its own; return the process id.

    A fork keeps the modules that are loaded: starting Python takes longer than most of these tests, and other users may
    not be able to reach root's Python.
    """
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.setsid()
        function()
        status = 0
    except BaseException:  # noqa: BLE001 - a forked test must never return into pytest
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def succeeded(child: int) -> bool:
    """Wait for a forked process; return whether its function returned."""
    return os.waitpid(child, 0)[1] == 0


def as_ordinary_user(directory: Path, binaries: Path, function: Callable[[], None]) -> None:
    """Run `function` as the current user or, if that is root, as an unprivileged user, who then owns `directory`."""
    if not IS_ROOT:
        function()
        return
    user = pwd.getpwnam("nobody")
    os.chown(directory, user.pw_uid, user.pw_gid)

    def unprivileged() -> None:
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        sys.path.insert(0, str(binaries))
        function()

    assert succeeded(fork(unprivileged))

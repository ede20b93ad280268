"""Which account runs PostgreSQL's programs, with what environment, and what that account can reach.

Put here: users, rights, and the environment of a program. Do not put here: where things are kept when the account
cannot reach them (`cluster`, `binaries`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snapshot_pipeline.embedded.directory import ServerDirectory
from snapshot_pipeline.embedded.errors import EmbeddedServerError

if sys.platform != "win32":
    import pwd

ACCOUNTS = ("postgres", "nobody")
_ENVIRONMENT = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Account:
    """The unprivileged account that runs the server when we are root."""

    uid: int
    gid: int
    name: str


def server_account(directory: ServerDirectory) -> Account | None:
    """Who runs the server: None for ourselves; for root the owner of the cluster, or one of `ACCOUNTS`.

    Raises:
        EmbeddedServerError: We are root, and none of them exists.
    """
    if sys.platform == "win32" or os.geteuid() != 0:
        return None
    if directory.data.is_dir() and (owner := directory.data.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid, f"uid {owner.st_uid}")
    for name in ACCOUNTS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid, name)
    raise EmbeddedServerError(
        f"PostgreSQL does not run as root, and none of the accounts {', '.join(ACCOUNTS)} exists here; "
        "run as an ordinary user, or set SNAPSHOT_DATABASE_URL to a server"
    )


def running_as(account: Account | None) -> dict[str, Any]:
    """The arguments of `subprocess` that run a program as `account`, with no secret of ours in its environment.

    No PG* or LC_* variable that would mislead it is passed on either.
    """
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    arguments: dict[str, Any] = {"env": {**kept, "LC_ALL": "C", "TZ": "UTC"}, "stdin": subprocess.DEVNULL}
    if account is None:
        return arguments
    return {**arguments, "user": account.uid, "group": account.gid, "extra_groups": []}


def can_run(account: Account, command: Sequence[str | Path]) -> bool:
    """Whether `command` succeeds when `account` runs it."""
    try:
        finished = subprocess.run(  # noqa: S603 - our own commands
            command,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            **running_as(account),
        )
    except OSError:
        return False
    return finished.returncode == 0


def can_write(account: Account, directory: Path) -> bool:
    """Whether `account` reaches and can own a directory in `directory`; found by doing it."""
    try:
        probe = Path(tempfile.mkdtemp(prefix="new-", dir=directory))
        try:
            os.chown(probe, account.uid, account.gid)
            return can_run(account, ["/bin/sh", "-c", 'cd -- "$1" && : > probe', "sh", probe])
        finally:
            shutil.rmtree(probe, ignore_errors=True)
    except OSError:
        return False

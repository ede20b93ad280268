"""The first start: choosing where the cluster is kept, and making it with initdb.

Put here: what a new cluster is like. Do not put here: settings that may differ from start to start (`starting`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

from snapshot_pipeline.embedded.account import Account, can_write, running_as, server_account
from snapshot_pipeline.embedded.binaries import program
from snapshot_pipeline.embedded.connection import USER
from snapshot_pipeline.embedded.directory import ServerDirectory
from snapshot_pipeline.embedded.errors import EmbeddedServerError
from snapshot_pipeline.embedded.log import last_lines

PLACES = (Path("/var/lib/snapshot_pipeline"), Path("/var/tmp"))  # noqa: S108 - the directory made there is random

# Written to postgresql.conf once, where the owner of the server may change them.
_SETTINGS = {
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "wal_level": "minimal",  # nothing replicates from here, and bulk loads write less
    "max_wal_senders": "0",
    "log_checkpoints": "off",
}


def initialise(directory: ServerDirectory) -> None:
    """Make the cluster unless it is there, and remove what an interrupted first start left.

    Raises:
        EmbeddedServerError: It cannot be made, or the one that should be there is not whole.
    """
    for leftover in directory.place.glob("new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if directory.data.is_dir():
        if directory.read("password") is None:
            raise EmbeddedServerError(
                f"{directory.path / 'password'} is missing, so nobody can log in to the cluster beside it; "
                f"put it back, or remove {directory.path} to begin with empty databases"
            )
        return
    if not directory.place.is_dir():
        raise EmbeddedServerError(
            f"{directory.place} is gone, where {directory.path / 'location'} says that the databases are; "
            f"put it back, or remove {directory.path} to begin with empty databases"
        )
    account = server_account(directory)
    if directory.place == directory.path:
        place = _choose_place(directory, account)
        if place != directory.path:
            directory.write("location", str(place))
    password = secrets.token_hex(24)
    directory.write("password", password)
    _make_cluster(directory.place, password, account)


def _choose_place(directory: ServerDirectory, account: Account | None) -> Path:
    if account is None:
        return directory.path
    directory.path.chmod(0o711)  # the account passes through, and sees no list
    if can_write(account, directory.path):
        return directory.path
    for parent in PLACES:
        with contextlib.suppress(OSError):
            parent.mkdir(mode=0o755, exist_ok=True)
            place = Path(tempfile.mkdtemp(prefix="snapshot_pipeline-", dir=parent))
            place.chmod(0o711)
            if can_write(account, place):
                _write_private(place / "home", f"{directory.home}\n")
                return place
            shutil.rmtree(place, ignore_errors=True)
    raise EmbeddedServerError(
        f"PostgreSQL does not run as root, and as the account {account.name} it can write neither below "
        f"{directory.path} nor below {' nor '.join(str(parent) for parent in PLACES)}; "
        "run as an ordinary user, or set SNAPSHOT_HOME to a directory that the account can reach"
    )


def _make_cluster(place: Path, password: str, account: Account | None) -> None:
    """Make it beside its place first, and move it then, so that half of one never counts."""
    initdb = program("initdb", place, account)
    staging = Path(tempfile.mkdtemp(prefix="new-", dir=place))
    try:
        # initdb reads the password from a file, which must be readable by the account that runs it, and by it only.
        password_file = staging / "password"
        _write_private(password_file, f"{password}\n")
        if account:
            os.chown(password_file, account.uid, account.gid)
            os.chown(staging, account.uid, account.gid)
        finished = subprocess.run(  # noqa: S603 - our own binary, our own arguments
            [
                initdb,
                *("--pgdata", staging / "data", "--username", USER, "--pwfile", password_file),
                *("--auth", "scram-sha-256", "--encoding", "UTF8", "--no-instructions"),
                *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"),
                *(argument for name, value in _SETTINGS.items() for argument in ("--set", f"{name}={value}")),
            ],
            cwd=staging,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
            errors="replace",
            **running_as(account),
        )
        if finished.returncode:
            raise EmbeddedServerError(
                f"no PostgreSQL cluster could be made in {place}: {last_lines(finished.stdout)}; "
                "set SNAPSHOT_HOME to a directory on a local disk, or SNAPSHOT_DATABASE_URL to a server"
            )
        (staging / "data").rename(place / "data")
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")

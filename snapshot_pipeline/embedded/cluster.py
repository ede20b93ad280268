"""The first start: choose the directory of the cluster, and create the cluster with initdb."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

from snapshot_pipeline.embedded.connection import USER
from snapshot_pipeline.embedded.directory import EmbeddedServerError, ServerDirectory, last_lines
from snapshot_pipeline.embedded.programs import Account, can_write, program, running_as, server_account

# Parents of the cluster's directory if root's server account cannot reach the home.
FALLBACK_PARENTS = (Path("/var/lib/snapshot_pipeline"), Path("/var/tmp"))  # noqa: S108 - a random name is used there

# Written to postgresql.conf once, where the owner of the server may change them.
_SETTINGS = {
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "wal_level": "minimal",  # nothing replicates from this server, and bulk loads write less
    "max_wal_senders": "0",
    "log_checkpoints": "off",
    # More would only make each connection slower: nobody guesses a password of 192 random bits.
    "scram_iterations": "1",
}


def initialize(directory: ServerDirectory) -> None:
    """Create the cluster unless it exists, and remove what an interrupted first start left.

    Raises:
        EmbeddedServerError: It cannot be created, or the existing one is incomplete.
    """
    for leftover in directory.cluster_dir.glob("new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if directory.data.is_dir():
        if directory.read("password") is None:
            raise EmbeddedServerError(
                f"{directory.path / 'password'} is missing, so the cluster beside it cannot be used; "
                f"restore it, or delete {directory.path} to start with empty databases"
            )
        return
    if not directory.cluster_dir.is_dir():
        raise EmbeddedServerError(
            f"{directory.cluster_dir} is missing, although {directory.path / 'location'} names it; "
            f"restore it, or delete {directory.path} to start with empty databases"
        )
    account = server_account(directory)
    if directory.cluster_dir == directory.path:
        cluster_dir = _choose_cluster_dir(directory, account)
        if cluster_dir != directory.path:
            directory.write("location", str(cluster_dir))
    password = secrets.token_hex(24)
    directory.write("password", password)
    _create_cluster(directory.cluster_dir, password, account)


def _choose_cluster_dir(directory: ServerDirectory, account: Account | None) -> Path:
    if account is None:
        return directory.path
    if can_write(account, directory.path):
        return directory.path
    for parent in FALLBACK_PARENTS:
        with contextlib.suppress(OSError):
            parent.mkdir(mode=0o755, exist_ok=True)
            cluster_dir = Path(tempfile.mkdtemp(prefix="snapshot_pipeline-", dir=parent))
            cluster_dir.chmod(0o711)
            if can_write(account, cluster_dir):
                _write_private(cluster_dir / "home", f"{directory.home}\n")
                return cluster_dir
            shutil.rmtree(cluster_dir, ignore_errors=True)
    raise EmbeddedServerError(
        f"PostgreSQL does not run as root, and the account {account.name} can write neither below "
        f"{directory.path} nor below {' nor '.join(str(parent) for parent in FALLBACK_PARENTS)}; "
        "run as an ordinary user, or set SNAPSHOT_HOME to a directory that the account can reach"
    )


def _create_cluster(cluster_dir: Path, password: str, account: Account | None) -> None:
    """Create the cluster in a temporary directory, then move it, so that an incomplete one is never used."""
    initdb = program("initdb", cluster_dir, account)
    staging = Path(tempfile.mkdtemp(prefix="new-", dir=cluster_dir))
    try:
        # initdb reads the password from a file, which must be readable by the account that runs it, and by no other.
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
                f"no PostgreSQL cluster could be created in {cluster_dir}: {last_lines(finished.stdout)}; "
                "set SNAPSHOT_HOME to a directory on a local disk, or SNAPSHOT_DATABASE_URL to a server"
            )
        (staging / "data").rename(cluster_dir / "data")
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")

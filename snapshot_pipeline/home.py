"""SNAPSHOT_HOME: create it with its directories and modes; refuse what another account could replace with a link."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from snapshot_pipeline.errors import SnapshotPipelineError

HOME_MODE = 0o711
"""Other accounts can pass through, to the reports and to the server's directory, and cannot list what is there."""

_MODES = {"reports": 0o755}  # a web server may serve them
_PRIVATE = 0o700


class HomeError(SnapshotPipelineError):
    """SNAPSHOT_HOME, or a directory in it, cannot be used safely."""


def check_home(home: Path, *names: str) -> None:
    """Check the home and those of its directories that exist; create nothing.

    Raises:
        HomeError: One of them is a link or not a directory; or we are root, and another account can write to it.
    """
    for path in (home, *(home / name for name in names)):
        _check(path)


def create_home(home: Path) -> None:
    """Create the home with `HOME_MODE`, or remove all other permissions from one that we own.

    Raises:
        HomeError: As `check_home`.
        OSError: It cannot be created.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    _create(home, HOME_MODE)


def create_directory(home: Path, name: str, mode: int | None = None) -> Path:
    """Create a directory of the home, and the home; remove all other permissions from one that we own; return its path.

    Args:
        mode: Its rights; by default 0755 for `reports`, 0700 for all others.

    Raises:
        HomeError: As `check_home`.
        OSError: It cannot be created.
    """
    create_home(home)
    _create(home / name, _MODES.get(name, _PRIVATE) if mode is None else mode)
    return home / name


def _create(path: Path, mode: int) -> None:
    try:
        path.mkdir(mode=_PRIVATE)
        path.chmod(mode)  # independent of the umask
    except FileExistsError:
        _check(path)
        status = path.lstat()
        if sys.platform != "win32" and status.st_uid == os.geteuid() and status.st_mode & 0o777 & ~mode:
            path.chmod(status.st_mode & mode)


def _check(path: Path) -> None:
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(status.st_mode):
        what = f"a link to {path.readlink()}" if stat.S_ISLNK(status.st_mode) else "not a directory"
        raise HomeError(f"{path} is {what}; set SNAPSHOT_HOME to a directory whose parts are not links, or remove it")
    if sys.platform == "win32" or os.geteuid() != 0:
        return
    if status.st_uid != 0:
        raise HomeError(
            f"{path} belongs to the user with id {status.st_uid}, who could put links in it for root to follow; "
            "run as that user, or set SNAPSHOT_HOME to a directory that root owns"
        )
    if status.st_mode & 0o022:
        raise HomeError(
            f"other accounts can write to {path} (mode {stat.S_IMODE(status.st_mode):04o}), and could put links in it "
            "for root to follow; set SNAPSHOT_HOME to a directory that only root can write to"
        )

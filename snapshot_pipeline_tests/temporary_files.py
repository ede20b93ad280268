"""Where the tests, and the processes that they start, put temporary files: in memory if possible.

They create and delete hundreds of databases and some servers, each of hundreds of files. ext4 searches the lately
deleted files for each new one: to copy a database takes 250 ms of processor time there, and 15 ms in memory.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 - every file in it has a name that mkdtemp chose
_NEEDED_BYTES = 4 * 2**30  # for the servers of all workers


def directory_in_memory() -> Path | None:
    """Return a directory in memory that has room for the servers of all workers; None if there is none."""
    has_room = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _NEEDED_BYTES
    return _MEMORY if has_room else None


def keep_temporary_files_in_memory() -> None:
    """Set `TMPDIR`, unless no program may be started from there, as in Docker: some tests write scripts."""
    memory = directory_in_memory()
    if memory is not None and not os.statvfs(memory).f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = str(memory)
        tempfile.tempdir = None  # read TMPDIR again

"""The lock `alive`, which the server's processes hold for as long as one of them lives.

Put here: that lock; it tells of servers in other containers that share the directory. Do not put here: processes that
can be seen (`processes`).
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import IO

from snapshot_pipeline.embedded.directory import ServerDirectory
from snapshot_pipeline.embedded.errors import EmbeddedServerError

if sys.platform != "win32":
    import fcntl


@contextlib.contextmanager
def held_alive(directory: ServerDirectory) -> Iterator[IO[bytes]]:
    """The open file `alive`, locked; a process that inherits it holds the lock until it ends, however it ends.

    Raises:
        EmbeddedServerError: A server holds it already.
    """
    with (directory.path / "alive").open("ab") as file:
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EmbeddedServerError(f"a server already works on {directory.data}; try again") from None
        yield file


def is_held(directory: ServerDirectory) -> bool:
    """Whether a process of the server lives, be it in another container; never on Windows, which has no such lock."""
    if sys.platform == "win32" or not (directory.path / "alive").exists():
        return False
    with (directory.path / "alive").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False

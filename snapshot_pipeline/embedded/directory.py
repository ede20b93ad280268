"""The files of one server: where they lie, how they are read and written, and the lock around all changes.

Put here: paths below `<home>/postgres`, and access to them. Do not put here: what the files mean to PostgreSQL
(`cluster`), or who is alive (`alive`, `processes`).
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from snapshot_pipeline.embedded.errors import EmbeddedServerError

LOCK_SECONDS = 180.0  # another process may be starting, and recovering, the same server


@dataclass(frozen=True)
class ServerDirectory:
    """The directory `<home>/postgres`, and the cluster that belongs to it, wherever that is.

    Attributes:
        home: The absolute path of the home directory.
    """

    home: Path

    @property
    def path(self) -> Path:
        """`<home>/postgres`; it may not exist."""
        return self.home / "postgres"

    @property
    def place(self) -> Path:
        """The directory that holds the cluster: `<home>/postgres`, or the one that `location` names."""
        location = self.read("location")
        return Path(location) if location else self.path

    @property
    def data(self) -> Path:
        """PostgreSQL's data directory; it may not exist."""
        return self.place / "data"

    @property
    def log(self) -> Path:
        """What the server says; it may not exist."""
        return self.path / "server.log"

    @property
    def identity(self) -> str:
        """What tells the server of this data directory from all others, of moved and copied homes too.

        Raises:
            FileNotFoundError: There is no data directory.
        """
        status = self.data.stat()
        return f"snapshot_pipeline_{status.st_dev:x}_{status.st_ino:x}_"

    def read(self, name: str) -> str | None:
        """The text of the file `name` below `path`; None when there is none.

        Raises:
            EmbeddedServerError: It belongs to another user.
        """
        path = self.path / name
        try:
            return path.read_text(encoding="utf-8").rstrip("\n")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError:
            raise EmbeddedServerError(
                f"{path} cannot be read: the embedded server belongs to another user; "
                "run as that user, or set SNAPSHOT_HOME to a directory of your own"
            ) from None

    def write(self, name: str, text: str) -> None:
        """Write the file `name` below `path` whole or not at all, readable by its owner only."""
        descriptor, temporary = tempfile.mkstemp(prefix=f".{name}-", dir=self.path)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        Path(temporary).replace(self.path / name)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock under which the server is started, stopped, given its databases and deleted.

        Raises:
            EmbeddedServerError: Another process holds it for too long, or the directory cannot be worked with.
        """
        try:
            self._make()
            with FileLock(self.path / "lock", timeout=LOCK_SECONDS, mode=0o600):
                yield
        except Timeout:
            raise EmbeddedServerError(
                f"another process has been starting or stopping the embedded server for {LOCK_SECONDS:.0f} s; "
                f"find out which one holds {self.path / 'lock'}, or try again later"
            ) from None
        except OSError as error:
            raise EmbeddedServerError(
                f"the embedded server below {self.home} cannot be worked with: {error}; "
                "set SNAPSHOT_HOME to a directory that you can write, or SNAPSHOT_DATABASE_URL to a server"
            ) from None

    def _make(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.path.mkdir(mode=0o700, exist_ok=True)
        owner = self.path.stat().st_uid
        if sys.platform != "win32" and owner != os.geteuid():
            # Root could go on, and would leave files behind that shut the owner out, or follow links laid for it.
            raise EmbeddedServerError(
                f"{self.path} belongs to the user with id {owner}, and you are {os.geteuid()}; "
                "run as that user, or set SNAPSHOT_HOME to a directory of your own"
            )

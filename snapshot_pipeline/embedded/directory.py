"""The files of one server: their paths, its log, and the two lock files."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.home import check_home, create_directory

if sys.platform != "win32":
    import fcntl

LOCK_SECONDS = 180.0  # another process may be starting, and recovering, the same server
MAX_LOG_BYTES = 10_000_000


class EmbeddedServerError(SnapshotPipelineError):
    """The embedded server cannot be started, stopped or reached."""


@dataclass(frozen=True)
class ServerDirectory:
    """The directory `<home>/postgres`, and the directory of the cluster that belongs to it; `home` is absolute."""

    home: Path

    @property
    def path(self) -> Path:
        """`<home>/postgres`; it may not exist."""
        return self.home / "postgres"

    @property
    def cluster_dir(self) -> Path:
        """The directory that contains `data`: `<home>/postgres`, or the one that the file `location` names."""
        location = self.read("location")
        return Path(location) if location else self.path

    @property
    def data(self) -> Path:
        """PostgreSQL's data directory; it may not exist."""
        return self.cluster_dir / "data"

    @property
    def log(self) -> Path:
        """The server's log file; it may not exist."""
        return self.path / "server.log"

    @property
    def identity(self) -> str:
        """A name that distinguishes this data directory from all others, also from copies, and survives a move.

        Raises:
            FileNotFoundError: There is no data directory.
        """
        status = self.data.stat()
        return f"snapshot_pipeline_{status.st_dev:x}_{status.st_ino:x}_"

    def check(self) -> None:
        """Check the directory and the home before anything in them is read; they may not exist.

        Raises:
            HomeError: They are links; or we are root, and another account can write to them.
        """
        check_home(self.home, "postgres")

    def read(self, name: str) -> str | None:
        """Return the text of the file `name` below `path`; None if it does not exist.

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
        """Write the file `name` below `path` atomically, readable by its owner only."""
        descriptor, temporary = tempfile.mkstemp(prefix=f".{name}-", dir=self.path)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        Path(temporary).replace(self.path / name)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock under which the server is started, stopped and deleted, and its databases are created.

        Raises:
            EmbeddedServerError: Another process holds it for too long, or the directory cannot be used.
        """
        try:
            self._create()
            with FileLock(self.path / "lock", timeout=LOCK_SECONDS, mode=0o600):
                yield
        except Timeout:
            raise EmbeddedServerError(
                f"another process has been starting or stopping the embedded server for {LOCK_SECONDS:.0f} s; "
                f"find out which process holds {self.path / 'lock'}, or try again later"
            ) from None
        except OSError as error:
            raise EmbeddedServerError(
                f"the directory of the embedded server below {self.home} cannot be used: {error}; "
                "set SNAPSHOT_HOME to a writable directory, or SNAPSHOT_DATABASE_URL to a server"
            ) from None

    def _create(self) -> None:
        # Root's server runs as another account, which must pass through.
        is_root = sys.platform != "win32" and os.geteuid() == 0
        create_directory(self.home, "postgres", 0o711 if is_root else 0o700)
        owner = self.path.stat().st_uid
        if sys.platform != "win32" and owner != os.geteuid():
            # Root could go on, but would leave files that the owner cannot use, or follow links that the owner made.
            raise EmbeddedServerError(
                f"{self.path} belongs to the user with id {owner}, not {os.geteuid()}; "
                "run as that user, or set SNAPSHOT_HOME to a directory of your own"
            )

    @contextlib.contextmanager
    def alive_lock(self) -> Iterator[IO[bytes]]:
        """Yield the open file `alive`, locked; a process that inherits it holds the lock until it ends.

        Raises:
            EmbeddedServerError: A server holds it already.
        """
        # Private: everybody who can open it can lock it, and so keep the server from starting.
        path = self.path / "alive"
        path.touch(mode=0o600)
        path.chmod(0o600)
        with path.open("ab") as file:
            if sys.platform != "win32":
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise EmbeddedServerError(f"a server is already running on {self.data}; try again") from None
            yield file

    def is_alive_locked(self) -> bool:
        """Return whether a process of the server is alive, also in another container that shares the directory.

        Always False on Windows, which has no such lock.
        """
        if sys.platform == "win32" or not (self.path / "alive").exists():
            return False
        with (self.path / "alive").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def rotate_log(self) -> None:
        """Rename a log of more than `MAX_LOG_BYTES` to `server.log.1`; no server may be writing to it."""
        if self.log.exists() and self.log.stat().st_size > MAX_LOG_BYTES:
            self.log.replace(self.log.with_name(f"{self.log.name}.1"))

    def log_size(self) -> int:
        """Return the log's size in bytes; create it, readable by its owner only, if it does not exist."""
        self.log.touch(mode=0o600)
        return self.log.stat().st_size

    def log_since(self, offset: int) -> str:
        """Return the last lines of the log after the first `offset` bytes, as one line."""
        with self.log.open("rb") as file:
            file.seek(offset)
            return last_lines(file.read().decode(errors="replace"))


def last_lines(text: str) -> str:
    """Return the last five lines as one line."""
    return " | ".join(line.strip() for line in text.splitlines()[-5:] if line.strip())

"""`EmbeddedServer`, the interface of this package: start, stop, delete, URL."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2

from snapshot_pipeline.embedded import processes
from snapshot_pipeline.embedded.cluster import initialize
from snapshot_pipeline.embedded.connection import HOST, USER, NotOurServerError, create_databases, missing_databases
from snapshot_pipeline.embedded.directory import EmbeddedServerError, ServerDirectory

if TYPE_CHECKING:
    from sqlalchemy import URL


class EmbeddedServer:
    """The PostgreSQL server of one home directory, created if need be; any number of processes may use it."""

    def __init__(self, home: Path) -> None:
        self.home = Path(home).absolute()
        self._directory = ServerDirectory(self.home)

    def start(self) -> None:
        """Start the server unless it is running, and create the missing ones of `DATABASES`.

        Takes about a second for a new home, and the few milliseconds of one connection when the server is running. The
        server outlives this process, and Ctrl-C in its terminal.

        Raises:
            EmbeddedServerError: It could not be started; the message ends with the last lines of its log.
        """
        self._directory.check()
        if missing_databases(self._directory) == ():
            return
        with self._directory.locked():
            if not self.is_running():
                initialize(self._directory)
                processes.start(self._directory)
            try:
                create_databases(self._directory)
            except (psycopg2.Error, NotOurServerError) as error:
                raise EmbeddedServerError(
                    f"the embedded server below {self.home} runs, but its databases cannot be created: "
                    f"{' '.join(str(error).split())}; see {self._directory.log}"
                ) from None

    def start_existing(self) -> None:
        """As `start`, but only if the server was created before.

        Raises:
            EmbeddedServerError: There is none, or it could not be started.
        """
        self._directory.check()
        if not self._directory.data.is_dir():
            raise EmbeddedServerError(
                f"SNAPSHOT_DATABASE_URL is not set, and there is no embedded server in {self.home}; run this command "
                "where the other commands run, set DAGSTER_HOME to the directory of your .env, or create the server "
                "with `snapshot-pipeline demo` or `snapshot-pipeline db start`"
            )
        self.start()

    def stop(self) -> bool:
        """Stop the server and end all connections to it; return whether it was running."""
        self._directory.check()
        if self._directory.read("port") is None:
            return False
        with self._directory.locked():
            return processes.stop(self._directory)

    def delete(self) -> None:
        """Stop the server and remove all its files, its databases included; the home itself stays."""
        self._directory.check()
        if self._directory.read("lock") is None:
            return
        with self._directory.locked():
            processes.stop(self._directory)
            for directory in (self._directory.cluster_dir, self._directory.path):
                shutil.rmtree(directory, ignore_errors=True)

    def is_running(self) -> bool:
        """Return whether the server of this home answers; a process id or another server on its port does not count."""
        self._directory.check()
        return missing_databases(self._directory) is not None

    def url(self, database: str) -> URL:
        """Return the superuser's URL of `database`, with the driver psycopg2.

        Raises:
            EmbeddedServerError: The server was never started.
        """
        from sqlalchemy import URL  # by far the slowest import of this package

        self._directory.check()
        password, port = self._directory.read("password"), self._directory.read("port")
        if password is None or port is None:
            raise EmbeddedServerError(f"no embedded server was ever started below {self.home}; start it first")
        # A PGSSLMODE that is meant for another server would make libpq refuse this one.
        query = {"sslmode": "disable"} if "PGSSLMODE" in os.environ else {}
        return URL.create("postgresql+psycopg2", USER, password, HOST, int(port), database, query)

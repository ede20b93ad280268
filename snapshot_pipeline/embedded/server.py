"""The server of one home directory, as the rest of the code sees it: start, stop, delete, URL.

Put here: the order in which the other modules are asked. Do not put here: how any of it is done.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from snapshot_pipeline.embedded.cluster import initialise
from snapshot_pipeline.embedded.connection import HOST, USER, create_databases, missing_databases
from snapshot_pipeline.embedded.directory import ServerDirectory
from snapshot_pipeline.embedded.errors import EmbeddedServerError
from snapshot_pipeline.embedded.starting import launch
from snapshot_pipeline.embedded.stopping import stop

if TYPE_CHECKING:
    from sqlalchemy import URL


class EmbeddedServer:
    """The PostgreSQL server that belongs to one home directory; any number of processes may hold one of these.

    Attributes:
        home: The absolute path of the home directory; made when it is missing.
    """

    def __init__(self, home: Path) -> None:
        self.home = Path(home).absolute()
        self._directory = ServerDirectory(self.home)

    def start(self) -> None:
        """Start the server unless it runs, and create the databases of `DATABASES` that are missing.

        Takes about a second for a new home, and one connection's few milliseconds when the server runs. The server
        outlives this process, and Ctrl-C in its terminal.

        Raises:
            EmbeddedServerError: It could not be started; the message ends with what its log says.
        """
        if missing_databases(self._directory) == ():
            return
        with self._directory.locked():
            if not self.is_running():
                initialise(self._directory)
                launch(self._directory)
            create_databases(self._directory)

    def stop(self) -> bool:
        """Stop the server, ending all connections to it; return whether it ran.

        Raises:
            EmbeddedServerError: It runs, and did not stop.
        """
        if self._directory.read("port") is None:
            return False
        with self._directory.locked():
            return stop(self._directory)

    def delete(self) -> None:
        """Stop the server and remove all that it keeps, its databases included; the home itself stays.

        Raises:
            EmbeddedServerError: It runs, and did not stop.
        """
        if self._directory.read("lock") is None:
            return
        with self._directory.locked():
            stop(self._directory)
            for directory in (self._directory.place, self._directory.path):
                shutil.rmtree(directory, ignore_errors=True)

    def is_running(self) -> bool:
        """Whether the server of this home answers; a process id or a stranger on its port is not enough."""
        return missing_databases(self._directory) is not None

    def url(self, database: str) -> URL:
        """The superuser's URL of `database`, with the driver psycopg2; the server must have been started once.

        Raises:
            EmbeddedServerError: It never was.
        """
        from sqlalchemy import URL  # by far the slowest import of this package

        password, port = self._directory.read("password"), self._directory.read("port")
        if password is None or port is None:
            raise EmbeddedServerError(f"no embedded server was ever started below {self.home}; start it first")
        # A PGSSLMODE that is meant for another server would make libpq refuse this one.
        query = {"sslmode": "disable"} if "PGSSLMODE" in os.environ else {}
        return URL.create("postgresql+psycopg2", USER, password, HOST, int(port), database, query)

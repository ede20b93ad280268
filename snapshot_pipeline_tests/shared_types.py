"""ADBC connections of which all but the first use the types that another database has.

The driver reads all types and columns of a database when it first connects to it, which takes 60 ms of processor time.
PostgreSQL's own types, the only ones that our tables have, are the same everywhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import adbc_driver_postgresql
from adbc_driver_manager import AdbcConnection, dbapi

_HAS_OWN_TYPES = "SELECT EXISTS (SELECT FROM pg_type WHERE oid >= 16384 AND typtype IN ('d', 'e', 'm', 'r'))"


class SharedTypes:
    """Connects as `adbc_driver_postgresql.dbapi.connect` does, to which `connect` is that function."""

    def __init__(self, connect: Callable[[str], dbapi.Connection]) -> None:
        self._connect = connect
        self._database: adbc_driver_postgresql.AdbcDatabase | None = None
        self._lock = threading.Lock()

    def connect(self, uri: str) -> dbapi.Connection:
        connection = self._open(uri)
        with connection.cursor() as cursor:
            cursor.execute(_HAS_OWN_TYPES)
            (has_own_types,) = cursor.fetchone()
        connection.rollback()
        if not has_own_types:
            return connection
        connection.close()
        return self._connect(uri)

    def _open(self, uri: str) -> dbapi.Connection:
        with self._lock:
            if self._database is None:
                self._database = adbc_driver_postgresql.connect(uri)
                self._shared = dbapi._SharedDatabase(self._database)
            self._database.set_options(uri=uri)
            connection = _Connection(self._shared, AdbcConnection(self._database))
        connection.clone = lambda: self._open(uri)
        return connection


class _Connection(dbapi.Connection):
    clone: Callable[[], dbapi.Connection]

    def adbc_clone(self) -> dbapi.Connection:
        return self.clone()

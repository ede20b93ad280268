"""The port that the server listens on.

Put here: which ports are taken and chosen. Do not put here: what answers on a port (`connection`).
"""

from __future__ import annotations

import secrets
import socket
import sys

from snapshot_pipeline.embedded.connection import HOST
from snapshot_pipeline.embedded.directory import ServerDirectory
from snapshot_pipeline.embedded.errors import EmbeddedServerError

# Below Linux' ephemeral ports, so that no outgoing connection takes the port while the server is stopped.
PORTS = range(20_000, 30_000)


def free_port(directory: ServerDirectory) -> int:
    """The stored port while it is free, so that URLs stay valid across restarts; otherwise a new one, stored.

    Raises:
        EmbeddedServerError: None is free.
    """
    stored = directory.read("port")
    if stored and stored.isdecimal() and _is_free(int(stored)):
        return int(stored)
    for _ in range(100):
        port = PORTS[secrets.randbelow(len(PORTS))]
        if _is_free(port):
            directory.write("port", str(port))
            return port
    raise EmbeddedServerError(f"no free port was found on {HOST} between {PORTS[0]} and {PORTS[-1]}")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
        if sys.platform != "win32":  # as PostgreSQL itself does; there it would mean something else
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((HOST, port))
        except OSError:
            return False
        return True

"""A TCP proxy in front of PostgreSQL that drops startup options like a pooler, or packets like a firewall."""

from __future__ import annotations

import ctypes
import selectors
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import URL

_ENCRYPTION_REQUESTS = {80877103, 80877104}  # SSL and GSSAPI
_SO_ATTACH_FILTER = 26
_RETURN_NOTHING = struct.pack("HBBI", 0x06, 0, 0, 0)  # a packet filter that accepts no packet


class Proxy:
    """Passes connections on to a server; `url` is the server's with the proxy's address.

    Attributes:
        dropped: The names of the startup parameters that were dropped, in order.
        connections: How many connections were passed on.
    """

    def __init__(self, server: URL, drops: frozenset[str]) -> None:
        self._server = (str(server.host), int(server.port or 5432))
        self._drops = drops
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._clients: list[socket.socket] = []
        self._is_stalled = False
        self.dropped: list[str] = []
        self.connections = 0
        self.url = server.set(host="127.0.0.1", port=self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self) -> None:
        """From now on lose every packet of every client silently, and send them nothing."""
        self._is_stalled = True
        for client in self._clients:
            program = ctypes.create_string_buffer(_RETURN_NOTHING)
            # struct sock_fprog: the number of instructions, and their address.
            filters = struct.pack("HxxxxxxP", 1, ctypes.addressof(program))
            client.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filters)

    def close(self) -> None:
        for each in (self._listener, *self._clients):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._clients.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError, EOFError), socket.create_connection(self._server) as server:
            server.sendall(self._startup(client))
            self.connections += 1
            other = {client: server, server: client}
            with selectors.DefaultSelector() as ready:
                for each in other:
                    ready.register(each, selectors.EVENT_READ)
                while True:
                    for key, _ in ready.select():
                        source: socket.socket = key.fileobj  # type: ignore[assignment]
                        data = source.recv(65_536)
                        if self._is_stalled:
                            return  # the client's socket stays open
                        if not data:
                            client.shutdown(socket.SHUT_RDWR)
                            return
                        other[source].sendall(data)

    def _startup(self, client: socket.socket) -> bytes:
        """Read the startup packet, refuse encryption, and return the packet without the parameters to drop."""
        while True:
            length, code = struct.unpack("!II", _exactly(client, 8))
            body = _exactly(client, length - 8)
            if code not in _ENCRYPTION_REQUESTS:
                break
            client.sendall(b"N")
        words = body.rstrip(b"\0").split(b"\0")
        parameters = dict(zip(words[::2], words[1::2], strict=True))
        self.dropped += [name.decode() for name in parameters if name.decode() in self._drops]
        kept = b"".join(
            name + b"\0" + value + b"\0" for name, value in parameters.items() if name.decode() not in self._drops
        )
        return struct.pack("!II", len(kept) + 9, code) + kept + b"\0"


@contextmanager
def proxy(server: URL, *, drops: frozenset[str] = frozenset()) -> Iterator[Proxy]:
    """Start a proxy in front of a server; `drops` are the names of startup parameters."""
    started = Proxy(server, drops)
    try:
        yield started
    finally:
        started.close()


def _exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        received = source.recv(size - len(data))
        if not received:
            raise EOFError
        data += received
    return data

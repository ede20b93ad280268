"""Real servers on loopback that receive alerts and telemetry: a web server, a silent server, a mail server."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass
class WebReceiver:
    """A web server on loopback.

    Attributes:
        address: Its `host:port`.
        bodies: Posted bodies, decompressed, in the order of arrival.
        paths: Paths of the requests.
        status: HTTP status of the responses.
        delay: Seconds before each response.
    """

    address: str = ""
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    status: int = 200
    delay: float = 0.0

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Messages posted by Apprise's `json://`."""
        return [json.loads(body) for body in self.bodies]

    @property
    def titles(self) -> list[str]:
        """Titles of the messages."""
        return [message["title"] for message in self.messages]


@contextmanager
def web_receiver() -> Iterator[WebReceiver]:
    """Start a web server; stop it at the end."""
    receiver = WebReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if receiver.status < 300:
                receiver.bodies.append(body)
                receiver.paths.append(self.path)
            time.sleep(receiver.delay)
            self.send_response(receiver.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # the name of the base class
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def silent_receiver() -> Iterator[str]:
    """Yield the address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def closed_address() -> str:
    """Return an address on which no server listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


@dataclass
class MailReceiver:
    """A mail server on loopback and its received mails."""

    address: str = ""
    mails: list[EmailMessage] = field(default_factory=list)


@contextmanager
def mail_receiver() -> Iterator[MailReceiver]:
    """Start a mail server; stop it at the end."""
    receiver = MailReceiver()

    class Handler:
        async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
            content = envelope.original_content or b""
            receiver.mails.append(message_from_bytes(content, policy=policy.default))  # type: ignore[arg-type]
            return "250 OK"

    port = int(closed_address().rpartition(":")[2])
    controller = Controller(Handler(), hostname="127.0.0.1", port=port)
    controller.start()
    receiver.address = f"127.0.0.1:{port}"
    try:
        yield receiver
    finally:
        controller.stop()

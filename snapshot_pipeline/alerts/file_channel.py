"""The channel `file:///path`, which appends each message to a text file; Apprise has no channel like it."""

# mypy: disable-error-code="assignment, no-untyped-call, override"
# Apprise's base classes declare None for what their subclasses set, and are only partly typed.
from __future__ import annotations

import os
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from apprise import NotifyBase
from apprise.manager_plugins import NotificationManager

SCHEME = "file"


class FileChannel(NotifyBase):
    """Appends messages to a file, which only its owner can read if this creates it."""

    service_name = "File"
    service_url = "https://appriseit.com/library/extending/"
    protocol = SCHEME
    templates = ("{schema}://{path}",)

    def __init__(self, path: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._path = path

    def url(self, privacy: bool = False, *_args: Any, **_kwargs: Any) -> str:
        """Return the channel's URL; `privacy` changes nothing, because a path is no secret."""
        return f"{SCHEME}://{quote(self._path)}"

    def send(self, body: str, title: str = "", **_kwargs: Any) -> bool:
        """Append a message with its time; one write, so that messages of two processes do not mix."""
        lines = [f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}  {title}", *body.strip().splitlines()]
        text = "\n    ".join(lines).replace("\n    \n", "\n\n") + "\n\n"
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, text.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            self.logger.warning(f"{self._path} cannot be written: {error.strerror}")
            return False
        return True

    @staticmethod
    def parse_url(url: str, *_args: Any, **_kwargs: Any) -> dict[str, Any] | None:
        """Return the arguments of the constructor; None without an absolute path."""
        parts = urlsplit(url)
        results: dict[str, Any] | None = NotifyBase.parse_url(url, verify_host=False)
        if results is None or parts.netloc or not parts.path.strip("/"):
            return None
        return {**results, "path": unquote(parts.path)}


def register() -> None:
    """Let Apprise know the scheme."""
    manager = NotificationManager()
    if SCHEME not in manager:
        manager.add(FileChannel, schemas=SCHEME)

"""The channels of SNAPSHOT_ALERT_URLS: Slack, e-mail, Teams, PagerDuty, webhooks and whatever else Apprise knows.

Put here: how a URL becomes a channel, what a channel is called without its secrets, how one text is sent to it.
Do not put here: what is sent (`messages`), or when, and how often it is tried (`delivery`).

Apprise writes URLs, and so secrets, to its log: what it logs is kept from all other logs, and only the warnings about
a send are read, without what is secret.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from snapshot_pipeline.settings import Settings

if TYPE_CHECKING:
    from apprise import NotifyBase

READ_SECONDS = 15.0
"""How long a channel may take to answer, unless its URL has `rto=`; a later answer would mean a second message."""

CUT = "\n… (cut to what this channel takes; `snapshot-pipeline status` lists all incidents)"
"""What stands at the end of a text that was too long."""

_LOGGER = logging.getLogger("apprise")
_SHORTEST_SECRET = 4


@dataclass(frozen=True)
class Channel:
    """One way to tell somebody.

    Attributes:
        id: A digest of its URL, by which the outbox knows it.
        name: What it is called: its service and host, without anything secret.
        url: Its Apprise URL, which is secret.
    """

    id: str
    name: str
    url: str = field(repr=False)

    def send(self, title: str, body: str, severity: str) -> str | None:
        """Send a text, cut to what the channel takes.

        Args:
            title: One line.
            body: Plain text.
            severity: `failure`, `warning`, `success` or `info`.

        Returns:
            None when the channel has taken it, else one line that says why not, without secrets.
        """
        from apprise import NotifyFormat, NotifyType  # as in `_service`

        service = _service(self.url)
        if service is None:
            return "its URL cannot be read"
        title, body = fitted(title, body, service)
        with _warnings_of_this_thread() as warnings:
            try:
                taken = service.notify(
                    title=title, body=body, notify_type=NotifyType(severity), body_format=NotifyFormat.TEXT
                )
            except Exception as error:  # noqa: BLE001  # a hundred plugins; whatever one raises is a failed attempt
                return f"it raised {type(error).__name__}"
        if taken:
            return None
        return without_secrets(" ".join(warnings) or "it did not take the message", self.url)


@dataclass(frozen=True)
class ChannelList:
    """What SNAPSHOT_ALERT_URLS names.

    Attributes:
        channels: The channels, in their order.
        problems: One line for each URL that cannot be read, without secrets; the others are told all the same.
    """

    channels: Sequence[Channel]
    problems: Sequence[str]


def read_channels(settings: Settings) -> ChannelList:
    """Read SNAPSHOT_ALERT_URLS; nothing is connected to."""
    urls = settings.alert_urls.get_secret_value().split() if settings.alert_urls else []
    channels: list[Channel] = []
    problems: list[str] = []
    names: Counter[str] = Counter()
    for number, url in enumerate(dict.fromkeys(urls), start=1):
        service = _service(url)
        if service is None:
            problems.append(
                f"SNAPSHOT_ALERT_URLS: {_shown(url)}, number {number} of {len(urls)}, is no URL that Apprise can read; "
                "expected one as described at https://appriseit.com/services, special characters percent-encoded"
            )
            continue
        name = _name(service)
        names[name] += 1
        shown = name if names[name] == 1 else f"{name} ({names[name]})"
        channels.append(Channel(hashlib.sha256(url.encode()).hexdigest()[:16], shown, url))
    return ChannelList(channels, problems)


def fitted(title: str, body: str, service: NotifyBase) -> tuple[str, str]:
    """A title and a body cut to what a service takes; where it knows no titles, the title is part of the body."""
    limit = service.body_maxlen
    if service.title_maxlen > 0:
        title = title if len(title) <= service.title_maxlen else title[: service.title_maxlen - 1] + "…"
    if service.title_maxlen <= 0 or service.overflow_amalgamate_title:
        limit -= len(title) + len("\r\n")
    if 0 < limit < len(body):
        body = body[: max(limit - len(CUT), 0)] + CUT[-limit:]
    return title, body


def without_secrets(text: str, url: str) -> str:
    """A line without any part of a URL that could be secret: all but the scheme and the host of a plain address."""
    parts = urlsplit(url)
    pieces = re.split(r"[/?&=:@#,]", url.partition("://")[2])
    secrets = {form for piece in pieces for form in (piece, unquote(piece)) if len(form) >= _SHORTEST_SECRET}
    if "@" in parts.netloc or "." in (parts.hostname or ""):
        secrets.discard(parts.hostname or "")
    line = " ".join(text.split())
    for secret in sorted(secrets, key=len, reverse=True):
        line = line.replace(secret, "***")
    return line


def _service(url: str) -> NotifyBase | None:
    """Apprise's plugin for a URL, or None; a new one each time, since they are not made for several threads."""
    from apprise import Apprise, NotifyBase  # here: every run's process imports this module, and none sends anything

    # Apprise writes to its own logger only, where nobody but us listens: its errors show URLs.
    _LOGGER.propagate = False
    if not _LOGGER.handlers:
        _LOGGER.addHandler(logging.NullHandler())
    service = Apprise.instantiate(url, suppress_exceptions=True)
    if not isinstance(service, NotifyBase):
        return None
    if not re.search(r"[?&]rto=", url):
        service.socket_read_timeout = READ_SECONDS
    return service


def _shown(url: str) -> str:
    scheme, separator, _ = url.partition("://")
    return f"{scheme}://…" if separator and re.fullmatch(r"[a-z][a-z0-9+]*", scheme, re.IGNORECASE) else "a word"


def _name(service: NotifyBase) -> str:
    # Apprise masks tokens in its privacy URL, but leaves paths and queries; those of a webhook are secret.
    shown = urlsplit(str(service.url(privacy=True)))  # type: ignore[no-untyped-call]
    return f"{shown.scheme}://{shown.netloc.rpartition('@')[2]}"


class _Warnings(logging.Handler):
    """Keeps the warnings of one thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.lines.append(record.getMessage())


@contextmanager
def _warnings_of_this_thread() -> Iterator[list[str]]:
    handler = _Warnings()
    _LOGGER.addHandler(handler)
    try:
        yield handler.lines
    finally:
        _LOGGER.removeHandler(handler)

"""The channels of SNAPSHOT_ALERT_URLS and SNAPSHOT_REPORT_RECIPIENTS, e.g. Slack, e-mail or a webhook, through Apprise.

Apprise logs URLs, which contain secrets. Its log records are therefore not propagated to other loggers; only the
warnings about a send are read, and redacted.
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

from pydantic import SecretStr

from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.outbox import Attachment

if TYPE_CHECKING:
    from apprise import NotifyBase
    from apprise.attachment.base import AttachBase

READ_SECONDS = 15.0
"""How long a channel may take to answer unless its URL has `rto=`; after a later answer the message is sent again."""

TRUNCATION_NOTE = "\n… (truncated for this channel)"
"""The end of a text that is too long for its channel."""

_LOGGER = logging.getLogger("apprise")
_MIN_SECRET_LENGTH = 4


@dataclass(frozen=True)
class Channel:
    """One channel.

    Attributes:
        id: A digest of its URL; the outbox stores this instead of the URL.
        name: Its service and host, without secrets.
        url: Its Apprise URL; secret.
    """

    id: str
    name: str
    url: str = field(repr=False)

    def send(self, title: str, body: str, severity: str, attachment: Attachment | None = None) -> str | None:
        """Send a plain text, truncated to what the channel accepts.

        Args:
            severity: `failure`, `warning`, `success` or `info`.
            attachment: An HTML page; left out where the channel takes no attachments.

        Returns:
            None if the channel accepted it, else the reason in one line, without secrets.
        """
        from apprise import NotifyFormat, NotifyType  # imported late, as in `_create_service`

        service = _create_service(self.url)
        if service is None:
            return "its URL is invalid"
        title, body = truncate(title, body, service)
        with _warnings_of_this_thread() as warnings:
            try:
                is_sent = service.notify(
                    title=title,
                    body=body,
                    notify_type=NotifyType(severity),
                    body_format=NotifyFormat.TEXT,
                    attach=_attached(attachment) if attachment and service.attachment_support else None,
                )
            except Exception as error:  # noqa: BLE001  # any error of one of a hundred plugins is a failed attempt
                return f"it raised {type(error).__name__}"
        if is_sent:
            return None
        return redact(" ".join(warnings) or "it did not accept the message", self.url)


@dataclass(frozen=True)
class ChannelList:
    """The channels of a setting.

    Attributes:
        channels: The valid channels, in their order.
        problems: One line per invalid URL, without secrets.
    """

    channels: Sequence[Channel]
    problems: Sequence[str]


def read_channels(settings: Settings) -> ChannelList:
    """Parse SNAPSHOT_ALERT_URLS, without connecting to anything."""
    return _parse("SNAPSHOT_ALERT_URLS", settings.alert_urls)


def read_report_recipients(settings: Settings) -> ChannelList:
    """Parse SNAPSHOT_REPORT_RECIPIENTS, without connecting to anything."""
    return _parse("SNAPSHOT_REPORT_RECIPIENTS", settings.report_recipients)


def read_all_channels(settings: Settings) -> ChannelList:
    """Parse both settings; a URL that is in both is one channel."""
    lists = read_channels(settings), read_report_recipients(settings)
    channels = {channel.id: channel for each in lists for channel in each.channels}
    return ChannelList([*channels.values()], [problem for each in lists for problem in each.problems])


def _parse(variable: str, value: SecretStr | None) -> ChannelList:
    urls = value.get_secret_value().split() if value else []
    channels: list[Channel] = []
    problems: list[str] = []
    names: Counter[str] = Counter()
    for number, url in enumerate(dict.fromkeys(urls), start=1):
        service = _create_service(url)
        if service is None:
            problems.append(
                f"{variable}: {_scheme_only(url)}, number {number} of {len(urls)}, is not an Apprise URL; "
                "expected one as described at https://appriseit.com/services, with special characters percent-encoded"
            )
            continue
        name = _display_name(service)
        names[name] += 1
        unique_name = name if names[name] == 1 else f"{name} ({names[name]})"
        channels.append(Channel(hashlib.sha256(url.encode()).hexdigest()[:16], unique_name, url))
    return ChannelList(channels, problems)


def truncate(title: str, body: str, service: NotifyBase) -> tuple[str, str]:
    """Return title and body, truncated to the limits of a service.

    A service without titles prepends the title to the body, so it counts towards the body's limit.
    """
    limit = service.body_maxlen
    if service.title_maxlen > 0:
        title = title if len(title) <= service.title_maxlen else title[: service.title_maxlen - 1] + "…"
    if service.title_maxlen <= 0 or service.overflow_amalgamate_title:
        limit -= len(title) + len("\r\n")
    if 0 < limit < len(body):
        body = body[: max(limit - len(TRUNCATION_NOTE), 0)] + TRUNCATION_NOTE[-limit:]
    return title, body


def redact(text: str, url: str) -> str:
    """Return a text as one line, with `***` for every part of the URL except its scheme and a plain host name."""
    parts = urlsplit(url)
    pieces = re.split(r"[/?&=:@#,]", url.partition("://")[2])
    secrets = {form for piece in pieces for form in (piece, unquote(piece)) if len(form) >= _MIN_SECRET_LENGTH}
    if "@" in parts.netloc or "." in (parts.hostname or ""):
        secrets.discard(parts.hostname or "")
    line = " ".join(text.split())
    for secret in sorted(secrets, key=len, reverse=True):
        line = line.replace(secret, "***")
    return line


def _attached(attachment: Attachment) -> AttachBase:
    from apprise.attachment.memory import AttachMemory  # imported late, as in `_create_service`

    return AttachMemory(content=attachment.content, name=attachment.name, mimetype="text/html")  # type: ignore[no-untyped-call]


def _create_service(url: str) -> NotifyBase | None:
    """Return a new Apprise plugin for a URL, or None if it is invalid; plugins are not thread-safe."""
    from apprise import Apprise, NotifyBase  # imported late: every run's process imports this module, but sends nothing

    from snapshot_pipeline.alerts.file_channel import register

    register()
    # Apprise's errors contain URLs, so they must not reach another logger.
    _LOGGER.propagate = False
    if not _LOGGER.handlers:
        _LOGGER.addHandler(logging.NullHandler())
    service = Apprise.instantiate(url, suppress_exceptions=True)
    if not isinstance(service, NotifyBase):
        return None
    if not re.search(r"[?&]rto=", url):
        service.socket_read_timeout = READ_SECONDS
    return service


def _scheme_only(url: str) -> str:
    scheme, separator, _ = url.partition("://")
    return f"{scheme}://…" if separator and re.fullmatch(r"[a-z][a-z0-9+]*", scheme, re.IGNORECASE) else "a word"


def _display_name(service: NotifyBase) -> str:
    # Apprise's privacy URL masks tokens, but not the path and query, which are secret in a webhook's URL.
    masked = urlsplit(str(service.url(privacy=True)))  # type: ignore[no-untyped-call]
    if masked.scheme == "file":
        return masked.geturl()
    return f"{masked.scheme}://{masked.netloc.rpartition('@')[2]}"


class _WarningHandler(logging.Handler):
    """Collects the warnings that one thread logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.lines.append(record.getMessage())


@contextmanager
def _warnings_of_this_thread() -> Iterator[list[str]]:
    handler = _WarningHandler()
    _LOGGER.addHandler(handler)
    try:
        yield handler.lines
    finally:
        _LOGGER.removeHandler(handler)

"""Errors of runs, sent to Sentry or a server with the same protocol if SENTRY_DSN is set.

Sent are the class names of the errors, their stack traces with lines of code, and the messages of our own errors. Not
sent are the messages of all other errors (PostgreSQL quotes the row that it refuses), local variables, breadcrumbs,
SQL, the host's name and user. The client is separate: a Sentry client that the process has set up is neither used nor
changed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from snapshot_pipeline.errors import SnapshotPipelineError, text_to_send

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

FLUSH_SECONDS = 3.0
"""Maximum time that the end of a failed run waits for Sentry."""


class SentryError(SnapshotPipelineError):
    """Nothing can be sent to Sentry."""


def send_error(error: BaseException, tags: Mapping[str, str]) -> None:
    """Send an error with its causes and wait at most `FLUSH_SECONDS`; do nothing if SENTRY_DSN is not set.

    Args:
        tags: Searchable values, such as the run and the day; never a student.

    Raises:
        SentryError: The extra is not installed, or the DSN is not valid; one line without the DSN.
    """
    if not os.environ.get("SENTRY_DSN"):
        return
    try:
        from sentry_sdk import Client, Scope
        from sentry_sdk.utils import BadDsn, event_from_exception
    except ImportError:
        raise SentryError(
            "SENTRY_DSN is set but the package sentry-sdk is not installed, so errors are not sent; install it with "
            "pip install 'snapshot_pipeline[sentry]'"
        ) from None
    try:
        client = Client(
            dsn=os.environ["SENTRY_DSN"],
            default_integrations=False,
            auto_enabling_integrations=False,
            include_local_variables=False,
            max_breadcrumbs=0,
            server_name="",
            traces_sample_rate=None,
            before_send=_without_rows,
        )
    except BadDsn:
        raise SentryError("SENTRY_DSN is not a valid DSN; expected https://key@host/project") from None
    scope = Scope(client=client)
    for name, value in tags.items():
        scope.set_tag(name, value)
    event, hint = event_from_exception(error, client_options=client.options)
    client.capture_event(event, hint, scope)
    client.close(timeout=FLUSH_SECONDS)


def _without_rows(event: Event, hint: Hint) -> Event | None:
    """Replace the message of each error of the chain by what may be sent of it, and drop all other data."""
    texts = {(type(error).__name__, str(error)): text_to_send(error) for error in _chain(hint["exc_info"][1])}
    content = cast("dict[str, Any]", event)
    for value in content.get("exception", {}).get("values", []):
        key = (str(value.get("type")), str(value.get("value")))
        value["value"] = texts.get(key, "(not sent)")
    for name in ("breadcrumbs", "extra", "user", "request", "logentry", "message", "modules"):
        content.pop(name, None)
    return event


def _chain(error: BaseException | None) -> list[BaseException]:
    """Return an error, its causes and contexts, and the members of exception groups."""
    chain: list[BaseException] = []
    pending = [error]
    while pending:
        link = pending.pop()
        if link is None or link in chain:
            continue
        chain.append(link)
        pending += [link.__cause__, link.__context__, *getattr(link, "exceptions", ())]
    return chain

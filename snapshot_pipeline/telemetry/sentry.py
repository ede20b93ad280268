"""Errors of runs to Sentry, or to anything that speaks its protocol, when SENTRY_DSN is set.

Put here: what is sent of an error. Do not put here: which errors (`orchestration.reporting`).

Sent are the names of the errors, their stack with lines of code, and what our own errors say. Not sent: what any other
error says (PostgreSQL quotes the row it stumbled over), local variables, breadcrumbs, SQL, the host's name and user.
The client is our own: a Sentry that is set up elsewhere in the process is neither used nor changed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from snapshot_pipeline.errors import SnapshotPipelineError, text_to_send

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

FLUSH_SECONDS = 3.0
"""How long the end of a failed run may wait for Sentry."""


class SentryError(SnapshotPipelineError):
    """Nothing can be sent to Sentry."""


def is_on() -> bool:
    """Whether SENTRY_DSN is set."""
    return bool(os.environ.get("SENTRY_DSN"))


def send_error(error: BaseException, tags: Mapping[str, str]) -> None:
    """Send one error with its causes; does nothing when SENTRY_DSN is not set, and waits `FLUSH_SECONDS` at the most.

    Args:
        error: What a run has raised.
        tags: What it is found by, such as the run and the day; no student.

    Raises:
        SentryError: The extra is not installed, or the DSN cannot be read; one line without the DSN.
    """
    if not is_on():
        return
    try:
        from sentry_sdk import Client, Scope
        from sentry_sdk.utils import BadDsn, event_from_exception
    except ImportError:
        raise SentryError(
            "SENTRY_DSN is set but the package sentry-sdk is not installed, so errors are not sent; install it by "
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
        raise SentryError("SENTRY_DSN is no DSN that can be read; expected https://key@host/project") from None
    scope = Scope(client=client)
    for name, value in tags.items():
        scope.set_tag(name, value)
    event, hint = event_from_exception(error, client_options=client.options)
    client.capture_event(event, hint, scope)
    client.close(timeout=FLUSH_SECONDS)


def _without_rows(event: Event, hint: Hint) -> Event | None:
    """Replace what each error of the chain says by what may be sent of it."""
    texts = {(type(error).__name__, str(error)): text_to_send(error) for error in _chain(hint["exc_info"][1])}
    kept = cast("dict[str, Any]", event)
    for value in kept.get("exception", {}).get("values", []):
        key = (str(value.get("type")), str(value.get("value")))
        value["value"] = texts.get(key, "(not sent)")
    for name in ("breadcrumbs", "extra", "user", "request", "logentry", "message", "modules"):
        kept.pop(name, None)
    return event


def _chain(error: BaseException | None) -> list[BaseException]:
    """An error, its causes and contexts."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or one in found:
            continue
        found.append(one)
        waiting += [one.__cause__, one.__context__]
        if hasattr(one, "exceptions"):
            waiting += list(one.exceptions)
    return found

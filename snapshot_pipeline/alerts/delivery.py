"""Delivery of the outbox: channels in parallel, the messages of one channel in their order.

A message is marked as sent in the transaction that keeps its row locked while it is sent. If the process is killed
before the channel answers, or after the commit, the message is neither lost nor repeated, and two processes never send
the same message. The one exception: a kill between the channel's answer and the commit sends the message again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine
from sqlalchemy.pool import NullPool

from snapshot_pipeline.alerts.channels import Channel
from snapshot_pipeline.alerts.messages import Message
from snapshot_pipeline.store.outbox import mark_failed, mark_sent, take_due
from snapshot_pipeline.store.tables import StoreTables

TIMEOUT_SECONDS = 30.0
"""How long one call of `deliver` takes at most; Dagster allows a sensor's tick one minute."""

FIRST_RETRY_DELAY = timedelta(seconds=30)
MAX_RETRY_DELAY = timedelta(hours=1)


@dataclass
class ChannelReport:
    """The outcome of sending to one channel.

    Attributes:
        name: The channel's name.
        sent: Number of messages that it accepted.
        error: Why it did not accept the next message; None if it accepted all.
        is_finished: False until the channel has answered; until then its message stays locked.
    """

    name: str
    sent: int = 0
    error: str | None = None
    is_finished: bool = False


def retry_delay(attempts: int) -> timedelta:
    """Return the delay after this many failed attempts: 30 s, doubled each time, up to an hour."""
    doublings = min(attempts - 1, 20)
    return min(FIRST_RETRY_DELAY * (1 << doublings), MAX_RETRY_DELAY)


def deliver(
    engine: Engine,
    tables: StoreTables,
    channels: Sequence[Channel],
    now: datetime,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> list[ChannelReport]:
    """Send the due messages of each channel; a channel that fails or hangs does not delay the others.

    Messages to a channel that is not among `channels` stay in the outbox.

    Args:
        now: The time at which messages must be due, and from which retry delays count.
        timeout_seconds: How long to wait for all channels together.
    """
    deadline = time.monotonic() + timeout_seconds
    from snapshot_pipeline.postgres.sessions import open_engine  # with the driver, which `alerts --help` does not need

    # Not the caller's pool: a channel that hangs keeps its connection beyond the end of this call.
    own_engine = open_engine(engine.url, poolclass=NullPool)

    def send(channel: Channel, report: ChannelReport) -> None:
        _send_due_messages(own_engine, tables, channel, report, now, deadline)

    return _in_parallel(send, channels, deadline)


def send_immediately(channels: Sequence[Channel], message: Message) -> list[ChannelReport]:
    """Send a message to each channel once, without the outbox: for a test, or when the database is down."""

    def send(channel: Channel, report: ChannelReport) -> None:
        report.error = channel.send(message.title, message.body, message.severity)
        report.sent = int(report.error is None)
        report.is_finished = True

    return _in_parallel(send, channels, time.monotonic() + TIMEOUT_SECONDS)


def _in_parallel(
    send: Callable[[Channel, ChannelReport], None], channels: Sequence[Channel], deadline: float
) -> list[ChannelReport]:
    """Send to each channel in a thread of its own; return the reports at the deadline, finished or not."""
    reports = [ChannelReport(channel.name) for channel in channels]
    # Daemon threads: a channel that never answers must not keep the process alive.
    threads = [
        threading.Thread(target=send, args=(channel, report), daemon=True)
        for channel, report in zip(channels, reports, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))
    return reports


def _send_due_messages(
    engine: Engine, tables: StoreTables, channel: Channel, report: ChannelReport, now: datetime, deadline: float
) -> None:
    try:
        while time.monotonic() < deadline and _send_next(engine, tables, channel, report, now):
            pass
    except Exception as error:  # noqa: BLE001  # the thread ends here; the report shows the error, the next tick retries
        report.error = f"the outbox cannot be read or written: {type(error).__name__}"
    report.is_finished = True


def _send_next(engine: Engine, tables: StoreTables, channel: Channel, report: ChannelReport, now: datetime) -> bool:
    """Send one message in one transaction; return whether there may be another one."""
    with engine.begin() as connection:
        message = take_due(connection, tables, channel.id, now)
        if message is None:
            return False
        report.error = channel.send(message.title, message.body, message.severity, message.attachment)
        if report.error is None:
            mark_sent(connection, tables, message.id, now)
        else:
            next_attempt_at = now + retry_delay(message.attempts + 1)
            mark_failed(connection, tables, message.id, next_attempt_at, report.error)
    report.sent += report.error is None
    return report.error is None

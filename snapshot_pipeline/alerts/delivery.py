"""Sends what is due in the outbox: channels side by side, messages of one channel in their order.

Put here: who sends when, and the pauses after a failed attempt.
Do not put here: how a text is sent (`channels`), or the SQL (`store.outbox`).

What is promised. A message is marked as sent in the transaction that holds its row locked while it is sent. A sender
that is killed before the channel has answered, or after the mark was committed, neither loses nor repeats it, and two
senders never send the same one. Between the channel's answer and our commit it can be repeated: that is the only place.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from snapshot_pipeline.alerts.channels import Channel
from snapshot_pipeline.store.outbox import mark_failed, mark_sent, take_due
from snapshot_pipeline.store.tables import StoreTables

PATIENCE_SECONDS = 30.0
"""How long one call of `deliver` takes at the most; Dagster gives a sensor's tick a minute."""

FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=1)


@dataclass
class ChannelReport:
    """How it went with one channel.

    Attributes:
        name: What it is called.
        sent: How many messages it has taken.
        error: Why it did not take the next one; None when it took all.
        is_over: False while the channel has not answered; its message stays locked, and nobody else sends it.
    """

    name: str
    sent: int = 0
    error: str | None = None
    is_over: bool = field(default=False)


def pause_after(attempts: int) -> timedelta:
    """The pause after so many failed attempts: half a minute, doubled each time, an hour at the most."""
    doublings = min(attempts - 1, 20)
    return min(FIRST_PAUSE * (1 << doublings), LONGEST_PAUSE)


def deliver(
    engine: Engine,
    tables: StoreTables,
    channels: Sequence[Channel],
    now: datetime,
    patience_seconds: float = PATIENCE_SECONDS,
) -> list[ChannelReport]:
    """Send what is due to each channel; one that is down or does not answer holds up no other.

    Rows of a channel that is not among `channels` stay where they are.

    Args:
        engine: The store's database.
        tables: Our tables.
        channels: Who is told.
        now: What is due is due by then, and pauses begin then.
        patience_seconds: How long to wait for all channels together.
    """
    until = time.monotonic() + patience_seconds
    # Connections of their own: a channel that does not answer keeps its connection beyond the end of this call.
    apart = create_engine(engine.url, poolclass=NullPool)
    reports = [ChannelReport(channel.name) for channel in channels]

    def send_queue(channel: Channel, report: ChannelReport) -> None:
        _work_through(apart, tables, channel, report, now, until)

    _side_by_side(send_queue, list(zip(channels, reports, strict=True)), until)
    return reports


def tell_at_once(
    channels: Sequence[Channel], title: str, body: str, severity: str, patience_seconds: float = PATIENCE_SECONDS
) -> list[ChannelReport]:
    """Send a text past the outbox, for when there is no database to keep it: each channel is tried once.

    Args:
        channels: Who is told.
        title: One line.
        body: Plain text.
        severity: As `Channel.send` takes it.
        patience_seconds: How long to wait for all channels together.
    """
    reports = [ChannelReport(channel.name) for channel in channels]

    def send(channel: Channel, report: ChannelReport) -> None:
        report.error = channel.send(title, body, severity)
        report.sent = int(report.error is None)
        report.is_over = True

    _side_by_side(send, list(zip(channels, reports, strict=True)), time.monotonic() + patience_seconds)
    return reports


def _side_by_side(
    work: Callable[[Channel, ChannelReport], None], parts: Sequence[tuple[Channel, ChannelReport]], until: float
) -> None:
    # As daemons, so that a channel that never answers cannot keep the process from ending.
    threads = [threading.Thread(target=work, args=part, daemon=True) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0))


def _work_through(
    engine: Engine, tables: StoreTables, channel: Channel, report: ChannelReport, now: datetime, until: float
) -> None:
    try:
        while time.monotonic() < until and _send_next(engine, tables, channel, report, now):
            pass
    except Exception as error:  # noqa: BLE001  # the end of a thread: it is told in the report, and tried again
        report.error = f"the outbox cannot be read or written: {type(error).__name__}"
    report.is_over = True


def _send_next(engine: Engine, tables: StoreTables, channel: Channel, report: ChannelReport, now: datetime) -> bool:
    """Send one message, in one transaction; whether there may be another one to send."""
    with engine.begin() as connection:
        message = take_due(connection, tables, channel.id, now)
        if message is None:
            return False
        report.error = channel.send(message.title, message.body, message.severity)
        if report.error is None:
            mark_sent(connection, tables, message.id, now)
        else:
            next_attempt_at = now + pause_after(message.attempts + 1)
            mark_failed(connection, tables, message.id, next_attempt_at, report.error)
    report.sent += report.error is None
    return report.error is None

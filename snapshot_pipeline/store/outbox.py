"""The table `alert_messages`: each message to each channel, from the moment it is decided until it has arrived.

Put here: the SQL of the outbox. Do not put here: what a message says (`alerts.messages`), how it is sent
(`alerts.channels`), or who sends when (`alerts.delivery`).

All functions work inside the caller's transaction: a row that is taken stays locked until its result is noted, so a
second sender passes it by, and a sender that dies leaves it as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, exists, func, insert, select, update

from snapshot_pipeline.store.tables import StoreTables

PATIENCE = 10
"""How many attempts a message holds back those behind it, so that an all-clear does not arrive before its incident."""


@dataclass(frozen=True)
class OutboxMessage:
    """A row of `alert_messages` that is to be sent."""

    id: int
    title: str
    body: str
    severity: str
    attempts: int


@dataclass(frozen=True)
class Undelivered:
    """What waits for a channel.

    Attributes:
        channel: Its id.
        messages: How many messages.
        oldest_at: Since when the oldest waits.
        attempts: How often the one that was tried most was tried.
        last_error: Why the last attempt failed; None when none was made.
    """

    channel: str
    messages: int
    oldest_at: datetime
    attempts: int
    last_error: str | None


def queue_message(
    connection: Connection,
    tables: StoreTables,
    channels: Sequence[str],
    *,
    title: str,
    body: str,
    severity: str,
    now: datetime,
) -> None:
    """Put a message into the outbox, once for each channel id."""
    common = {"title": title, "body": body, "severity": severity, "created_at": now, "next_attempt_at": now}
    if channels:
        connection.execute(insert(tables.alert_messages), [{**common, "channel": channel} for channel in channels])


def take_due(connection: Connection, tables: StoreTables, channel: str, now: datetime) -> OutboxMessage | None:
    """Lock and return the message that a channel is to be sent next; None when there is none, or another has it.

    Messages keep their order: behind one that could not be sent yet the others wait, for `PATIENCE` attempts.
    """
    messages = tables.alert_messages
    earlier = messages.alias("earlier")
    waits_for_an_earlier_one = exists().where(
        earlier.c.channel == channel,
        earlier.c.sent_at.is_(None),
        earlier.c.id < messages.c.id,
        earlier.c.attempts < PATIENCE,
    )
    query = (
        select(messages.c.id, messages.c.title, messages.c.body, messages.c.severity, messages.c.attempts)
        .where(
            messages.c.channel == channel,
            messages.c.sent_at.is_(None),
            messages.c.next_attempt_at <= now,
            ~waits_for_an_earlier_one,
        )
        .order_by(messages.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = connection.execute(query).first()
    return OutboxMessage(*row) if row else None


def mark_sent(connection: Connection, tables: StoreTables, number: int, now: datetime) -> None:
    """Note that the channel has taken a message."""
    messages = tables.alert_messages
    connection.execute(
        update(messages)
        .where(messages.c.id == number)
        .values(sent_at=now, attempts=messages.c.attempts + 1, last_error=None)
    )


def mark_failed(
    connection: Connection, tables: StoreTables, number: int, next_attempt_at: datetime, error: str
) -> None:
    """Note that the channel has not taken a message, why, and when it is tried again."""
    messages = tables.alert_messages
    connection.execute(
        update(messages)
        .where(messages.c.id == number)
        .values(attempts=messages.c.attempts + 1, next_attempt_at=next_attempt_at, last_error=error)
    )


def undelivered(connection: Connection, tables: StoreTables, channels: Sequence[str]) -> list[Undelivered]:
    """What waits for each of the channels, by id; one for which nothing waits is left out."""
    messages = tables.alert_messages
    query = (
        select(
            messages.c.channel,
            func.count(),
            func.min(messages.c.created_at),
            func.max(messages.c.attempts),
            func.max(messages.c.last_error),
        )
        .where(messages.c.sent_at.is_(None), messages.c.channel.in_(channels))
        .group_by(messages.c.channel)
        .order_by(messages.c.channel)
    )
    return [Undelivered(*row) for row in connection.execute(query)]

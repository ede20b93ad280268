"""The table `alert_messages`: the outbox, with each message to each channel until it is delivered.

All functions run in the caller's transaction: a row that is taken stays locked until its result is recorded, so a
second sender skips it, and a sender that dies leaves it unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, exists, func, insert, select, update

from snapshot_pipeline.store.tables import StoreTables

BLOCKING_ATTEMPTS = 10
"""How many attempts of a message block later ones, so that an all-clear does not arrive before its incident."""


@dataclass(frozen=True)
class OutboxMessage:
    """An unsent row of `alert_messages`."""

    id: int
    title: str
    body: str
    severity: str
    attempts: int


@dataclass(frozen=True)
class Undelivered:
    """The undelivered messages of a channel.

    Attributes:
        channel: Its id.
        oldest_at: When the oldest was queued.
        attempts: The largest number of attempts.
        last_error: Why an attempt failed; None before the first attempt.
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
    """Queue a message for each channel id."""
    common = {"title": title, "body": body, "severity": severity, "created_at": now, "next_attempt_at": now}
    if channels:
        connection.execute(insert(tables.alert_messages), [{**common, "channel": channel} for channel in channels])


def take_due(connection: Connection, tables: StoreTables, channel: str, now: datetime) -> OutboxMessage | None:
    """Lock and return the next message of a channel; None if there is none, or another sender has it.

    Messages keep their order: an unsent one blocks those behind it, for `BLOCKING_ATTEMPTS` attempts.
    """
    messages = tables.alert_messages
    earlier = messages.alias("earlier")
    is_blocked = exists().where(
        earlier.c.channel == channel,
        earlier.c.sent_at.is_(None),
        earlier.c.id < messages.c.id,
        earlier.c.attempts < BLOCKING_ATTEMPTS,
    )
    query = (
        select(messages.c.id, messages.c.title, messages.c.body, messages.c.severity, messages.c.attempts)
        .where(
            messages.c.channel == channel,
            messages.c.sent_at.is_(None),
            messages.c.next_attempt_at <= now,
            ~is_blocked,
        )
        .order_by(messages.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = connection.execute(query).first()
    return OutboxMessage(*row) if row else None


def mark_sent(connection: Connection, tables: StoreTables, number: int, now: datetime) -> None:
    """Record that the channel accepted a message."""
    messages = tables.alert_messages
    connection.execute(
        update(messages)
        .where(messages.c.id == number)
        .values(sent_at=now, attempts=messages.c.attempts + 1, last_error=None)
    )


def mark_failed(
    connection: Connection, tables: StoreTables, number: int, next_attempt_at: datetime, error: str
) -> None:
    """Record that the channel did not accept a message, why, and when to retry."""
    messages = tables.alert_messages
    connection.execute(
        update(messages)
        .where(messages.c.id == number)
        .values(attempts=messages.c.attempts + 1, next_attempt_at=next_attempt_at, last_error=error)
    )


def undelivered(connection: Connection, tables: StoreTables, channels: Sequence[str]) -> list[Undelivered]:
    """The undelivered messages of each of the channels that has any, by id."""
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

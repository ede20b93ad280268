"""The table `alert_messages`: the outbox, with each message to each channel until it is delivered.

All functions run in the caller's transaction: a row that is taken stays locked until its result is recorded, so a
second sender skips it, and a sender that dies leaves it unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, FromClause, and_, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from snapshot_pipeline.store.tables import StoreTables

BLOCKING_ATTEMPTS = 10
"""How many attempts of a message block later ones, so that an all-clear does not arrive before its incident."""


@dataclass(frozen=True)
class Attachment:
    """A file that is sent with a message."""

    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class OutboxMessage:
    """An unsent row of `alert_messages`."""

    id: int
    title: str
    body: str
    severity: str
    attempts: int
    attachment: Attachment | None


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


@dataclass(frozen=True)
class SentMessage:
    """A message, to one or more channels.

    Attributes:
        channels: When it was sent to each channel id; None: it waits, or was given up.
    """

    title: str
    body: str
    severity: str
    created_at: datetime
    channels: Mapping[str, datetime | None]


def queue_message(
    connection: Connection,
    tables: StoreTables,
    channels: Sequence[str],
    *,
    title: str,
    body: str,
    severity: str,
    now: datetime,
    subject: str | None = None,
    attachment: Attachment | None = None,
    expires_at: datetime | None = None,
) -> int:
    """Queue a message for each channel id; return for how many.

    Args:
        subject: What the message is about, if a channel must not get another one about it.
        attachment: Stored with the message, because the sender may run on another machine, until it is sent.
        expires_at: When the message is given up.
    """
    if not channels:
        return 0
    common = {
        "title": title,
        "body": body,
        "severity": severity,
        "created_at": now,
        "next_attempt_at": now,
        "subject": subject,
        "attachment_name": attachment and attachment.name,
        "attachment": attachment and attachment.content,
        "expires_at": expires_at,
    }
    statement = insert(tables.alert_messages).values([{**common, "channel": channel} for channel in channels])
    return connection.execute(statement.on_conflict_do_nothing(index_elements=["channel", "subject"])).rowcount


def take_due(connection: Connection, tables: StoreTables, channel: str, now: datetime) -> OutboxMessage | None:
    """Lock and return the next message of a channel; None if there is none, or another sender has it.

    Messages keep their order: an unsent one blocks those behind it, for `BLOCKING_ATTEMPTS` attempts. A message that
    has expired is not sent any more.
    """
    messages = tables.alert_messages
    earlier = messages.alias("earlier")
    is_blocked = exists().where(
        earlier.c.channel == channel,
        _is_waiting(earlier, now),
        earlier.c.id < messages.c.id,
        earlier.c.attempts < BLOCKING_ATTEMPTS,
    )
    columns = ("id", "title", "body", "severity", "attempts", "attachment_name", "attachment")
    query = (
        select(*(messages.c[name] for name in columns))
        .where(
            messages.c.channel == channel,
            _is_waiting(messages, now),
            messages.c.next_attempt_at <= now,
            ~is_blocked,
        )
        .order_by(messages.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    attachment = Attachment(row.attachment_name, bytes(row.attachment)) if row.attachment is not None else None
    return OutboxMessage(row.id, row.title, row.body, row.severity, row.attempts, attachment)


def mark_sent(connection: Connection, tables: StoreTables, number: int, now: datetime) -> None:
    """Record that the channel accepted a message, and delete its attachment."""
    messages = tables.alert_messages
    connection.execute(
        update(messages)
        .where(messages.c.id == number)
        .values(sent_at=now, attempts=messages.c.attempts + 1, last_error=None, attachment=None)
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
        .where(_is_waiting(messages, func.now()), messages.c.channel.in_(channels))
        .group_by(messages.c.channel)
        .order_by(messages.c.channel)
    )
    return [Undelivered(*row) for row in connection.execute(query)]


def newest_messages(connection: Connection, tables: StoreTables, limit: int) -> list[SentMessage]:
    """The newest messages, oldest first; the rows of one message to several channels are one."""
    messages = tables.alert_messages
    same = (messages.c.created_at, messages.c.title, messages.c.body, messages.c.severity)
    query = (
        select(
            messages.c.title,
            messages.c.body,
            messages.c.severity,
            messages.c.created_at,
            func.array_agg(messages.c.channel),
            func.array_agg(messages.c.sent_at),
        )
        .group_by(*same)
        .order_by(func.min(messages.c.id).desc())
        .limit(limit)
    )
    rows = connection.execute(query).all()
    return [
        SentMessage(title, body, severity, created_at, dict(zip(channels, sent, strict=True)))
        for title, body, severity, created_at, channels, sent in reversed(rows)
    ]


def _is_waiting(messages: FromClause, now: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    return and_(messages.c.sent_at.is_(None), or_(messages.c.expires_at.is_(None), messages.c.expires_at > now))

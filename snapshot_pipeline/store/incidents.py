"""The table `incidents`: open and closed alerts.

All functions run in the caller's transaction, so that an incident and its messages are written together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, tuple_, update

from snapshot_pipeline.store.tables import StoreTables

LOCK_SECONDS = 20
"""How long a scan waits for another one before it fails; the next scan tries again."""


@dataclass(frozen=True)
class Incident:
    """A row of `incidents`.

    Attributes:
        id: The number shown in messages.
        kind: E.g. `missing_day`.
        subject: E.g. `2026-02-10`; at most one incident per kind and subject is open.
        detail: Observed and expected values.
        run_id: The Dagster run in which it happened, if any.
        command: The command to run, or an empty text.
        partitions: By day or week: what a failing check found, the id of the failed run, or when it was due.
        notified_at: When its opening or the last reminder was queued.
        last_event_at: When its last known event happened; None if it has no events.
    """

    id: int
    kind: str
    subject: str
    title: str
    detail: str
    run_id: str | None
    opened_at: datetime
    notified_at: datetime
    closed_at: datetime | None
    last_event_at: datetime | None
    command: str = ""
    partitions: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """What is wrong, why and what to do, with the command, in one line."""
        parts = (f"{self.title}.", *self.detail.split("\n"), f"Command: {self.command}" if self.command else "")
        return " ".join(part for part in parts if part)


def lock_incidents(connection: Connection, tables: StoreTables) -> None:
    """Lock the incidents of this schema until the end of the transaction."""
    name = str(tables.incidents.fullname)
    connection.execute(select(func.set_config("lock_timeout", f"{LOCK_SECONDS}s", True)))
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def open_incidents(connection: Connection, tables: StoreTables) -> list[Incident]:
    """The open incidents, by number."""
    incidents = tables.incidents
    query = select(incidents).where(incidents.c.closed_at.is_(None)).order_by(incidents.c.id)
    return [Incident(**row) for row in connection.execute(query).mappings()]


def first_opened_at(connection: Connection, tables: StoreTables) -> datetime | None:
    """When the oldest stored incident was opened; None if there is none."""
    return connection.execute(select(func.min(tables.incidents.c.opened_at))).scalar()


def last_events(
    connection: Connection, tables: StoreTables, subjects: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], datetime]:
    """The time of the last known event of each kind and subject, over open and closed incidents."""
    incidents = tables.incidents
    key = (incidents.c.kind, incidents.c.subject)
    query = (
        select(*key, func.max(incidents.c.last_event_at))
        .where(tuple_(*key).in_(subjects), incidents.c.last_event_at.is_not(None))
        .group_by(*key)
    )
    return {(kind, subject): event_at for kind, subject, event_at in connection.execute(query)}


def open_incident(
    connection: Connection,
    tables: StoreTables,
    kind: str,
    subject: str,
    described: Mapping[str, Any],
    event_at: datetime | None,
    now: datetime,
) -> Incident:
    """Insert an incident; a unique index rejects a second open one for the same kind and subject.

    Args:
        described: The columns `title`, `detail`, `run_id`, `command` and `partitions`.
    """
    row = {
        "kind": kind,
        "subject": subject,
        **described,
        "opened_at": now,
        "notified_at": now,
        "last_event_at": event_at,
    }
    inserted = connection.execute(insert(tables.incidents).values(row).returning(tables.incidents)).mappings().one()
    return Incident(**inserted)


def update_incident(
    connection: Connection,
    tables: StoreTables,
    number: int,
    described: Mapping[str, Any],
    event_at: datetime | None,
) -> None:
    """Update an open incident; for `described` see `open_incident`."""
    incidents = tables.incidents
    values = {**described, "last_event_at": event_at}
    connection.execute(update(incidents).where(incidents.c.id == number).values(values))


def mark_notified(connection: Connection, tables: StoreTables, numbers: Sequence[int], now: datetime) -> None:
    """Record that a reminder of these incidents was queued."""
    incidents = tables.incidents
    connection.execute(update(incidents).where(incidents.c.id.in_(numbers)).values(notified_at=now))


def close_incident(
    connection: Connection, tables: StoreTables, number: int, event_at: datetime | None, now: datetime
) -> None:
    incidents = tables.incidents
    connection.execute(
        update(incidents)
        .where(incidents.c.id == number)
        .values(closed_at=now, last_event_at=func.coalesce(event_at, incidents.c.last_event_at))
    )

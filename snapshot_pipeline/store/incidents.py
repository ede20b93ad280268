"""The table `incidents`: what went wrong, since when, and whether it is over.

Put here: the SQL of incidents. Do not put here: what is an incident (`alerts.incidents`, `orchestration.observations`),
or the messages about it (`store.outbox`).

All functions work inside the caller's transaction, so that an incident and its messages are written together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, insert, select, tuple_, update

from snapshot_pipeline.store.tables import StoreTables

TURN_SECONDS = 20
"""How long one look waits for another one; one that has waited in vain fails, and the next one looks again."""


@dataclass(frozen=True)
class Incident:
    """A row of `incidents`.

    Attributes:
        id: Its number, by which messages name it.
        kind: What sort of thing went wrong, e.g. `missing_day`.
        subject: What it went wrong with, e.g. `2026-02-10`; at most one incident per kind and subject is open.
        title: One line that says what.
        detail: Observed against expected.
        run_id: The Dagster run that it happened in, where there is one.
        opened_at: When it was first seen.
        told_at: When it was last told of: opened, or reminded of.
        closed_at: When it was over; None while it lasts.
        last_event_at: When the last event that it knows of happened; None where no event stands behind it.
    """

    id: int
    kind: str
    subject: str
    title: str
    detail: str
    run_id: str | None
    opened_at: datetime
    told_at: datetime
    closed_at: datetime | None
    last_event_at: datetime | None


def take_turns(connection: Connection, tables: StoreTables) -> None:
    """Wait until nobody else is writing incidents in this schema; held until the transaction ends."""
    name = str(tables.incidents.fullname)
    connection.execute(select(func.set_config("lock_timeout", f"{TURN_SECONDS}s", True)))
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def open_incidents(connection: Connection, tables: StoreTables) -> list[Incident]:
    """The incidents that last, by number."""
    incidents = tables.incidents
    query = select(incidents).where(incidents.c.closed_at.is_(None)).order_by(incidents.c.id)
    return [Incident(**row) for row in connection.execute(query).mappings()]


def first_opened_at(connection: Connection, tables: StoreTables) -> datetime | None:
    """When the first incident of all began that is kept; None when there has been none."""
    return connection.execute(select(func.min(tables.incidents.c.opened_at))).scalar()


def last_events(
    connection: Connection, tables: StoreTables, subjects: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], datetime]:
    """When the last known event of each kind and subject happened, over open and closed incidents."""
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
    *,
    kind: str,
    subject: str,
    title: str,
    detail: str,
    run_id: str | None,
    event_at: datetime | None,
    now: datetime,
) -> Incident:
    """Add an incident; the unique index refuses a second one that is open for the same kind and subject."""
    row = {
        "kind": kind,
        "subject": subject,
        "title": title,
        "detail": detail,
        "run_id": run_id,
        "opened_at": now,
        "told_at": now,
        "last_event_at": event_at,
    }
    found = connection.execute(insert(tables.incidents).values(row).returning(tables.incidents)).mappings().one()
    return Incident(**found)


def update_incident(
    connection: Connection,
    tables: StoreTables,
    number: int,
    *,
    title: str,
    detail: str,
    run_id: str | None,
    event_at: datetime | None,
) -> None:
    """Keep what was seen of an open incident since."""
    incidents = tables.incidents
    values = {"title": title, "detail": detail, "run_id": run_id, "last_event_at": event_at}
    connection.execute(update(incidents).where(incidents.c.id == number).values(values))


def mark_told(connection: Connection, tables: StoreTables, numbers: Sequence[int], now: datetime) -> None:
    """Note that a reminder of these incidents is on its way."""
    incidents = tables.incidents
    connection.execute(update(incidents).where(incidents.c.id.in_(numbers)).values(told_at=now))


def close_incident(
    connection: Connection, tables: StoreTables, number: int, event_at: datetime | None, now: datetime
) -> None:
    """Note that an incident is over."""
    incidents = tables.incidents
    connection.execute(
        update(incidents)
        .where(incidents.c.id == number)
        .values(closed_at=now, last_event_at=func.coalesce(event_at, incidents.c.last_event_at))
    )

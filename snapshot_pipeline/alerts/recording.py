"""Turns what was observed into incidents and messages, all of one look in one transaction.

Put here: the transaction. Do not put here: the decision (`incidents`), the texts (`messages`), the SQL (`store`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine

from snapshot_pipeline.alerts.incidents import Decision, Observation, decide
from snapshot_pipeline.alerts.messages import Message, Wording, all_clear, opened, reminders
from snapshot_pipeline.store.incidents import (
    Incident,
    close_incident,
    last_events,
    lock_incidents,
    mark_notified,
    open_incident,
    open_incidents,
    update_incident,
)
from snapshot_pipeline.store.outbox import queue_message
from snapshot_pipeline.store.tables import StoreTables


@dataclass(frozen=True)
class Changes:
    """What one look has changed.

    Attributes:
        opened: New incidents.
        closed: Incidents that are over.
        reminded: Incidents that have lasted for another day.
        messages: What each channel will be sent.
    """

    opened: Sequence[Incident]
    closed: Sequence[Incident]
    reminded: Sequence[Incident]
    messages: Sequence[Message]


def record(
    engine: Engine,
    tables: StoreTables,
    observe: Callable[[Sequence[Incident]], Sequence[Observation]],
    channels: Sequence[str],
    wording: Wording,
    now: datetime,
) -> Changes:
    """Look, open, keep and close incidents, and put the messages about them into the outbox: all of it or nothing.

    Doing the same again changes nothing. Two looks at the same time take turns, the looking included, so that what is
    recorded last was also seen last.

    Args:
        engine: The store's database.
        tables: Our tables.
        observe: Looks, and is told the incidents that last; finds at most one thing per kind and subject.
        channels: The ids of the channels that are told.
        wording: What the messages share.
        now: When the look was made.
    """
    with engine.begin() as connection:
        lock_incidents(connection, tables)
        still_open = open_incidents(connection, tables)
        observations = observe(still_open)
        known = last_events(connection, tables, [observation.key for observation in observations])
        decision = decide(observations, still_open, known, now)
        new = _write(connection, tables, decision, now)
        messages = [
            *opened(new, wording),
            *reminders(decision.reminded, wording),
            *all_clear(decision.closed, now, wording),
        ]
        for message in messages:
            queue_message(
                connection,
                tables,
                channels,
                title=message.title,
                body=message.body,
                severity=message.severity,
                now=now,
            )
    return Changes(new, [incident for incident, _ in decision.closed], decision.reminded, messages)


def _write(connection: Connection, tables: StoreTables, decision: Decision, now: datetime) -> list[Incident]:
    for incident, seen in decision.lasting:
        if (seen.title, seen.detail, seen.run_id) != (
            incident.title,
            incident.detail,
            incident.run_id,
        ) or seen.event_at:
            update_incident(
                connection,
                tables,
                incident.id,
                title=seen.title,
                detail=seen.detail,
                run_id=seen.run_id,
                event_at=seen.event_at or incident.last_event_at,
            )
    for incident, seen in decision.closed:
        close_incident(connection, tables, incident.id, seen.event_at, now)
    if decision.reminded:
        mark_notified(connection, tables, [incident.id for incident in decision.reminded], now)
    return [
        open_incident(
            connection,
            tables,
            kind=seen.kind,
            subject=seen.subject,
            title=seen.title,
            detail=seen.detail,
            run_id=seen.run_id,
            event_at=seen.event_at,
            now=now,
        )
        for seen in decision.opened
    ]

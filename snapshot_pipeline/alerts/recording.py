"""Record a scan: its incidents and their messages, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine

from snapshot_pipeline.alerts.incidents import Observation, PlannedChanges, plan_changes
from snapshot_pipeline.alerts.messages import (
    Message,
    MessageFormat,
    opened_messages,
    reminder_messages,
    resolved_messages,
)
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
class IncidentChanges:
    """What one scan changed.

    Attributes:
        opened: New incidents.
        closed: Resolved incidents.
        reminded: Open incidents for which a reminder was queued.
        messages: The messages queued for each channel.
    """

    opened: Sequence[Incident]
    closed: Sequence[Incident]
    reminded: Sequence[Incident]
    messages: Sequence[Message]


def record_scan(
    engine: Engine,
    tables: StoreTables,
    observe: Callable[[Sequence[Incident]], Sequence[Observation]],
    channels: Sequence[str],
    message_format: MessageFormat,
    now: datetime,
) -> IncidentChanges:
    """Scan; open, update and close incidents; queue the messages about them: all or nothing.

    Repeating a scan changes nothing. Concurrent scans run one after the other, including their observations, so that an
    older observation never overwrites a newer one.

    Args:
        observe: Makes the observations, given the open incidents; at most one per kind and subject.
        channels: The ids of the channels to notify.
    """
    with engine.begin() as connection:
        lock_incidents(connection, tables)
        still_open = open_incidents(connection, tables)
        observations = observe(still_open)
        known = last_events(connection, tables, [observation.key for observation in observations])
        plan = plan_changes(observations, still_open, known, now)
        opened = _write(connection, tables, plan, now)
        messages = [
            *opened_messages(opened, message_format),
            *reminder_messages(plan.to_remind, message_format),
            *resolved_messages(plan.to_close, now, message_format),
        ]
        for message in messages:
            queue_message(connection, tables, channels, **asdict(message), now=now)
    return IncidentChanges(opened, [incident for incident, _ in plan.to_close], plan.to_remind, messages)


def _write(connection: Connection, tables: StoreTables, plan: PlannedChanges, now: datetime) -> list[Incident]:
    """Write the incidents; return the new ones."""
    for incident, observation in plan.to_update:
        described = _described(observation)
        is_changed = any(value != getattr(incident, name) for name, value in described.items())
        if is_changed or observation.event_at:
            event_at = observation.event_at or incident.last_event_at
            update_incident(connection, tables, incident.id, described, event_at)
    for incident, observation in plan.to_close:
        close_incident(connection, tables, incident.id, observation.event_at, now)
    if plan.to_remind:
        mark_notified(connection, tables, [incident.id for incident in plan.to_remind], now)
    return [
        open_incident(connection, tables, *observation.key, _described(observation), observation.event_at, now)
        for observation in plan.to_open
    ]


def _described(observation: Observation) -> dict[str, Any]:
    """What is stored of an observation with its incident."""
    names = ("title", "detail", "run_id", "command")
    return {name: getattr(observation, name) for name in names} | {"partitions": dict(observation.partitions)}

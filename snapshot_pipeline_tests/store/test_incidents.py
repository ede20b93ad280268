"""The SQL of incidents: at most one is open per kind and subject; its last event is kept after it is closed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from snapshot_pipeline.store.incidents import (
    Incident,
    close_incident,
    first_opened_at,
    last_events,
    mark_notified,
    open_incident,
    open_incidents,
    update_incident,
)
from snapshot_pipeline_tests.store.conftest import Store

NOW = datetime(2026, 3, 10, 1, 0, tzinfo=timezone.utc)
LATER = NOW + timedelta(hours=1)


def open_test_incident(
    connection: Connection, store: Store, subject: str, event_at: datetime | None = None
) -> Incident:
    described = {"title": "title", "detail": "detail", "run_id": None}
    return open_incident(connection, store.tables, "failed_check", subject, described, event_at, NOW)


def test_second_open_incident_with_the_same_key_is_refused(store: Store) -> None:
    with store.engine.begin() as connection:
        first = open_test_incident(connection, store, "a")
        open_test_incident(connection, store, "b")
    with pytest.raises(IntegrityError, match="incidents_open_key"), store.engine.begin() as connection:
        open_test_incident(connection, store, "a")
    with store.engine.begin() as connection:
        close_incident(connection, store.tables, first.id, None, LATER)
        second = open_test_incident(connection, store, "a")
        assert [incident.subject for incident in open_incidents(connection, store.tables)] == ["b", "a"]
        assert second.id > first.id


def test_last_event_is_known_after_the_incident_is_closed(store: Store) -> None:
    with store.engine.begin() as connection:
        assert first_opened_at(connection, store.tables) is None
        incident = open_test_incident(connection, store, "a", NOW)
        close_incident(connection, store.tables, incident.id, LATER, LATER)
        without_event = open_test_incident(connection, store, "b", NOW)
        close_incident(connection, store.tables, without_event.id, None, LATER)
        keys = [("failed_check", subject) for subject in "abc"]
        events = last_events(connection, store.tables, keys)
        assert events == {("failed_check", "a"): LATER, ("failed_check", "b"): NOW}
        assert last_events(connection, store.tables, []) == {}
        assert first_opened_at(connection, store.tables) == NOW


def test_update_and_notification_of_an_incident_are_stored(store: Store) -> None:
    with store.engine.begin() as connection:
        incident = open_test_incident(connection, store, "a", NOW)
        described = {"title": "new", "detail": "worse", "run_id": "run-2"}
        update_incident(connection, store.tables, incident.id, described, LATER)
        mark_notified(connection, store.tables, [incident.id], LATER)
        (updated,) = open_incidents(connection, store.tables)
    assert (updated.title, updated.detail, updated.run_id, updated.last_event_at, updated.notified_at) == (
        "new",
        "worse",
        "run-2",
        LATER,
        LATER,
    )
    assert updated.opened_at == NOW

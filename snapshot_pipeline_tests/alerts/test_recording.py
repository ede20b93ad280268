"""The life of an incident in a real database: each change and its messages are one transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import select

from snapshot_pipeline_tests.alerts.scans import DAY, MINUTE, NOW, channels_of, check, missing, outbox, scan
from snapshot_pipeline_tests.store.conftest import Store

HOUR = timedelta(hours=1)
CHANNELS = channels_of("json://127.0.0.1:1/")


def open_ids(store: Store) -> list[int]:
    incidents = store.tables.incidents
    with store.engine.connect() as connection:
        return list(connection.execute(select(incidents.c.id).where(incidents.c.closed_at.is_(None))).scalars())


def test_an_incident_opens_is_reminded_daily_closes_and_reopens_as_another(store: Store):
    day = "2026-03-08"
    (first,) = scan(store, CHANNELS, NOW, missing(day)).opened
    for minutes in range(1, 60, 7):
        assert not scan(store, CHANNELS, NOW + minutes * MINUTE, missing(day)).messages
    assert [incident.id for incident in scan(store, CHANNELS, NOW + DAY, missing(day)).reminded] == [first.id]
    assert not scan(store, CHANNELS, NOW + DAY + MINUTE, missing(day)).messages
    assert scan(store, CHANNELS, NOW + 2 * DAY, missing(day)).reminded
    (closed,) = scan(store, CHANNELS, NOW + 2 * DAY + MINUTE, missing(day, False)).closed
    assert closed.id == first.id
    assert not scan(store, CHANNELS, NOW + 2 * DAY + 2 * MINUTE, missing(day, False)).messages
    (second,) = scan(store, CHANNELS, NOW + 3 * DAY, missing(day)).opened
    assert second.id > first.id
    assert open_ids(store) == [second.id]
    first_words = [title.split(" ")[0] for title, *_ in outbox(store)]
    assert first_words == ["performance_snapshots", "Still", "Still", "Resolved:", "performance_snapshots"]


def test_thirty_days_at_once_open_and_close_with_one_message_per_channel(store: Store):
    channels = channels_of("json://127.0.0.1:1/", "json://127.0.0.1:2/")
    days = [f"2026-01-{day:02}" for day in range(1, 31)]
    assert len(scan(store, channels, NOW, *map(missing, days)).opened) == 30
    assert len(outbox(store)) == 2
    scan(store, channels, NOW + MINUTE, *(missing(day, False) for day in days))
    assert len(outbox(store)) == 4


def test_repeating_scans_after_a_lost_cursor_changes_nothing(store: Store):
    failed, passed = check("2026-03-08", False, NOW), check("2026-03-08", True, NOW + MINUTE)
    scan(store, CHANNELS, NOW, failed)
    scan(store, CHANNELS, NOW + MINUTE, passed)
    for observation in (failed, passed, failed):
        assert not scan(store, CHANNELS, NOW + 2 * MINUTE, observation).messages
    assert open_ids(store) == []
    assert scan(store, CHANNELS, NOW + 9 * MINUTE, check("2026-03-08", False, NOW + 8 * MINUTE)).opened


def test_a_second_failure_of_a_check_updates_the_reminder(store: Store):
    scan(store, CHANNELS, NOW, check("2026-03-08", False, NOW))
    worse = check("2026-03-08", False, NOW + MINUTE)
    worse = replace(worse, title="50 % of 200 students", run_id="run-2")
    assert not scan(store, CHANNELS, NOW + MINUTE, worse).messages
    (reminder,) = scan(store, CHANNELS, NOW + DAY).messages
    assert reminder.title == "Still open: 50 % of 200 students"


def test_incidents_are_recorded_without_channels(store: Store):
    scan(store, [], NOW, missing("2026-03-08"))
    assert len(open_ids(store)) == 1
    assert outbox(store) == []


def test_a_scan_without_observations_changes_nothing(store: Store):
    assert not scan(store, CHANNELS, NOW).messages


def test_incidents_opened_at_different_times_share_one_daily_reminder(store: Store):
    for hour in range(10):
        scan(store, CHANNELS, NOW + hour * HOUR, missing(f"2026-03-0{hour}"))
    reminders = [
        (hour, len(changes.reminded))
        for hour in range(10, 24 * 4)
        if (changes := scan(store, CHANNELS, NOW + hour * HOUR)).reminded
    ]
    assert reminders == [(24, 10), (48, 10), (72, 10)]

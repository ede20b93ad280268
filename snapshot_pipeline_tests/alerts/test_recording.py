"""The life of an incident in a real database, each change with its messages in one transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import select

from snapshot_pipeline_tests.alerts.looks import DAY, MINUTE, NOW, channels_of, check, look_at, missing, outbox
from snapshot_pipeline_tests.store.conftest import Store

HOUR = timedelta(hours=1)
CHANNELS = channels_of("json://127.0.0.1:1/")


def open_numbers(store: Store) -> list[int]:
    incidents = store.tables.incidents
    with store.engine.connect() as connection:
        return list(connection.execute(select(incidents.c.id).where(incidents.c.closed_at.is_(None))).scalars())


def test_an_incident_opens_is_silent_is_reminded_of_is_over_and_opens_again_as_another_one(store: Store):
    day = "2026-03-08"
    (first,) = look_at(store, CHANNELS, NOW, missing(day)).opened
    for minutes in range(1, 60, 7):
        assert not look_at(store, CHANNELS, NOW + minutes * MINUTE, missing(day)).messages
    assert [one.id for one in look_at(store, CHANNELS, NOW + DAY, missing(day)).reminded] == [first.id]
    assert not look_at(store, CHANNELS, NOW + DAY + MINUTE, missing(day)).messages
    assert look_at(store, CHANNELS, NOW + 2 * DAY, missing(day)).reminded
    assert [one.id for one in look_at(store, CHANNELS, NOW + 2 * DAY + MINUTE, missing(day, False)).closed] == [
        first.id
    ]
    assert not look_at(store, CHANNELS, NOW + 2 * DAY + 2 * MINUTE, missing(day, False)).messages
    (second,) = look_at(store, CHANNELS, NOW + 3 * DAY, missing(day)).opened
    assert second.id > first.id
    assert open_numbers(store) == [second.id]
    told = [title.split(" ")[0] for title, *_ in outbox(store)]
    assert told == ["performance_snapshots", "Still:", "Still:", "Over:", "performance_snapshots"]


def test_a_storm_of_thirty_days_is_one_message_a_channel_and_so_is_its_end(store: Store):
    channels = channels_of("json://127.0.0.1:1/", "json://127.0.0.1:2/")
    days = [f"2026-01-{day:02}" for day in range(1, 31)]
    assert len(look_at(store, channels, NOW, *map(missing, days)).opened) == 30
    assert len(outbox(store)) == 2
    look_at(store, channels, NOW + MINUTE, *(missing(day, False) for day in days))
    assert len(outbox(store)) == 4


def test_a_look_that_is_repeated_because_its_place_was_lost_changes_nothing(store: Store):
    failed, passed = check("2026-03-08", False, NOW), check("2026-03-08", True, NOW + MINUTE)
    look_at(store, CHANNELS, NOW, failed)
    look_at(store, CHANNELS, NOW + MINUTE, passed)
    for found in (failed, passed, failed):
        assert not look_at(store, CHANNELS, NOW + 2 * MINUTE, found).messages
    assert open_numbers(store) == []
    assert look_at(store, CHANNELS, NOW + 9 * MINUTE, check("2026-03-08", False, NOW + 8 * MINUTE)).opened


def test_a_second_failure_of_the_same_check_updates_what_a_reminder_will_say(store: Store):
    look_at(store, CHANNELS, NOW, check("2026-03-08", False, NOW))
    worse = check("2026-03-08", False, NOW + MINUTE)
    worse = replace(worse, detail="50.00% of 200 students", run_id="run-2")
    assert not look_at(store, CHANNELS, NOW + MINUTE, worse).messages
    (reminder,) = look_at(store, CHANNELS, NOW + DAY).messages
    assert "50.00% of 200 students" in reminder.body
    assert "runs/run-2" in reminder.body


def test_with_nobody_to_tell_incidents_are_kept_all_the_same(store: Store):
    look_at(store, [], NOW, missing("2026-03-08"))
    assert len(open_numbers(store)) == 1
    assert outbox(store) == []


def test_a_look_that_finds_nothing_at_all_changes_nothing(store: Store):
    assert not look_at(store, CHANNELS, NOW).messages


def test_incidents_that_opened_at_different_times_are_reminded_of_together_once_a_day(store: Store):
    for hour in range(10):
        look_at(store, CHANNELS, NOW + hour * HOUR, missing(f"2026-03-0{hour}"))
    reminders = [
        (hour, len(changes.reminded))
        for hour in range(10, 24 * 4)
        if (changes := look_at(store, CHANNELS, NOW + hour * HOUR)).reminded
    ]
    assert reminders == [(24, 10), (48, 10), (72, 10)]

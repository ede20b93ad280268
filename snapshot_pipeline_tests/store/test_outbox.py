"""The SQL of the outbox: order, locks and delays between attempts."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from snapshot_pipeline.store.outbox import (
    BLOCKING_ATTEMPTS,
    mark_failed,
    mark_sent,
    queue_message,
    take_due,
    undelivered,
)
from snapshot_pipeline_tests.store.conftest import Store

NOW = datetime(2026, 3, 10, 1, 0, tzinfo=timezone.utc)
LATER = NOW + timedelta(hours=1)


def queue(store: Store, *titles: str, channels: tuple[str, ...] = ("one",)) -> None:
    with store.engine.begin() as connection:
        for title in titles:
            queue_message(connection, store.tables, channels, title=title, body="body", severity="failure", now=NOW)


def test_each_channel_delivers_its_messages_in_order(store: Store) -> None:
    queue(store, "first", "second", channels=("one", "two"))
    with store.engine.begin() as connection:
        first = take_due(connection, store.tables, "one", NOW)
        assert first is not None
        assert first.title == "first"
        mark_sent(connection, store.tables, first.id, NOW)
        second = take_due(connection, store.tables, "one", NOW)
        other = take_due(connection, store.tables, "two", NOW)
    assert second is not None
    assert other is not None
    assert (second.title, other.title) == ("second", "first")


def test_message_being_sent_is_neither_taken_nor_overtaken(store: Store) -> None:
    queue(store, "first", "second")
    with store.engine.begin() as sender, store.engine.begin() as other:
        assert take_due(sender, store.tables, "one", NOW)
        assert take_due(other, store.tables, "one", NOW) is None


def test_failed_message_delays_later_ones_only_for_its_first_attempts(store: Store) -> None:
    queue(store, "first", "second")
    for attempt in range(BLOCKING_ATTEMPTS):
        with store.engine.begin() as connection:
            message = take_due(connection, store.tables, "one", LATER)
            assert message is not None
            assert (message.title, message.attempts) == ("first", attempt)
            mark_failed(connection, store.tables, message.id, LATER + timedelta(minutes=attempt % 2), "down")
        with store.engine.begin() as connection:
            assert take_due(connection, store.tables, "one", NOW) is None or attempt == BLOCKING_ATTEMPTS - 1
            connection.execute(
                store.tables.alert_messages.update()
                .where(store.tables.alert_messages.c.title == "first")
                .values(next_attempt_at=LATER)
            )
    with store.engine.begin() as connection:
        message = take_due(connection, store.tables, "one", NOW)
        assert message is not None
        assert message.title == "second"


def test_pending_messages_are_counted_by_channel_with_the_last_error(store: Store) -> None:
    queue(store, "first", "second", channels=("one", "removed"))
    with store.engine.begin() as connection:
        message = take_due(connection, store.tables, "one", NOW)
        assert message is not None
        mark_failed(connection, store.tables, message.id, LATER, "down")
        (pending,) = undelivered(connection, store.tables, ["one", "two"])
    assert (pending.channel, pending.messages, pending.oldest_at, pending.attempts, pending.last_error) == (
        "one",
        2,
        NOW,
        1,
        "down",
    )


def test_no_channel_queues_nothing(store: Store) -> None:
    queue(store, "first", channels=())
    with store.engine.begin() as connection:
        assert undelivered(connection, store.tables, []) == []

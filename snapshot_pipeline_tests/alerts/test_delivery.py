"""The outbox is emptied channel by channel: one that is down or silent holds up no other, and nothing is lost."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from snapshot_pipeline.alerts.delivery import LONGEST_PAUSE, pause_after
from snapshot_pipeline.store.outbox import BLOCKING_ATTEMPTS
from snapshot_pipeline_tests.alerts.looks import (
    DAY,
    MINUTE,
    NOW,
    channels_of,
    check,
    look_at,
    missing,
    outbox,
    send,
)
from snapshot_pipeline_tests.receivers import WebReceiver, closed_address, silent_receiver, web_receiver
from snapshot_pipeline_tests.store.conftest import Store


def test_a_message_is_sent_once_and_not_again(store: Store, receiver: WebReceiver):
    channels = channels_of(f"json://{receiver.address}/")
    look_at(store, channels, NOW, missing("2026-03-08"), check("2026-03-07", False, NOW))
    assert [report.sent for report in send(store, channels, NOW)] == [2]
    assert [report.sent for report in send(store, channels, NOW + MINUTE)] == [0]
    assert len(receiver.messages) == 2
    assert all(sent_at == NOW for _, _, sent_at, _ in outbox(store))


def test_a_channel_that_is_down_and_one_that_is_silent_do_not_hold_up_the_one_that_works(
    store: Store, receiver: WebReceiver
):
    with silent_receiver() as silent:
        urls = f"json://{closed_address()}/", f"json://{silent}/?rto=3", f"json://{receiver.address}/"
        channels = channels_of(*urls)
        look_at(store, channels, NOW, missing("2026-03-08"), check("2026-03-07", False, NOW))
        began = time.monotonic()
        down, hanging, works = send(store, channels, NOW, seconds=1.5)
        assert time.monotonic() - began < 2.5
        assert (works.sent, works.error, works.is_over) == (2, None, True)
        assert down.error is not None
        assert "Connection error" in down.error
        assert (hanging.sent, hanging.is_over) == (0, False)
        assert len(receiver.messages) == 2
        # What hangs holds its message: a second sender leaves it alone, and does not wait for it.
        _, again, _ = send(store, channels, NOW, seconds=1)
        assert (again.sent, again.error, again.is_over) == (0, None, True)
        deadline = time.monotonic() + 20
        while sum(error is not None for *_, error in outbox(store)) < 2:
            assert time.monotonic() < deadline, "the silent channel was never given up"
            time.sleep(0.05)


def test_a_channel_that_was_down_gets_everything_in_order_when_it_is_back(store: Store):
    with web_receiver() as receiver:
        receiver.status = 503
        channels = channels_of(f"json://{receiver.address}/")
        look_at(store, channels, NOW, missing("2026-03-08"))
        send(store, channels, NOW)
        look_at(store, channels, NOW + MINUTE / 3, missing("2026-03-08", is_trouble=False))
        # The first is not due yet, and the second does not overtake it.
        assert send(store, channels, NOW + MINUTE / 3)[0].error is None
        ((_, attempts, _, error), (_, later_attempts, *_)) = outbox(store)
        assert (attempts, later_attempts) == (1, 0)
        assert error
        receiver.status = 200
        assert send(store, channels, NOW + MINUTE)[0].sent == 2
        assert [title.split(":")[0] for title in receiver.titles] == ["performance_snapshots 2026-03-08", "Over"]
        assert all(last_error is None for *_, last_error in outbox(store))


def test_the_pauses_grow_up_to_an_hour():
    pauses = [pause_after(attempts) for attempts in range(1, 12)]
    assert pauses[:3] == [timedelta(seconds=30), timedelta(minutes=1), timedelta(minutes=2)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == pause_after(10_000) == LONGEST_PAUSE


def test_a_message_that_a_channel_never_takes_does_not_hold_back_the_others_for_ever(store: Store):
    with web_receiver() as receiver:
        receiver.status = 500
        channels = channels_of(f"json://{receiver.address}/")
        look_at(store, channels, NOW, missing("2026-03-08"))
        now = NOW
        for _ in range(BLOCKING_ATTEMPTS):
            send(store, channels, now)
            now += LONGEST_PAUSE
        look_at(store, channels, now, missing("2026-03-09"))
        receiver.status = 200
        # Tried again only after its pause; the new one goes now.
        just_tried = now - LONGEST_PAUSE + MINUTE
        assert send(store, channels, just_tried)[0].sent == 0
        assert send(store, channels, now)[0].sent == 2
        assert len(receiver.messages) == 2


def test_what_waits_for_a_channel_that_is_not_configured_any_more_is_not_sent_and_blocks_nobody(
    store: Store, receiver: WebReceiver
):
    old, new = channels_of(f"json://{receiver.address}/old", f"json://{receiver.address}/new")
    look_at(store, [old, new], NOW, missing("2026-03-08"))
    assert [report.sent for report in send(store, [new], NOW + DAY)] == [1]
    assert receiver.paths == ["/new"]


def test_two_senders_at_the_same_time_send_each_message_once(store: Store, receiver: WebReceiver):
    receiver.delay = 0.1
    channels = channels_of(f"json://{receiver.address}/")
    for number in range(1, 6):
        look_at(store, channels, NOW, missing(f"2026-03-0{number}"))
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(send, store, channels, NOW) for _ in range(4)]:
            future.result(30)
    send(store, channels, NOW)
    assert len(receiver.messages) == len(set(receiver.titles)) == 5


def test_two_looks_at_the_same_time_open_one_incident_with_one_message(store: Store):
    channels = channels_of("json://127.0.0.1:1/")
    with ThreadPoolExecutor(4) as pool:
        looks = [pool.submit(look_at, store, channels, NOW, missing("2026-03-08")) for _ in range(4)]
        assert sum(len(look.result(30).opened) for look in looks) == 1
    assert len(outbox(store)) == 1

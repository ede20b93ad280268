"""Delivery of the outbox: a channel that is down or silent delays no other, and no message is lost."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from snapshot_pipeline.alerts.delivery import MAX_RETRY_DELAY, retry_delay
from snapshot_pipeline.store.outbox import BLOCKING_ATTEMPTS
from snapshot_pipeline_tests.alerts.scans import (
    DAY,
    MINUTE,
    NOW,
    channels_of,
    check,
    missing,
    outbox,
    scan,
    send,
)
from snapshot_pipeline_tests.receivers import WebReceiver, closed_address, silent_receiver, web_receiver
from snapshot_pipeline_tests.store.conftest import Store


def test_a_message_is_sent_once_and_not_again(store: Store, receiver: WebReceiver):
    channels = channels_of(f"json://{receiver.address}/")
    scan(store, channels, NOW, missing("2026-03-08"), check("2026-03-07", False, NOW))
    assert [report.sent for report in send(store, channels, NOW)] == [2]
    assert [report.sent for report in send(store, channels, NOW + MINUTE)] == [0]
    assert len(receiver.messages) == 2
    assert all(sent_at == NOW for _, _, sent_at, _ in outbox(store))


def test_channels_that_are_down_or_silent_do_not_delay_a_working_one(store: Store, receiver: WebReceiver):
    with silent_receiver() as silent:
        urls = f"json://{closed_address()}/", f"json://{silent}/?rto=300", f"json://{receiver.address}/"
        channels = channels_of(*urls)
        scan(store, channels, NOW, missing("2026-03-08"), check("2026-03-07", False, NOW))
        down, hanging, works = send(store, channels, NOW, seconds=5)
        assert (works.sent, works.error, works.is_finished) == (2, None, True)
        assert down.error is not None
        assert "Connection error" in down.error
        assert (hanging.sent, hanging.is_finished) == (0, False)
        assert len(receiver.messages) == 2
        # The hanging channel keeps its message locked: a second sender skips it without waiting.
        _, again, _ = send(store, channels, NOW, seconds=30)
        assert (again.sent, again.error, again.is_finished) == (0, None, True)
    deadline = time.monotonic() + 60
    while sum(error is not None for *_, error in outbox(store)) < 2:
        assert time.monotonic() < deadline, "the error of the silent channel was never recorded"
        time.sleep(0.05)


def test_a_channel_that_is_back_receives_everything_in_order(store: Store):
    with web_receiver() as receiver:
        receiver.status = 503
        channels = channels_of(f"json://{receiver.address}/")
        scan(store, channels, NOW, missing("2026-03-08"))
        send(store, channels, NOW)
        scan(store, channels, NOW + MINUTE / 3, missing("2026-03-08", is_problem=False))
        # The first message is not due yet, and the second one does not overtake it.
        assert send(store, channels, NOW + MINUTE / 3)[0].error is None
        ((_, attempts, _, error), (_, later_attempts, *_)) = outbox(store)
        assert (attempts, later_attempts) == (1, 0)
        assert error
        receiver.status = 200
        assert send(store, channels, NOW + MINUTE)[0].sent == 2
        assert [title.split(":")[0] for title in receiver.titles] == ["performance_snapshots 2026-03-08", "Resolved"]
        assert all(last_error is None for *_, last_error in outbox(store))


def test_retry_delays_double_up_to_an_hour():
    delays = [retry_delay(attempts) for attempts in range(1, 12)]
    assert delays[:3] == [timedelta(seconds=30), timedelta(minutes=1), timedelta(minutes=2)]
    assert delays == sorted(delays)
    assert delays[-1] == retry_delay(10_000) == MAX_RETRY_DELAY


def test_a_message_that_is_never_accepted_does_not_block_later_ones(store: Store):
    with web_receiver() as receiver:
        receiver.status = 500
        channels = channels_of(f"json://{receiver.address}/")
        scan(store, channels, NOW, missing("2026-03-08"))
        now = NOW
        for _ in range(BLOCKING_ATTEMPTS):
            send(store, channels, now)
            now += MAX_RETRY_DELAY
        scan(store, channels, now, missing("2026-03-09"))
        receiver.status = 200
        # The old message is tried only after its delay; then both are sent.
        just_tried = now - MAX_RETRY_DELAY + MINUTE
        assert send(store, channels, just_tried)[0].sent == 0
        assert send(store, channels, now)[0].sent == 2
        assert len(receiver.messages) == 2


def test_messages_to_a_removed_channel_are_not_sent_and_block_nothing(store: Store, receiver: WebReceiver):
    old, new = channels_of(f"json://{receiver.address}/old", f"json://{receiver.address}/new")
    scan(store, [old, new], NOW, missing("2026-03-08"))
    assert [report.sent for report in send(store, [new], NOW + DAY)] == [1]
    assert receiver.paths == ["/new"]


def test_concurrent_senders_send_each_message_once(store: Store, receiver: WebReceiver):
    receiver.delay = 0.1
    channels = channels_of(f"json://{receiver.address}/")
    for number in range(1, 6):
        scan(store, channels, NOW, missing(f"2026-03-0{number}"))
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(send, store, channels, NOW) for _ in range(4)]:
            future.result(30)
    send(store, channels, NOW)
    assert len(receiver.messages) == len(set(receiver.titles)) == 5


def test_concurrent_scans_open_one_incident_with_one_message(store: Store):
    channels = channels_of("json://127.0.0.1:1/")
    with ThreadPoolExecutor(4) as pool:
        scans = [pool.submit(scan, store, channels, NOW, missing("2026-03-08")) for _ in range(4)]
        assert sum(len(future.result(30).opened) for future in scans) == 1
    assert len(outbox(store)) == 1

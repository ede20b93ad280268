"""A scan and a delivery that are killed at every step: each message arrives exactly once, with one exception.

The processes are real and die by SIGKILL; the database and the receiver are real as well. The exception is a kill
between the channel's answer and our commit: the next sender cannot know the answer, so it sends the message again.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.pool import NullPool

from snapshot_pipeline.alerts.channels import Channel
from snapshot_pipeline.alerts.incidents import SLOW_RUN, Observation
from snapshot_pipeline.store.outbox import Attachment
from snapshot_pipeline_tests.alerts.scans import MINUTE, NOW, channels_of, check, missing, outbox, scan, send
from snapshot_pipeline_tests.alerts.test_report_messages import queue, stored_pages
from snapshot_pipeline_tests.integration.embedded.servers import fork
from snapshot_pipeline_tests.receivers import WebReceiver
from snapshot_pipeline_tests.store.conftest import Store

OBSERVATIONS = (
    missing("2026-03-08"),
    check("2026-03-07", False, NOW),
    Observation(SLOW_RUN, "performance_snapshots", True, "the run is too slow", "took 400 s"),
)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(name: str, condition: Callable[..., bool] = lambda *_: True) -> None:
    """Die at an event of SQLAlchemy, if the condition holds."""

    def listener(*arguments: object) -> None:
        if condition(*arguments):
            die()

    event.listen(Engine, name, listener)


def statement_with(words: str) -> Callable[..., bool]:
    return lambda _connection, _cursor, statement, *_: words in statement


def nth(number: int) -> Callable[..., bool]:
    seen: list[object] = []

    def is_it(*_: object) -> bool:
        seen.append(None)
        return len(seen) == number

    return is_it


SCAN_STEPS: dict[str, Callable[[], None]] = {
    "before the transaction": lambda: die_at("begin"),
    "before it has the lock": lambda: die_at("before_cursor_execute", statement_with("pg_advisory_xact_lock")),
    "before the first incident": lambda: die_at(
        "before_cursor_execute", statement_with("INSERT INTO public.incidents")
    ),
    "between the incidents and their messages": lambda: die_at(
        "before_cursor_execute", statement_with("INSERT INTO public.alert_messages")
    ),
    "after the messages, before the commit": lambda: die_at("commit"),
    "after the commit": lambda: None,  # killed when it is done
}


class DiesBeforeSending(Channel):
    """A channel whose sender is killed before it sends."""

    def send(self, title: str, body: str, severity: str, attachment: Attachment | None = None) -> str | None:
        die()
        return super().send(title, body, severity, attachment)


class DiesAfterSending(Channel):
    """A channel whose sender is killed after the channel accepted the message."""

    def send(self, title: str, body: str, severity: str, attachment: Attachment | None = None) -> str | None:
        assert super().send(title, body, severity, attachment) is None
        die()
        return None


DELIVERY_STEPS: dict[str, tuple[Callable[[], None], type[Channel]]] = {
    "before the transaction": (lambda: die_at("begin"), Channel),
    "before a message is taken": (lambda: die_at("before_cursor_execute", statement_with("FOR UPDATE")), Channel),
    "before it is sent": (lambda: None, DiesBeforeSending),
    "after the commit, before the next message": (lambda: die_at("begin", nth(2)), Channel),
    "after the second commit": (lambda: die_at("begin", nth(3)), Channel),
    "after the last commit": (lambda: None, Channel),  # killed when it is done
}

BETWEEN_ANSWER_AND_MARK: dict[str, tuple[Callable[[], None], type[Channel]]] = {
    "the channel has answered": (lambda: None, DiesAfterSending),
    "before the mark": (
        lambda: die_at("before_cursor_execute", statement_with("UPDATE public.alert_messages")),
        Channel,
    ),
    "marked, not committed": (lambda: die_at("commit"), Channel),
}


def killed(url: URL, store: Store, prepare: Callable[[], None], task: Callable[[Store], object]) -> None:
    """Run a task in a process that dies at the prepared step, at the latest when the task is done."""

    def run() -> None:
        prepare()
        task(replace(store, engine=create_engine(url, poolclass=NullPool)))
        die()

    _, status = os.waitpid(fork(run), 0)
    assert os.WIFSIGNALED(status), "the process exited normally: it was not killed"
    assert os.WTERMSIG(status) == signal.SIGKILL


def scan_and_deliver(store: Store, channels: Sequence[Channel]) -> None:
    """Do what the next daemon does: repeat the scan, and send until the outbox is empty."""
    scan(store, channels, NOW + MINUTE, *OBSERVATIONS)
    deadline = time.monotonic() + 20
    while any(sent_at is None for _, _, sent_at, _ in outbox(store)):
        send(store, channels, NOW + MINUTE)
        assert time.monotonic() < deadline, "a message was never sent"


@pytest.mark.parametrize("step", SCAN_STEPS)
def test_a_killed_scan_neither_loses_nor_repeats_a_message(
    step: str, store: Store, migrated_url: URL, receiver: WebReceiver
):
    channels = channels_of(f"json://{receiver.address}/")
    killed(migrated_url, store, SCAN_STEPS[step], lambda copy: scan(copy, channels, NOW, *OBSERVATIONS))
    # All or nothing: no incident without its message.
    assert len(outbox(store)) == (3 if step == "after the commit" else 0)
    scan_and_deliver(store, channels)
    assert len(receiver.titles) == len(set(receiver.titles)) == 3


@pytest.mark.parametrize("step", DELIVERY_STEPS)
def test_a_killed_delivery_neither_loses_nor_repeats_a_message(
    step: str, store: Store, migrated_url: URL, receiver: WebReceiver
):
    channels = channels_of(f"json://{receiver.address}/")
    scan(store, channels, NOW, *OBSERVATIONS)
    prepare, kind = DELIVERY_STEPS[step]
    dying = [kind(channel.id, channel.name, channel.url) for channel in channels]
    killed(migrated_url, store, prepare, lambda copy: send(copy, dying, NOW))
    scan_and_deliver(store, channels)
    assert len(receiver.titles) == len(set(receiver.titles)) == 3


@pytest.mark.parametrize("step", BETWEEN_ANSWER_AND_MARK)
def test_a_kill_between_answer_and_commit_repeats_that_message_only(
    step: str, store: Store, migrated_url: URL, receiver: WebReceiver
):
    channels = channels_of(f"json://{receiver.address}/")
    scan(store, channels, NOW, *OBSERVATIONS)
    prepare, kind = BETWEEN_ANSWER_AND_MARK[step]
    dying = [kind(channel.id, channel.name, channel.url) for channel in channels]
    killed(migrated_url, store, prepare, lambda copy: send(copy, dying, NOW))
    assert len(receiver.titles) == 1
    scan_and_deliver(store, channels)
    assert sorted(Counter(receiver.titles).values()) == [1, 1, 2]
    assert Counter(receiver.titles)[receiver.titles[0]] == 2


@pytest.mark.parametrize("step", BETWEEN_ANSWER_AND_MARK)
def test_a_report_whose_sender_is_killed_before_the_mark_is_sent_again_with_its_page(
    step: str, store: Store, migrated_url: URL, receiver: WebReceiver
):
    url = f"json://{receiver.address}/"
    queue(store, url)
    prepare, kind = BETWEEN_ANSWER_AND_MARK[step]
    dying = [kind(channel.id, channel.name, channel.url) for channel in channels_of(url)]
    killed(migrated_url, store, prepare, lambda copy: send(copy, dying, NOW))
    assert (len(receiver.messages), stored_pages(store)) == (1, 1)
    deadline = time.monotonic() + 20
    while stored_pages(store):
        send(store, channels_of(url), NOW + MINUTE)
        assert time.monotonic() < deadline, "the report was never sent again"
    first, second = receiver.messages
    assert first["attachments"] == second["attachments"] != []

"""Errors sent to a receiver in place of Sentry: the envelope contains the error, and no data of a student."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.pipeline.batches import SystematicError
from snapshot_pipeline.telemetry import sentry
from snapshot_pipeline.telemetry.sentry import SentryError, send_error
from snapshot_pipeline_tests.receivers import WebReceiver, closed_address, silent_receiver, web_receiver

STUDENT = 700_000_017
KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebReceiver]:
    with web_receiver() as started:
        monkeypatch.setenv("SENTRY_DSN", f"http://{KEY}@{started.address}/42")
        yield started


def event_of(receiver: WebReceiver) -> dict[str, Any]:
    """Return the event of the only envelope received."""
    (body,) = receiver.bodies
    assert receiver.paths == ["/api/42/envelope/"]
    lines = body.split(b"\n")
    assert json.loads(lines[1])["type"] == "event"
    return dict(json.loads(lines[2]))


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    """Raise and catch an error, in a frame with a local variable that identifies a student."""
    user_id = STUDENT
    assert user_id
    try:
        raise error from cause
    except Exception as caught:  # noqa: BLE001
        return caught


def test_our_own_error_arrives_with_message_stack_and_tags(receiver: WebReceiver):
    send_error(
        raised(SnapshotPipelineError("schema 'nowhere' has no table users")), {"run_id": "run-1", "job": "daily"}
    )
    event = event_of(receiver)
    (value,) = event["exception"]["values"]
    assert (value["type"], value["value"]) == ("SnapshotPipelineError", "schema 'nowhere' has no table users")
    assert value["stacktrace"]["frames"][-1]["function"] == "raised"
    assert event["tags"] == {"run_id": "run-1", "job": "daily"}


def test_no_message_cause_or_local_variable_contains_a_student(receiver: WebReceiver):
    quoted = ValueError(f"Key (user_id)=({STUDENT}) already exists")
    send_error(raised(SystematicError(f"more than 50 students raise, the last one {quoted}"), raised(quoted)), {})
    assert str(STUDENT).encode() not in receiver.bodies[0]
    values = event_of(receiver)["exception"]["values"]
    assert [value["type"] for value in values] == ["ValueError", "SystematicError"]
    assert all("so only the log has it" in value["value"] for value in values)
    assert not any(frame.get("vars") for value in values for frame in value["stacktrace"]["frames"])


def test_no_data_of_the_machine_or_its_user_is_sent(receiver: WebReceiver):
    send_error(raised(SnapshotPipelineError("something")), {})
    event = event_of(receiver)
    assert not event.keys() & {"breadcrumbs", "user", "request", "extra", "modules"}
    assert not event.get("server_name")


def test_without_a_dsn_nothing_is_sent(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SENTRY_DSN", raising=False)
    send_error(ValueError("x"), {})


def test_a_dsn_without_the_package_gives_one_line(receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    with pytest.raises(SentryError, match=r"SENTRY_DSN is set but the package sentry-sdk is not installed.*\[sentry\]"):
        send_error(ValueError("x"), {})


def test_a_wrong_dsn_gives_one_line_that_does_not_show_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SENTRY_DSN", "hunter2-no-dsn")
    with pytest.raises(SentryError, match="SENTRY_DSN is not a valid DSN") as error:
        send_error(ValueError("x"), {})
    assert "hunter2" not in str(error.value)


def test_a_server_that_is_down_or_never_answers_costs_a_few_seconds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sentry, "FLUSH_SECONDS", 0.5)
    with silent_receiver() as silent:
        for address in (closed_address(), silent):
            monkeypatch.setenv("SENTRY_DSN", f"http://{KEY}@{address}/42")
            began = time.monotonic()
            send_error(raised(ValueError("x")), {})
            assert time.monotonic() - began < 5

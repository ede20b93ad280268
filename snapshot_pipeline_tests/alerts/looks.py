"""Observations, channels and looks for the tests of the alerts.

Put here: what several of these test files need. Do not put here: assertions.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from sqlalchemy import select

from snapshot_pipeline.alerts.channels import Channel, read_channels
from snapshot_pipeline.alerts.delivery import ChannelReport, deliver
from snapshot_pipeline.alerts.incidents import FAILED_CHECK, MISSING_DAY, Observation
from snapshot_pipeline.alerts.messages import Wording
from snapshot_pipeline.alerts.recording import Changes, record
from snapshot_pipeline.settings import load_settings
from snapshot_pipeline_tests.store.conftest import Store

NOW = datetime(2026, 3, 10, 1, 0, tzinfo=timezone.utc)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
WORDING = Wording("http://ui.example.org", ZoneInfo("Europe/Budapest"))


def missing(day: str, is_trouble: bool = True) -> Observation:
    """A day that is missing, or is there."""
    detail = "it should have been there by then" if is_trouble else "the day is there"
    return Observation(MISSING_DAY, day, is_trouble, f"performance_snapshots {day}: the day is missing", detail)


def check(day: str, passed: bool, event_at: datetime) -> Observation:
    """An evaluation of a check."""
    return Observation(
        FAILED_CHECK,
        f"performance_snapshots/success_rate {day}",
        not passed,
        f"performance_snapshots {day}: the check success_rate has failed",
        f"{'97' if passed else '85'}.00% of 200 students, at least 90% wanted (170 published, 30 failed)",
        "run-1",
        event_at,
    )


def channels_of(*urls: str) -> Sequence[Channel]:
    """The channels of some URLs."""
    return read_channels(load_settings(alert_urls=" ".join(urls))).channels


def look_at(store: Store, channels: Sequence[Channel], now: datetime, *found: Observation) -> Changes:
    """Record what a look has found."""
    ids = [channel.id for channel in channels]
    return record(store.engine, store.tables, lambda _: found, ids, WORDING, now)


def send(store: Store, channels: Sequence[Channel], now: datetime, seconds: float = 10) -> list[ChannelReport]:
    """Send what is due."""
    return deliver(store.engine, store.tables, channels, now, seconds)


def outbox(store: Store) -> list[tuple[str, int, datetime | None, str | None]]:
    """Title, attempts, when it was sent, and the last error of each message."""
    messages = store.tables.alert_messages
    query = select(messages.c.title, messages.c.attempts, messages.c.sent_at, messages.c.last_error)
    with store.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(query.order_by(messages.c.id))]

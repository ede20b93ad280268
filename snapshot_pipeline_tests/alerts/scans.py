"""Observations, channels and scans for the tests of the alerts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from sqlalchemy import select

from snapshot_pipeline.alerts.channels import Channel, read_channels
from snapshot_pipeline.alerts.delivery import ChannelReport, deliver
from snapshot_pipeline.alerts.incidents import FAILED_CHECK, MISSING_DAY, Observation
from snapshot_pipeline.alerts.messages import MessageFormat
from snapshot_pipeline.alerts.recording import IncidentChanges, record_scan
from snapshot_pipeline.settings import load_settings
from snapshot_pipeline_tests.store.conftest import Store

NOW = datetime(2026, 3, 10, 1, 0, tzinfo=timezone.utc)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
FORMAT = MessageFormat("http://ui.example.org", ZoneInfo("Europe/Budapest"))


def missing(day: str, is_problem: bool = True) -> Observation:
    """Return the observation that a day is missing, or has been computed."""
    detail = "it was due by then" if is_problem else "the day has been computed"
    return Observation(MISSING_DAY, day, is_problem, f"performance_snapshots {day}: the day is missing", detail)


def check(day: str, passed: bool, event_at: datetime) -> Observation:
    """Return the observation of a check's evaluation."""
    percent = 97 if passed else 85
    found = f"{day}: {percent * 2} of 200 students published ({percent} %, at least 90 % expected)"
    return Observation(
        FAILED_CHECK,
        "performance_snapshots/success_rate: unexpected_error",
        not passed,
        f"performance_snapshots, {found}",
        found if passed else "Fix their cause; then run:",
        "run-1",
        event_at,
        f"snapshot-pipeline retry-failed --from {day} --to {day}",
        {} if passed else {day: found},
    )


def channels_of(*urls: str) -> Sequence[Channel]:
    """Return the channels of some URLs."""
    return read_channels(load_settings(alert_urls=" ".join(urls))).channels


def scan(store: Store, channels: Sequence[Channel], now: datetime, *observations: Observation) -> IncidentChanges:
    """Record a scan that makes these observations."""
    ids = [channel.id for channel in channels]
    return record_scan(store.engine, store.tables, lambda _: observations, ids, FORMAT, now)


def send(store: Store, channels: Sequence[Channel], now: datetime, seconds: float = 10) -> list[ChannelReport]:
    """Send the due messages."""
    return deliver(store.engine, store.tables, channels, now, seconds)


def outbox(store: Store) -> list[tuple[str, int, datetime | None, str | None]]:
    """Return title, attempts, `sent_at` and last error of each message."""
    messages = store.tables.alert_messages
    query = select(messages.c.title, messages.c.attempts, messages.c.sent_at, messages.c.last_error)
    with store.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(query.order_by(messages.c.id))]

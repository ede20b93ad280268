"""Alerts: invalid rows, missing days and missing weeks are notified once, and once more when they are resolved."""

from __future__ import annotations

import random
import time
from datetime import datetime, timedelta, timezone

import pytest

from snapshot_pipeline.alerts.channels import read_channels
from snapshot_pipeline.alerts.incidents import MISSED_WEEK, MISSING_DAY
from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.incident_scan.periods import week_due_at
from snapshot_pipeline.orchestration.sensors import ScanCursor, scan_and_record
from snapshot_pipeline.pipeline.installation import open_installation
from snapshot_pipeline_tests.faults.ledger import Ledger
from snapshot_pipeline_tests.faults.outcomes import assert_published, final_status
from snapshot_pipeline_tests.faults.system import FaultSystem
from snapshot_pipeline_tests.waiting import wait_for

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("normal_run_seconds")]


def test_invalid_rows_remove_no_student_and_alert_once(system: FaultSystem, ledger: Ledger, rng: random.Random) -> None:
    fault = ledger.fault("all lessons have negative minutes")
    invalidate = "UPDATE user_lesson_progress SET time_spent_minutes = -100000 - time_spent_minutes WHERE {}"
    system.change_source_rows(rng)
    students = system.figures().keys()
    system.execute(invalidate.format("time_spent_minutes >= 0"))
    try:
        run_id = system.launch()
        started = time.monotonic()
        assert final_status(system, run_id) == "SUCCESS"
        incident = wait_for(lambda: system.notified_incident(run_id), "a notification has arrived", 60)
        fault.record(time.monotonic() - started)
        assert system.figures().keys() == students
    finally:
        system.execute(invalidate.format("time_spent_minutes <= -100000"))
    message = next(sent["message"] for sent in system.receiver.messages if f"Incident {incident}" in sent["message"])
    assert "negative_minutes" in message
    assert final_status(system, system.launch()) == "SUCCESS"
    assert_published(fault, system, system.expected())
    wait_for(lambda: system.is_resolved(incident) or None, "the resolution is notified", 60)
    fault.notifications = len(system.messages_about(incident))
    assert fault.notifications == 2


def test_missing_day_and_week_are_reported_and_then_resolved(system: FaultSystem, ledger: Ledger) -> None:
    """The scan starts from a time two weeks ago, because a test cannot wait for midnight."""
    now = datetime.now(timezone.utc)
    monday = system.last - timedelta(days=system.last.weekday())
    while week_due_at(monday, system.settings) > now:  # also early on a Monday
        monday -= timedelta(weeks=1)
    day = system.first - timedelta(days=1)
    since = datetime.combine(day, datetime.min.time(), timezone.utc) + timedelta(days=1)
    repository = build_defs(system.settings).get_repository_def()
    channels = [channel.id for channel in read_channels(system.settings).channels]
    with open_installation(system.settings) as installation:
        cursor = ScanCursor(since, since)
        changes = scan_and_record(installation, system.dagster.instance, repository, cursor, channels, now)
        again = scan_and_record(installation, system.dagster.instance, repository, cursor, channels, now)
    assert again.opened == []
    for name, kind, job, partition in (
        ("a day is missing", MISSING_DAY, "daily_snapshots_job", str(day)),
        ("a weekly run did not happen", MISSED_WEEK, "weekly_recommendations_job", str(monday)),
    ):
        # By kind: the day may be a Monday, and then its week is missing, too.
        missing = next(one.id for one in changes.opened if one.kind == kind and partition in one.partitions)
        fault = ledger.fault(name)
        started = time.monotonic()
        wait_for(lambda missing=missing: system.messages_about(missing) or None, "a notification has arrived", 60)
        fault.record(time.monotonic() - started)
        assert final_status(system, system.dagster.launch(job, {"dagster/partition": partition})) == "SUCCESS"
        wait_for(lambda missing=missing: system.is_resolved(missing) or None, "the resolution is notified", 60)
        fault.notifications = len(system.messages_about(missing))
        assert fault.notifications == 2

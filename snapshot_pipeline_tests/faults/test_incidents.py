"""What nobody is woken by is no alert: bad data, missing days and weeks are told once, and once more when they heal."""

from __future__ import annotations

import random
import time
from datetime import datetime, timedelta, timezone

import pytest

from snapshot_pipeline.alerts.channels import read_channels
from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.sensors import ScanCursor, scan_and_record
from snapshot_pipeline.pipeline.installation import open_installation
from snapshot_pipeline_tests.faults.ledger import Ledger
from snapshot_pipeline_tests.faults.outcomes import over, settle
from snapshot_pipeline_tests.faults.world import World
from snapshot_pipeline_tests.running_dagster import wait_for

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("undisturbed_seconds")]


def test_invalid_rows_fail_only_their_students_and_alert_once_per_day(
    world: World, ledger: Ledger, rng: random.Random
) -> None:
    fault = ledger.of("a fifth of the students has a score of 130")
    spoil = "UPDATE quiz_attempts SET score = score + 1000 WHERE score BETWEEN 0 AND 100 AND user_id % 5 = 0"
    world.change_the_past(rng)
    world.execute(spoil)
    try:
        run_id = world.launch()
        began = time.monotonic()
        assert over(world, run_id) == "SUCCESS"
        incident = wait_for(lambda: world.incident_of(run_id), "somebody is told", 60)
        fault.struck(time.monotonic() - began)
    finally:
        world.execute("UPDATE quiz_attempts SET score = score - 1000 WHERE score >= 1000")
    message = next(one["message"] for one in world.receiver.messages if f"/runs/{run_id}" in one["message"])
    assert "expected at least 90 %" in message
    assert over(world, world.dagster.launch("retry_failed_job", {})) == "SUCCESS"
    settle(fault, world, world.expected())
    wait_for(lambda: world.is_cleared(incident) or None, "the all-clear is sent", 60)
    fault.told = len(world.messages_about(incident))
    assert fault.told == 2


def test_missing_day_and_week_are_reported_and_then_resolved(world: World, ledger: Ledger) -> None:
    """Looked for as if watching had begun two weeks ago: nobody waits for midnight in a test."""
    now = datetime.now(timezone.utc)
    monday = world.last - timedelta(days=world.last.weekday() + 7 if world.last.weekday() < 6 else 6)
    day = world.first - timedelta(days=1)
    since = datetime.combine(day, datetime.min.time(), timezone.utc) + timedelta(days=1)
    repository = build_defs(world.settings).get_repository_def()
    channels = [channel.id for channel in read_channels(world.settings).channels]
    with open_installation(world.settings) as installation:
        cursor = ScanCursor(since, since)
        changes = scan_and_record(installation, world.dagster.instance, repository, cursor, channels, now)
        again = scan_and_record(installation, world.dagster.instance, repository, cursor, channels, now)
    assert again.opened == []
    missing = {incident.subject: incident.id for incident in changes.opened}
    assert {str(day), str(monday)} <= missing.keys()
    for name, subject in (("a day is missing", str(day)), ("a weekly run did not happen", str(monday))):
        fault = ledger.of(name)
        began = time.monotonic()
        wait_for(lambda subject=subject: world.messages_about(missing[subject]) or None, "somebody is told", 60)
        fault.struck(time.monotonic() - began)
        job = "daily_snapshots_job" if subject == str(day) else "weekly_recommendations_job"
        assert over(world, world.dagster.launch(job, {"dagster/partition": subject})) == "SUCCESS"
        wait_for(lambda subject=subject: world.is_cleared(missing[subject]) or None, "the all-clear is sent", 60)
        fault.told = len(world.messages_about(missing[subject]))
        assert fault.told == 2

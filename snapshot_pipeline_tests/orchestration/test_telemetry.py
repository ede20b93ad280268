"""What real runs send to Sentry and by OpenTelemetry, and that neither can fail a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date

import dagster as dg
import pytest

from snapshot_pipeline.orchestration.partitions import range_tags
from snapshot_pipeline.telemetry import otel
from snapshot_pipeline_tests.installation import TestInstallation
from snapshot_pipeline_tests.orchestration.scanning import Scanner, scanning
from snapshot_pipeline_tests.receivers import WebReceiver, closed_address, web_receiver
from snapshot_pipeline_tests.telemetry.test_otel import points_of

FIRST, LAST = date(2026, 2, 9), date(2026, 2, 15)
TAGS = range_tags(FIRST, LAST)


@pytest.fixture
def scanner(installation: TestInstallation) -> Iterator[Scanner]:
    with scanning(installation) as scanner:
        yield scanner


@pytest.fixture
def receiver() -> Iterator[WebReceiver]:
    with web_receiver() as started:
        yield started


def warnings_of(result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> list[str]:
    return [entry.user_message for entry in instance.all_logs(result.run_id) if entry.level == 30]


def test_metrics_of_days_and_weeks_arrive(
    scanner: Scanner, receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{receiver.address}")
    assert scanner.run(TAGS).success
    assert scanner.run({"dagster/partition": FIRST.isoformat()}, "weekly_recommendations_job").success
    points = points_of(receiver)
    days = {dict(attributes).get("day") for attributes in points["snapshot_pipeline.published"]}
    assert {"2026-02-09", "2026-02-15", None} <= days
    assert {"published", "failed", "success_rate", "run.duration", "run.rows_per_second"} <= {
        name.removeprefix("snapshot_pipeline.") for name in points
    }
    (week,) = [value for key, value in points["snapshot_pipeline.published"].items() if ("week", "2026-02-09") in key]
    assert week > 0
    assert all(0 <= rate <= 1 for rate in points["snapshot_pipeline.success_rate"].values())


def test_a_run_succeeds_without_a_receiver_and_warns_once(scanner: Scanner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel, "FLUSH_SECONDS", 0.5)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{closed_address()}")
    result = scanner.run(range_tags(FIRST, FIRST))
    assert result.success
    assert (
        len([line for line in warnings_of(result, scanner.installation.instance) if "the run's metrics" in line]) == 1
    )


def test_sentry_gets_the_original_error_and_the_run_shows_one_line(
    scanner: Scanner, receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTRY_DSN", f"http://0123456789abcdef@{receiver.address}/42")
    result = scanner.run(TAGS, platform_schema="nowhere")
    assert not result.success
    event = json.loads(receiver.bodies[0].split(b"\n")[2])
    value = event["exception"]["values"][-1]
    assert (value["type"], "schema 'nowhere'" in value["value"]) == ("SnapshotPipelineError", True)
    assert event["tags"]["partitions"] == "2026-02-09..2026-02-15"
    assert event["tags"]["run_id"] == result.run_id
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "schema 'nowhere'" in failure.step_failure_data.user_failure_data.description

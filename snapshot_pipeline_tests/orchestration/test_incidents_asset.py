"""The asset `incidents` and its check `no_open_incidents`, as the scan reports them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from snapshot_pipeline.orchestration.assets.incidents import NO_OPEN_INCIDENTS, OpenState, check_no_open_incidents
from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.store.failures import OpenFailures
from snapshot_pipeline.store.incidents import Incident
from snapshot_pipeline_tests.installation import TestInstallation
from snapshot_pipeline_tests.orchestration.scanning import QUIET, Scanner, report_scan, scanning, shown_state

NOW = datetime(2026, 2, 26, 3, tzinfo=timezone.utc)
ZONE = ZoneInfo("Europe/Budapest")
ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
COMMAND = "snapshot-pipeline materialize --from 2026-02-25 --to 2026-02-25"
INCIDENT = Incident(
    7,
    "failed_check",
    "a/check: the cause",
    "what is wrong",
    "what to do",
    None,
    NOW,
    NOW,
    None,
    None,
    COMMAND,
    {"2026-02-25": "found"},
)
FAILURES = [OpenFailures("MemoryError", 1_200, NOW - timedelta(days=9), 7)]


@pytest.fixture
def scanner(installation: TestInstallation) -> Iterator[Scanner]:
    with scanning(installation) as scanner:
        yield scanner


def test_without_open_incidents_and_failures_it_passes() -> None:
    assert check_no_open_incidents(OpenState([], [], []), ZONE).passed


def test_an_open_incident_is_an_error_with_time_cause_days_and_command() -> None:
    result = check_no_open_incidents(OpenState([INCIDENT], [], []), ZONE)
    assert (result.passed, result.severity) == (False, ERROR)
    assert result.description == (
        f"1 incident is open.\n\nIncident 7, since 2026-02-26 04:00 CET: what is wrong. Command: `{COMMAND}`"
    )
    (record,) = result.metadata["incidents"].records
    assert record.data == {
        "incident": 7,
        "since": "2026-02-26 04:00 CET",
        "what": "what is wrong",
        "cause": "the cause",
        "days": "2026-02-25",
        "command": COMMAND,
    }


def test_open_failures_alone_are_a_warning_with_the_command() -> None:
    result = check_no_open_incidents(OpenState([], FAILURES, [date(2026, 2, 20), date(2026, 2, 25)]), ZONE)
    assert (result.passed, result.severity) == (False, WARN)
    assert "1,200 MemoryError" in str(result.description)
    assert str(result.description).endswith("`snapshot-pipeline retry-failed --from 2026-02-20 --to 2026-02-25`")


def shown(scanner: Scanner) -> str:
    return shown_state(scanner.installation.instance, NO_OPEN_INCIDENTS)


def test_the_first_tick_and_each_change_are_reported_and_nothing_else(scanner: Scanner) -> None:
    both = [dg.AssetMaterialization, dg.AssetCheckEvaluation]
    cursor, events = report_scan(scanner.installation, None)
    assert (events, shown(scanner)) == (both, "SUCCEEDED")
    cursor, events = report_scan(scanner.installation, cursor)
    assert events == []
    tags = {"dagster/partition": "2026-02-10"}
    assert not scanner.run(tags, platform_schema="nowhere").success
    cursor, events = report_scan(scanner.installation, cursor)
    assert (events, shown(scanner)) == (both, "FAILED")
    assert scanner.run(tags).success
    assert shown(scanner) == "FAILED"  # a nightly run changes nothing of it
    cursor, events = report_scan(scanner.installation, cursor)
    assert (events, shown(scanner)) == (both, "SUCCEEDED")


def test_the_asset_can_be_materialized_by_hand(scanner: Scanner) -> None:
    defs = build_defs(scanner.settings)
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=scanner.installation.instance, asset_selection=[NO_OPEN_INCIDENTS.asset_key], run_config=QUIET
    )
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.passed

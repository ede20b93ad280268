"""`late_data_sensor` on a real instance: from a change in the platform until its days are recomputed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta

import dagster as dg
import pytest

from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.names import LATE_DATA_PRIORITY, PRIORITY_TAG
from snapshot_pipeline.orchestration.partitions import range_tags
from snapshot_pipeline.orchestration.sensors import build_late_data_sensor, remaining_window, request_late_data
from snapshot_pipeline.pipeline.installation import Installation, open_installation
from snapshot_pipeline.pipeline.late_data import scan_for_late_data
from snapshot_pipeline.settings import Settings, load_settings
from snapshot_pipeline_tests.installation import TestInstallation
from snapshot_pipeline_tests.orchestration.test_materializing import last_line, scalar
from snapshot_pipeline_tests.pipeline.comparison import compare_days
from snapshot_pipeline_tests.pipeline.installations import execute

FIRST, LAST = date(2026, 2, 18), date(2026, 2, 25)
WINDOW = [FIRST + timedelta(days=n) for n in range(8)]
CHANGED = date(2026, 2, 21)
KEY = dg.AssetKey("performance_snapshots")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
CHANGE = (
    f"UPDATE quiz_attempts SET score = 100 - score WHERE score BETWEEN 0 AND 100 AND completed_at::date = '{CHANGED}'"  # noqa: S608
)


def compute(installation: TestInstallation, settings: Settings | None = None) -> bool:
    job = build_defs(settings or installation.settings).resolve_job_def("daily_snapshots_job")
    tags = range_tags(FIRST, LAST)
    return job.execute_in_process(
        instance=installation.instance, tags=tags, run_config=QUIET, raise_on_error=False
    ).success


def compute_late(
    installation: TestInstallation, request: dg.RunRequest, settings: Settings | None = None
) -> dg.ExecuteInProcessResult:
    job = build_defs(settings or installation.settings).resolve_job_def("late_data_job")
    return job.execute_in_process(
        instance=installation.instance,
        tags=dict(request.tags),
        run_config={**request.run_config, **QUIET},
        raise_on_error=False,
    )


def request(installation: TestInstallation) -> dg.RunRequest | dg.SkipReason:
    with opened(installation) as ours:
        scan = scan_for_late_data(ours, WINDOW, 60)
    return request_late_data(installation.instance, installation.settings, scan, LAST)


def requested(installation: TestInstallation) -> dg.RunRequest:
    result = request(installation)
    assert not isinstance(result, dg.SkipReason), result.skip_message
    return result


def skipped(installation: TestInstallation) -> str:
    result = request(installation)
    assert isinstance(result, dg.SkipReason)
    return str(result.skip_message)


@pytest.fixture(scope="module")
def computed(installation: TestInstallation) -> TestInstallation:
    assert compute(installation)
    return installation


@contextmanager
def opened(installation: TestInstallation) -> Iterator[Installation]:
    with open_installation(installation.settings) as ours:
        yield ours


def test_a_change_is_requested_until_it_is_computed(computed: TestInstallation) -> None:
    assert "no row from 2026-02-18 on has changed" in skipped(computed)
    execute(computed.url, CHANGE)
    request = requested(computed)
    assert request.tags["snapshot_pipeline/reason"] == "late data"
    assert request.tags[PRIORITY_TAG] == LATE_DATA_PRIORITY
    assert request.run_config == {"ops": {"late_data_op": {"config": {"first_day": "2026-02-21"}}}}

    # After a failed run the change is requested again.
    nowhere = computed.settings.model_copy(update={"platform_schema": "nowhere"})
    assert not compute_late(computed, request, nowhere).success
    assert requested(computed).run_config == request.run_config

    # While a run is queued or in progress, nothing is requested.
    repository = build_defs(computed.settings).get_repository_def()
    for job, tags in (("late_data_job", {}), ("daily_snapshots_job", range_tags(CHANGED, LAST))):
        run = computed.instance.create_run_for_job(
            repository.get_job(job), tags=tags, status=dg.DagsterRunStatus.NOT_STARTED
        )
        assert "so the next tick decides" in skipped(computed)
        computed.instance.report_run_canceled(run)
    assert requested(computed).run_config == request.run_config

    with opened(computed) as ours:
        assert compare_days(ours, [CHANGED]).differences  # still wrong
        assert compute_late(computed, request).success
        assert compare_days(ours, WINDOW).differences == []
    assert "has changed since" in skipped(computed)


def test_only_changed_days_are_materialized_checked_and_summarized(computed: TestInstallation) -> None:
    execute(computed.url, CHANGE)
    before = {asset: last_runs(computed, asset) for asset in ("performance_snapshots", "cohort_summary")}
    result = compute_late(computed, requested(computed))
    assert result.success
    for asset, runs in before.items():
        after = last_runs(computed, asset)
        assert {day for day in after if after[day] != runs[day]} == {str(day) for day in WINDOW if day >= CHANGED}, (
            asset
        )
    (event,) = computed.instance.fetch_materializations(
        dg.AssetRecordsFilter(KEY, asset_partitions=[str(CHANGED)]), limit=1
    ).records
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["restated"].value > 0
    restated = scalar(computed, f"SELECT count(*) FROM snapshot_restatements WHERE run_id = '{result.run_id}'")  # noqa: S608
    assert last_line(computed, result).endswith(f" and {restated} earlier figures changed")
    checks = {
        (check.check_name, check.partition): check.passed
        for check in result.get_asset_check_evaluations()
        if check.asset_key == KEY
    }
    days = [str(day) for day in WINDOW if day >= CHANGED]
    assert checks == {(name, day): True for name in ("success_rate", "data_quality") for day in days}


def last_runs(installation: TestInstallation, asset: str) -> dict[str, str]:
    records = installation.instance.fetch_materializations(dg.AssetKey(asset), limit=100).records
    return {str(record.partition_key): record.run_id for record in reversed(records)}


def test_the_sensor_runs_every_hour_unless_switched_off(computed: TestInstallation) -> None:
    assert build_late_data_sensor(load_settings(schedules=True)).default_status is dg.DefaultSensorStatus.RUNNING
    sensor = build_late_data_sensor(computed.settings)
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    assert sensor.minimum_interval_seconds == 3600
    repository = build_defs(computed.settings).get_repository_def()
    with dg.build_sensor_context(instance=computed.instance, repository_def=repository) as context:
        data = sensor.evaluate_tick(context)
    assert not data.run_requests  # the days of the sample are before the window
    assert "has changed since" in str(data.skip_message)


def test_the_window_continues_over_several_ticks_and_starts_again() -> None:
    assert remaining_window(WINDOW, None) == WINDOW
    assert remaining_window(WINDOW, "2026-02-20") == WINDOW[:2]
    assert remaining_window(WINDOW, "") == WINDOW
    assert remaining_window(WINDOW, "2026-01-01") == WINDOW  # the window has moved since

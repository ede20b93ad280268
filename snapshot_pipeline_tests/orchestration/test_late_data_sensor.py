"""`late_data_sensor` on a real instance: from a change in the platform until its days are recomputed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta

import dagster as dg
import pytest

from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.partitions import range_tags
from snapshot_pipeline.orchestration.sensors import build_late_data_sensor, remaining_window, request_late_days
from snapshot_pipeline.pipeline.installation import Installation, open_installation
from snapshot_pipeline.pipeline.late_data import scan_for_late_data
from snapshot_pipeline.settings import Settings, load_settings
from snapshot_pipeline_tests.installation import TestInstallation
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


def compute(installation: TestInstallation, tags: dict[str, str], settings: Settings | None = None) -> bool:
    job = build_defs(settings or installation.settings).resolve_job_def("daily_snapshots_job")
    return job.execute_in_process(
        instance=installation.instance, tags=tags, run_config=QUIET, raise_on_error=False
    ).success


def request(installation: TestInstallation, settings: Settings | None = None) -> list[dg.RunRequest] | dg.SkipReason:
    with opened(installation) as ours:
        scan = scan_for_late_data(ours, WINDOW, 60)
    return request_late_days(installation.instance, settings or installation.settings, scan, LAST)


def requests(installation: TestInstallation, settings: Settings | None = None) -> list[dg.RunRequest]:
    result = request(installation, settings)
    assert not isinstance(result, dg.SkipReason), result.skip_message
    return result


def skipped(installation: TestInstallation) -> str:
    result = request(installation)
    assert isinstance(result, dg.SkipReason)
    return str(result.skip_message)


@pytest.fixture(scope="module")
def computed(installation: TestInstallation) -> TestInstallation:
    assert compute(installation, range_tags(FIRST, LAST))
    return installation


@contextmanager
def opened(installation: TestInstallation) -> Iterator[Installation]:
    with open_installation(installation.settings) as ours:
        yield ours


def test_a_change_is_requested_until_it_is_computed(computed: TestInstallation) -> None:
    assert "no row from 2026-02-18 on has changed" in skipped(computed)
    execute(computed.url, CHANGE)
    (request,) = requests(computed)
    assert request.tags == {
        **range_tags(CHANGED, LAST),
        "snapshot_pipeline/reason": "late data",
        "dagster/priority": "1",
    }

    # After a failed run the change is requested again.
    nowhere = computed.settings.model_copy(update={"batch_rows": 1_000, "platform_schema": "nowhere"})
    assert not compute(computed, request.tags, nowhere)
    assert [again.tags for again in requests(computed)] == [request.tags]

    # While a run is queued or in progress, its days are not requested again.
    repository = build_defs(computed.settings).get_repository_def()
    run = computed.instance.create_run_for_job(
        repository.get_job("daily_snapshots_job"),
        tags=request.tags,
        status=dg.DagsterRunStatus.NOT_STARTED,
    )
    assert "2026-02-21 is being computed, so the next tick decides" in skipped(computed)
    computed.instance.report_run_canceled(run)
    assert [again.tags for again in requests(computed)] == [request.tags]

    with opened(computed) as ours:
        assert compare_days(ours, [CHANGED]).differences  # still wrong
        assert compute(computed, request.tags)
        assert compare_days(ours, WINDOW).differences == []
    assert "has changed since" in skipped(computed)
    (event,) = computed.instance.fetch_materializations(
        dg.AssetRecordsFilter(KEY, asset_partitions=[str(CHANGED)]), limit=1
    ).records
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["restated"].value > 0


def test_a_change_over_several_runs_is_requested_until_the_last(computed: TestInstallation) -> None:
    """The first run stores the changed day's new fingerprint; the days of the other runs still have to be computed."""
    settings = computed.settings.model_copy(update={"days_per_run": 3})
    execute(computed.url, f"DELETE FROM quiz_attempts WHERE completed_at::date = '{FIRST}'")  # noqa: S608
    first, second, third = requests(computed, settings)
    assert first.tags["dagster/asset_partition_range_end"] == "2026-02-20"
    assert compute(computed, dict(first.tags))
    assert [request.tags for request in requests(computed, settings)] == [
        {**first.tags, **range_tags(date(2026, 2, 21), date(2026, 2, 23))},
        third.tags,
    ]
    assert compute(computed, dict(second.tags))
    assert compute(computed, dict(third.tags))
    assert "has changed since" in skipped(computed)
    with opened(computed) as ours:
        assert compare_days(ours, [FIRST, LAST]).differences == []


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

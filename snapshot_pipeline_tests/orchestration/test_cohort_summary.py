"""`cohort_summary` in a real instance: computed after the snapshots, and its failures do not affect them."""

from __future__ import annotations

import re
from datetime import date, datetime
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.partitions import range_tags
from snapshot_pipeline_tests.installation import TestInstallation
from snapshot_pipeline_tests.orchestration.test_materializing import QUIET, last_line, run_days
from snapshot_pipeline_tests.pipeline.installations import execute

SNAPSHOTS, SUMMARY = dg.AssetKey("performance_snapshots"), dg.AssetKey("cohort_summary")
DAYS = ["2026-02-20", "2026-02-21", "2026-02-22"]


def rows(installation: TestInstallation, query: str) -> list[tuple[object, ...]]:
    engine = create_engine(installation.url, poolclass=NullPool)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


@pytest.fixture(scope="module")
def three_days(installation: TestInstallation) -> dg.ExecuteInProcessResult:
    return run_days(installation, date(2026, 2, 20), date(2026, 2, 22))


def test_each_day_of_a_range_has_its_summary_metadata_and_check(
    installation: TestInstallation, three_days: dg.ExecuteInProcessResult
) -> None:
    assert three_days.success
    events = {event.partition: event for event in three_days.asset_materializations_for_node("cohort_summary")}
    assert sorted(events) == DAYS
    stored = rows(
        installation,
        "SELECT snapshot_date::text, count(*), sum(students), sum(failed), (SELECT d.pace_median FROM day_summary AS d "
        "WHERE d.snapshot_date = c.snapshot_date) FROM cohort_summary AS c GROUP BY c.snapshot_date ORDER BY 1",
    )
    for (day, cohorts, students, failed, median), event in zip(stored, events.values(), strict=True):
        metadata = {name: value.value for name, value in event.metadata.items()}
        assert event.partition == day
        assert metadata["cohorts"] == cohorts > 3
        assert (metadata["students"], metadata["failed"]) == (students, failed)
        assert metadata["median_pace_score"] == median
    published, written = sum(row[2] for row in stored), sum(row[1] + 1 for row in stored)  # type: ignore[operator,misc]
    assert re.fullmatch(
        rf"2026-02-20 to 2026-02-22: 3 days summarized, {published} student-days published, 0 failed, \d+ with invalid "
        rf"rows, 0 earlier figures changed, {written} summary rows written, in .* s",
        last_line(installation, three_days),
    )
    records = installation.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(SUMMARY, "all_students"), limit=10
    )
    evaluations = [record.event.dagster_event.asset_check_evaluation_data for record in records if record.event]
    assert {
        evaluation.partition
        for evaluation in evaluations
        if evaluation.passed and evaluation.target_materialization_data
    } >= set(DAYS)


def test_deleted_snapshot_rows_fail_the_check_of_their_day(
    installation: TestInstallation, three_days: dg.ExecuteInProcessResult
) -> None:
    assert three_days.success
    kept = "CREATE TABLE kept AS SELECT * FROM performance_snapshots WHERE snapshot_date = '2026-02-21' LIMIT 3"
    execute(
        installation.url,
        kept,
        "DELETE FROM performance_snapshots WHERE (user_id, snapshot_date) IN (SELECT user_id, snapshot_date FROM kept)",
    )
    result = summarized_alone(installation, "2026-02-20", "2026-02-21")
    execute(installation.url, "INSERT INTO performance_snapshots SELECT * FROM kept", "DROP TABLE kept")
    assert result.success
    records = installation.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(SUMMARY, "all_students"), limit=3
    )
    evaluations = [record.event.dagster_event.asset_check_evaluation_data for record in records if record.event]
    assert {evaluation.partition: evaluation.passed for evaluation in evaluations} == {
        "2026-02-20": True,
        "2026-02-21": False,
        None: False,
    }
    assert all(
        evaluation.severity is dg.AssetCheckSeverity.ERROR for evaluation in evaluations if not evaluation.passed
    )


def summarized_alone(installation: TestInstallation, first: str, last: str) -> dg.ExecuteInProcessResult:
    """Run what the nightly schedule requests if only the summary is missing."""
    return (
        build_defs(installation.settings)
        .resolve_job_def("daily_snapshots_job")
        .execute_in_process(
            instance=installation.instance,
            tags=range_tags(date.fromisoformat(first), date.fromisoformat(last)),
            asset_selection=[SUMMARY],
            run_config=QUIET,
            raise_on_error=False,
        )
    )


def test_a_failed_summary_is_requested_again_without_its_snapshots(
    installation: TestInstallation, three_days: dg.ExecuteInProcessResult
) -> None:
    assert three_days.success
    execute(installation.url, "ALTER TABLE cohort_summary ADD CONSTRAINT refuses CHECK (students < 0) NOT VALID")
    try:
        result = run_days(installation, date(2026, 1, 10), date(2026, 1, 11))
    finally:
        execute(installation.url, "ALTER TABLE cohort_summary DROP CONSTRAINT refuses")
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_key == "cohort_summary"
    data = failure.step_failure_data
    assert "refuses" in str(data.user_failure_data.description if data.user_failure_data else data.error)
    days = ["2026-01-10", "2026-01-11"]
    assert set(days) <= set(installation.instance.get_materialized_partitions(SNAPSHOTS))
    assert set(days).isdisjoint(installation.instance.get_materialized_partitions(SUMMARY))
    assert rows(
        installation, "SELECT count(*) FROM snapshot_days WHERE snapshot_date IN ('2026-01-10', '2026-01-11')"
    ) == [(2,)]
    assert rows(installation, "SELECT count(*) FROM day_summary WHERE snapshot_date < '2026-01-12'") == [(0,)]
    repository = build_defs(installation.settings).get_repository_def()
    schedule = repository.get_schedule_def("daily_snapshots_schedule")
    context = dg.build_schedule_context(
        instance=installation.instance,
        scheduled_execution_time=datetime(2026, 1, 20, tzinfo=ZoneInfo("UTC")),
        repository_def=repository,
    )
    asked = [
        (request.asset_selection, request.tags["dagster/asset_partition_range_start"])
        for request in schedule.evaluate_tick(context).run_requests or []
    ]
    assert ([SUMMARY], "2026-01-10") in asked
    assert (None, "2026-01-10") not in asked  # the snapshots are not missing
    assert summarized_alone(installation, *days).success
    assert set(days) <= set(installation.instance.get_materialized_partitions(SUMMARY))


def test_a_summary_without_snapshots_fails_with_one_line(installation: TestInstallation) -> None:
    result = summarized_alone(installation, "2026-01-20", "2026-01-20")
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    description = failure.step_failure_data.user_failure_data.description
    assert "no snapshots of 2026-01-20" in description
    assert "`snapshot-pipeline materialize --from 2026-01-20 --to 2026-01-20`" in description


def test_failed_snapshots_leave_the_summary_untouched(installation: TestInstallation) -> None:
    nowhere = installation.settings.model_copy(update={"platform_schema": "nowhere"})
    job = build_defs(nowhere).resolve_job_def("daily_snapshots_job")
    result = job.execute_in_process(
        instance=installation.instance, partition_key="2026-01-25", run_config=QUIET, raise_on_error=False
    )
    assert [event.step_key for event in result.all_events if event.is_step_failure] == ["performance_snapshots"]
    assert [event.step_key for event in result.all_events if event.is_step_start] == ["performance_snapshots"]

"""Housekeeping: old log rows are deleted; no day, check result or run status changes."""

from __future__ import annotations

import os
import time
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Connection, func, select, text

from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.instance import log_retention
from snapshot_pipeline.orchestration.instance.dagster_internals import SqlEventLogStorageTable as Log
from snapshot_pipeline.orchestration.instance.log_retention import delete_old_log_rows, delete_old_output
from snapshot_pipeline.orchestration.partitions import daily_partitions, range_tags
from snapshot_pipeline.postgres.engines import create_platform_engine
from snapshot_pipeline.store.months import read_partitions
from snapshot_pipeline.store.tables import StoreTables
from snapshot_pipeline_tests.installation import TestInstallation

SNAPSHOTS = dg.AssetKey("performance_snapshots")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
FAILED_DAY = "2026-02-03"
CHECKS = ("success_rate", "run_time", "student_count_stable")


@pytest.fixture(scope="module")
def instance(installation: TestInstallation) -> dg.DagsterInstance:
    """With computed days, a failed day and a week."""
    settings = installation.settings
    job = build_defs(settings).resolve_job_def("daily_snapshots_job")
    tags = range_tags(date(2026, 2, 15), date(2026, 2, 22))  # eight days: a run of so many draws no plots
    assert job.execute_in_process(instance=installation.instance, tags=tags, run_config=QUIET).success
    week = build_defs(settings).resolve_job_def("weekly_recommendations_job")
    assert week.execute_in_process(instance=installation.instance, partition_key="2026-02-16", run_config=QUIET).success
    nowhere = settings.model_copy(update={"platform_schema": "nowhere"})
    failing = build_defs(nowhere).resolve_job_def("daily_snapshots_job")
    failed = failing.execute_in_process(
        instance=installation.instance, partition_key=FAILED_DAY, run_config=QUIET, raise_on_error=False
    )
    assert not failed.success
    return installation.instance


def scalar(instance: dg.DagsterInstance, query: Any) -> int:
    with instance.event_log_storage.index_connection() as connection:
        assert isinstance(connection, Connection)
        return int(connection.execute(query).scalar_one())


def visible_state(installation: TestInstallation, instance: dg.DagsterInstance) -> dict[str, Any]:
    """What the UI and our own code read from the instance."""
    days = daily_partitions(installation.settings)
    keys = days.get_partition_keys(current_time=datetime(2026, 3, 1, tzinfo=timezone.utc))
    runs = instance.get_runs()
    histories = {
        check: [
            (record.id, record.run_id, record.status.value, record.partition)
            for record in instance.event_log_storage.get_asset_check_execution_history(
                dg.AssetCheckKey(SNAPSHOTS, check), limit=1000
            )
        ]
        for check in CHECKS
    }
    return {
        "partitions": instance.get_status_by_partition(SNAPSHOTS, keys, days),
        "materialized": instance.get_materialized_partitions(SNAPSHOTS),
        "runs": {run.run_id: run.status for run in runs},
        "statistics": {run.run_id: instance.get_run_stats(run.run_id) for run in runs},
        # Without the markers, which are bars in an old run's chart that say how long a resource took to start.
        "steps": {
            run.run_id: [
                (step.step_key, step.status, step.start_time, step.end_time)
                for step in instance.get_run_step_stats(run.run_id)
            ]
            for run in runs
        },
        "checks": histories,
        "metadata": [
            (record.storage_id, record.asset_materialization.metadata)
            for record in instance.fetch_materializations(SNAPSHOTS, limit=100).records
            if record.asset_materialization
        ],
        "why_it_failed": [
            record.event_log_entry.dagster_event.step_failure_data.user_failure_data.description
            for run in runs
            for record in instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records
        ],
    }


@pytest.mark.clock
def test_old_log_rows_are_deleted_and_everything_else_is_kept(
    installation: TestInstallation, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(log_retention, "ROWS_PER_TRANSACTION", 25)  # so that more than one transaction is needed
    before, rows = visible_state(installation, instance), scalar(instance, select(func.count()).select_from(Log))
    assert before["partitions"]["2026-02-20"] is dg.AssetPartitionStatus.MATERIALIZED
    assert before["partitions"][FAILED_DAY] is dg.AssetPartitionStatus.FAILED
    assert len(before["checks"]["success_rate"]) >= 7
    assert "schema 'nowhere'" in before["why_it_failed"][0]
    yesterday = datetime.now(timezone.utc) - timedelta(days=1)
    assert delete_old_log_rows(instance, yesterday) == 0  # all rows are newer
    removed = delete_old_log_rows(instance, datetime.now(timezone.utc) + timedelta(minutes=1))
    assert removed > rows / 5
    assert scalar(instance, select(func.count()).select_from(Log)) == rows - removed
    instance.event_log_storage.wipe_asset_cached_status(SNAPSHOTS)  # so that nothing comes from a cache
    assert visible_state(installation, instance) == before
    assert delete_old_log_rows(instance, datetime.now(timezone.utc) + timedelta(minutes=1)) == 0


def test_a_run_in_progress_keeps_its_log_rows(instance: dg.DagsterInstance):
    """They say how far it is."""
    run = instance.create_run_for_job(dg.job(name="at_work")(lambda: None), status=dg.DagsterRunStatus.STARTED)
    instance.report_engine_event("Started process for run (pid: 1)", run)
    assert delete_old_log_rows(instance, datetime.now(timezone.utc) + timedelta(minutes=1)) == 0
    instance.report_run_canceled(run)
    assert delete_old_log_rows(instance, datetime.now(timezone.utc) + timedelta(minutes=1)) >= 1


def test_output_of_old_runs_is_deleted_and_recent_output_is_kept(tmp_path: Path):
    for name in ("old", "recent"):
        file = tmp_path / name / "compute_logs" / "step.err"
        file.parent.mkdir(parents=True)
        file.write_text("output")
    long_ago = time.time() - 100 * 86_400
    for path in ((tmp_path / "old").rglob("*"), [tmp_path / "old"]):
        for each in path:
            os.utime(each, (long_ago, long_ago))
    assert delete_old_output(tmp_path, datetime.now(timezone.utc) - timedelta(days=90)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["recent"]
    assert delete_old_output(tmp_path / "missing", datetime.now(timezone.utc)) == 0


def test_the_job_reports_the_deleted_rows(installation: TestInstallation, instance: dg.DagsterInstance):
    with instance.event_log_storage.index_transaction() as connection:
        connection.execute(text("UPDATE event_logs SET timestamp = timestamp - interval '100 days'"))
    settings = installation.settings.model_copy(update={"snapshot_retention_days": 60})
    job = build_defs(settings).resolve_job_def("housekeeping_job")
    result = job.execute_in_process(instance=instance, run_config=QUIET)
    assert result.success
    (output,) = [event for event in result.all_events if event.event_type_value == "STEP_OUTPUT"]
    metadata = output.event_specific_data.metadata
    assert {"dagster_log_rows_removed", "incidents_removed", "snapshot_restatements_removed"} <= set(metadata)
    # The sample's days are of February 2026 and today is later, perhaps by more than 60 days, perhaps not.
    assert metadata["performance_snapshots_removed"].value >= 0
    assert metadata["performance_snapshots_partitions_removed"].value >= 0
    assert instance.get_materialized_partitions(SNAPSHOTS)


@pytest.mark.clock
def test_monthly_partitions_are_created_in_advance(installation: TestInstallation, instance: dg.DagsterInstance):
    """So that the first run of a month needs neither the right nor the time to create its partition."""
    tables = StoreTables.of(installation.settings.store_schema)
    job = build_defs(installation.settings).resolve_job_def("housekeeping_job")
    assert job.execute_in_process(instance=instance, run_config=QUIET).success
    today = datetime.now(installation.settings.zone).date()
    with create_platform_engine(installation.settings).connect() as connection:
        assert read_partitions(connection, tables).gaps(today, today + timedelta(days=59)) == []

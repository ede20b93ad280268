"""`retry_failed_job`: a day whose errors were fixed passes its check again."""

from __future__ import annotations

from datetime import date

import dagster as dg
import pytest
from sqlalchemy import create_engine, text

from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.manual_jobs import retry_run_config
from snapshot_pipeline.orchestration.partitions import range_tags
from snapshot_pipeline_tests.installation import TestInstallation
from snapshot_pipeline_tests.orchestration.test_materializing import check_by_day, last_line
from snapshot_pipeline_tests.pipeline.installations import raising_for, students_started_before

KEY = dg.AssetKey("performance_snapshots")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
FIRST, LAST = date(2026, 2, 26), date(2026, 2, 28)


def run(installation: TestInstallation, job: str, **arguments: object) -> dg.ExecuteInProcessResult:
    strict = installation.settings.model_copy(update={"min_success_rate": 0.99})
    return (
        build_defs(strict)
        .resolve_job_def(job)
        .execute_in_process(instance=installation.instance, raise_on_error=False, **arguments)  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def failed(installation: TestInstallation) -> TestInstallation:
    with raising_for(students_started_before(installation.url, date(2026, 2, 1), 5)):
        assert run(installation, "daily_snapshots_job", tags=range_tags(FIRST, LAST), run_config=QUIET).success
    return installation


def test_a_retried_day_has_a_new_materialization_and_passes(failed: TestInstallation) -> None:
    assert check_by_day(failed, "success_rate")["2026-02-28"] is False
    result = run(failed, "retry_failed_job", run_config={**retry_run_config(LAST, None), **QUIET})
    assert result.success
    assert check_by_day(failed, "success_rate")["2026-02-28"] is True
    assert check_by_day(failed, "success_rate")["2026-02-27"] is False  # was not asked for
    (record,) = failed.instance.fetch_materializations(
        dg.AssetRecordsFilter(KEY, asset_partitions=["2026-02-28"]), limit=1
    ).records
    assert record.run_id == result.run_id
    assert record.asset_materialization is not None
    metadata = {name: value.value for name, value in record.asset_materialization.metadata.items()}
    engine = create_engine(failed.url)
    with engine.connect() as connection:
        published, open_failures = connection.execute(
            text("SELECT published, failed FROM snapshot_days WHERE snapshot_date = '2026-02-28'")
        ).one()
    engine.dispose()
    assert (metadata["published"], metadata["failed"]) == (published, open_failures) == (metadata["students"], 0)
    retried = metadata["retried"]
    assert retried > 1
    outcome = f"1 day: {retried} student-days recomputed, 0 still failing, 0 earlier figures changed"
    assert last_line(failed, result) == outcome
    checks = failed.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(KEY, "success_rate"), limit=1
    )
    evaluation = checks[0].event.dagster_event.asset_check_evaluation_data  # type: ignore[union-attr]
    assert evaluation.target_materialization_data is not None
    assert evaluation.target_materialization_data.storage_id == record.storage_id


def test_the_summary_of_a_retried_day_follows_in_the_same_run(failed: TestInstallation) -> None:
    """The test above has fixed 2026-02-28 and no other day."""
    engine = create_engine(failed.url)
    with engine.connect() as connection:
        open_failures = connection.execute(text("SELECT snapshot_date::text, failed, run_id FROM day_summary")).all()
    engine.dispose()
    failures = {day: (count > 0, run_id) for day, count, run_id in open_failures}
    (record,) = failed.instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey("cohort_summary"), asset_partitions=["2026-02-28"]), limit=1
    ).records
    nightly = failures["2026-02-27"][1]
    assert failures == {
        "2026-02-26": (True, nightly),
        "2026-02-27": (True, nightly),
        "2026-02-28": (False, record.run_id),
    }
    assert record.run_id != nightly
    checks = failed.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey("cohort_summary"), "all_students"), limit=1
    )
    evaluation = checks[0].event.dagster_event.asset_check_evaluation_data  # type: ignore[union-attr]
    assert (evaluation.partition, evaluation.passed) == ("2026-02-28", True)
    assert evaluation.target_materialization_data.storage_id == record.storage_id


def test_without_days_all_open_failures_are_retried(failed: TestInstallation) -> None:
    result = run(failed, "retry_failed_job", run_config=QUIET)
    assert result.success
    engine = create_engine(failed.url)
    with engine.connect() as connection:
        open_now = connection.execute(text("SELECT count(*) FROM snapshot_failures")).scalar_one()
    engine.dispose()
    assert open_now == 0
    assert check_by_day(failed, "success_rate")["2026-02-26"] is True


def test_an_invalid_day_is_refused_with_one_line(failed: TestInstallation) -> None:
    before = failed.instance.get_runs_count()
    for days, line in (
        ({"first_day": "yesterday"}, "first_day: 'yesterday' is not a date; expected a date such as 2026-11-22, or "),
        ({"first_day": "2026-02-28", "last_day": "2026-02-27"}, "first_day 2026-02-28 is after last_day 2026-02-27; "),
    ):
        wrong = {"ops": {"retry_failed_op": {"config": days}}}
        with pytest.raises(dg.DagsterError, match=f"^{line}[^\n]*$"):
            run(failed, "retry_failed_job", run_config={**wrong, **QUIET})
    assert failed.instance.get_runs_count() == before

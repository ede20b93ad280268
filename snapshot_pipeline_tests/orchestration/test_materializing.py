"""In-process runs of the daily and weekly assets in a real instance: rows, metadata, check results by day."""

from __future__ import annotations

from datetime import date

import dagster as dg
import pytest
from sqlalchemy import create_engine, text

from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.commands import materialize_command
from snapshot_pipeline.orchestration.partitions import range_tags
from snapshot_pipeline_tests.installation import TestInstallation

SNAPSHOTS = dg.AssetKey("performance_snapshots")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def run_days(installation: TestInstallation, first: date, last: date) -> dg.ExecuteInProcessResult:
    job = build_defs(installation.settings).resolve_job_def("daily_snapshots_job")
    return job.execute_in_process(
        instance=installation.instance, tags=range_tags(first, last), run_config=QUIET, raise_on_error=False
    )


def run_week(installation: TestInstallation, monday: str) -> dg.ExecuteInProcessResult:
    job = build_defs(installation.settings).resolve_job_def("weekly_recommendations_job")
    return job.execute_in_process(
        instance=installation.instance, partition_key=monday, run_config=QUIET, raise_on_error=False
    )


def check_by_day(installation: TestInstallation, check: str) -> dict[str | None, bool]:
    """The latest result of each day, as the UI's partition tab reads it."""
    records = installation.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(SNAPSHOTS, check), limit=100
    )
    evaluations = [record.event.dagster_event.asset_check_evaluation_data for record in records if record.event]
    return {evaluation.partition: evaluation.passed for evaluation in reversed(evaluations)}


def last_line(installation: TestInstallation, result: dg.ExecuteInProcessResult) -> str:
    """The last line that the run has logged itself."""
    lines = [entry.user_message for entry in installation.instance.all_logs(result.run_id) if entry.level == 20]
    return lines[-1]


def scalar(installation: TestInstallation, query: str) -> object:
    engine = create_engine(installation.url)
    with engine.connect() as connection:
        value = connection.execute(text(query)).scalar()
    engine.dispose()
    return value


@pytest.fixture(scope="module")
def three_days(installation: TestInstallation) -> dg.ExecuteInProcessResult:
    return run_days(installation, date(2026, 2, 20), date(2026, 2, 22))


def test_each_day_of_a_range_has_its_own_materialization_and_metadata(
    installation: TestInstallation, three_days: dg.ExecuteInProcessResult
) -> None:
    assert three_days.success
    events = {event.partition: event for event in three_days.asset_materializations_for_node("performance_snapshots")}
    assert sorted(events) == ["2026-02-20", "2026-02-21", "2026-02-22"]
    for day, event in events.items():
        published = scalar(
            installation,
            f"SELECT published FROM snapshot_days WHERE snapshot_date = '{day}'",  # noqa: S608
        )
        assert event.metadata["published"].value == published
        assert event.metadata["students"].value > 100
        assert 0 < event.metadata["mean_pace_score"].value < 100
    opened = [entry.user_message for entry in installation.instance.all_logs(three_days.run_id) if entry.level == 10]
    url = installation.url
    tables = f"postgresql://{url.host}:{url.port}/{url.database}, schema public"
    assert f"the platform's tables: {tables}; the pipeline's tables: {tables}" in opened


def test_each_day_of_a_range_has_its_own_check_result(
    installation: TestInstallation, three_days: dg.ExecuteInProcessResult
) -> None:
    assert three_days.success
    for check in ("success_rate", "run_time", "student_count_stable"):
        results = check_by_day(installation, check)
        assert {day: results[day] for day in ("2026-02-20", "2026-02-21", "2026-02-22")} == {
            "2026-02-20": True,
            "2026-02-21": True,
            "2026-02-22": True,
        }
    records = installation.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(SNAPSHOTS, "success_rate"), limit=10
    )
    by_day = [record.event.dagster_event.asset_check_evaluation_data for record in records if record.event]
    assert all(evaluation.target_materialization_data for evaluation in by_day if evaluation.partition)


def test_only_the_day_with_too_many_invalid_rows_fails_its_check(
    installation: TestInstallation,
) -> None:
    strict = installation.settings.model_copy(update={"max_issue_rate": 0.0})
    job = build_defs(strict).resolve_job_def("daily_snapshots_job")
    # The ten invalid rows of the sample are of 2026-02-28.
    tags = range_tags(date(2026, 2, 25), date(2026, 2, 28))
    result = job.execute_in_process(instance=installation.instance, tags=tags, run_config=QUIET)
    assert result.success
    results = check_by_day(installation, "data_quality")
    assert (results["2026-02-25"], results["2026-02-27"], results["2026-02-28"]) == (True, True, False)
    assert results[None] is False  # the range's own result, which the step must yield
    (whole,) = [
        evaluation
        for evaluation in result.get_asset_check_evaluations()
        if evaluation.check_name == "data_quality" and evaluation.partition is None
    ]
    # It is what the check's page shows as its latest execution, so it says what to do as well.
    failed = [str(day) for day in sorted(filter(None, results)) if day >= "2026-02-25" and not results[day]]
    assert f"{len(failed)} of 4 days of this run failed; first {failed[0]}: " in str(whole.description)
    assert "invalid rows" in str(whole.description)
    assert str(whole.description).endswith(f"`{materialize_command(SNAPSHOTS, failed)}`")
    assert sorted(whole.metadata)[:3] == ["failed_days", "issues", "listed_rows"]  # by day, by kind, ten examples
    assert 0 < len(whole.metadata["listed_rows"].records) <= 10  # type: ignore[attr-defined]
    assert "data_issues" in str(whole.description)


def test_a_run_of_one_partition_stores_its_check_under_that_day(installation: TestInstallation) -> None:
    job = build_defs(installation.settings).resolve_job_def("daily_snapshots_job")
    result = job.execute_in_process(instance=installation.instance, partition_key="2026-02-10", run_config=QUIET)
    assert result.success
    assert check_by_day(installation, "success_rate")["2026-02-10"] is True


def test_a_week_without_its_sunday_fails_and_says_what_to_do(installation: TestInstallation) -> None:
    result = run_week(installation, "2026-01-26")
    assert not result.success
    failures = [event for event in result.all_events if event.is_step_failure]
    assert {failure.step_key for failure in failures} == {"adaptive_recommendations", "at_risk_students"}
    for failure in failures:
        description = failure.step_failure_data.user_failure_data.description
        assert "no snapshots for its Sunday, 2026-02-01" in description
        assert "snapshot-pipeline materialize --from 2026-02-01 --to 2026-02-01" in description


def test_a_week_with_another_missing_day_is_published_with_a_warning(
    installation: TestInstallation, three_days: dg.ExecuteInProcessResult
) -> None:
    assert three_days.success
    result = run_week(installation, "2026-02-16")
    assert result.success
    evaluations = {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}
    assert not evaluations["week_complete"].passed
    assert evaluations["week_complete"].severity is dg.AssetCheckSeverity.WARN
    assert "2026-02-16, 2026-02-17" in str(evaluations["week_complete"].description)
    assert evaluations["recommendation_coverage"].passed
    assert evaluations["week_complete"].partition == "2026-02-16"
    active = scalar(installation, "SELECT count(*) FROM adaptive_recommendations WHERE is_active")
    (event,) = result.asset_materializations_for_node("adaptive_recommendations")
    assert event.metadata["dagster/partition_row_count"].value == active
    lines = [entry.user_message for entry in installation.instance.all_logs(result.run_id) if entry.level == 20]
    assert any(line.startswith("week of 2026-02-16: ") and f" {active} added to the week, " in line for line in lines)
    again = run_week(installation, "2026-02-16")
    lines = [entry.user_message for entry in installation.instance.all_logs(again.run_id) if entry.level == 20]
    assert any(" 0 added to the week, " in line for line in lines)
    assert any(" at risk, " in line and " 0 changed, " in line for line in lines)


def test_a_platform_without_tables_fails_the_run_with_one_line(
    installation: TestInstallation,
) -> None:
    settings = installation.settings.model_copy(update={"platform_schema": "nowhere"})
    job = build_defs(settings).resolve_job_def("daily_snapshots_job")
    result = job.execute_in_process(
        instance=installation.instance, partition_key="2026-02-10", run_config=QUIET, raise_on_error=False
    )
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "schema 'nowhere'" in failure.step_failure_data.user_failure_data.description
    assert "snapshot-pipeline check" in failure.step_failure_data.user_failure_data.description

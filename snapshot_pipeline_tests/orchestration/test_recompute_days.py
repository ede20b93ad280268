"""`recompute_days_job`: each day has the same events as after a backfill."""

from __future__ import annotations

from datetime import date

import dagster as dg
import pytest

from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.manual_jobs import recompute_run_config
from snapshot_pipeline.pipeline.periods import last_closed_day
from snapshot_pipeline_tests.installation import TestInstallation
from snapshot_pipeline_tests.orchestration.test_materializing import (
    QUIET,
    SNAPSHOTS,
    check_by_day,
    last_line,
    run_days,
)


def recompute(
    installation: TestInstallation, first: str, last: str = "", **settings: object
) -> dg.ExecuteInProcessResult:
    defs = build_defs(installation.settings.model_copy(update=settings))
    return defs.resolve_job_def("recompute_days_job").execute_in_process(
        instance=installation.instance, run_config={**recompute_run_config(first, last), **QUIET}, raise_on_error=False
    )


def metadata_names(result: dg.ExecuteInProcessResult, asset: str) -> dict[str | None, set[str]]:
    """The metadata keys of each materialized day."""
    events = [
        event.step_materialization_data.materialization for event in result.all_events if event.is_step_materialization
    ]
    return {event.partition: set(event.metadata) for event in events if event.asset_key == dg.AssetKey(asset)}


def test_each_recomputed_day_has_materialization_metadata_and_checks(installation: TestInstallation) -> None:
    result = recompute(installation, "2026-02-18", "2026-02-20", days_per_run=2)
    assert result.success
    assert last_line(installation, result).startswith("2026-02-18 to 2026-02-20: 3 days, ")
    days = ["2026-02-18", "2026-02-19", "2026-02-20"]
    assert installation.instance.get_materialized_partitions(SNAPSHOTS) == set(days)
    for check in ("success_rate", "run_time", "student_count_stable"):
        assert check_by_day(installation, check) == dict.fromkeys(days, True)
    again = run_days(installation, date(2026, 2, 18), date(2026, 2, 20))
    for asset in ("performance_snapshots", "cohort_summary"):
        shown = metadata_names(result, asset)
        assert sorted(shown, key=str) == days
        assert shown == metadata_names(again, asset)
    shown = metadata_names(result, "performance_snapshots")
    assert {"summary", "mean_pace_score", "pace_change_median"} <= shown["2026-02-20"]


def test_without_a_last_day_one_day_is_recomputed(installation: TestInstallation) -> None:
    assert recompute(installation, "2026-01-20").success
    assert "2026-01-20" in installation.instance.get_materialized_partitions(SNAPSHOTS)
    assert "2026-01-21" not in installation.instance.get_materialized_partitions(SNAPSHOTS)


@pytest.mark.clock
def test_without_days_yesterday_is_recomputed(installation: TestInstallation) -> None:
    before = last_closed_day(installation.settings)
    result = recompute(installation, "", "")
    days = {before, last_closed_day(installation.settings)}  # midnight may pass meanwhile
    run = installation.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["snapshot_pipeline/days"] in set(map(str, days))


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ("", "2026-02-20", "first_day is empty and last_day is 2026-02-20; set both, or neither for yesterday"),
        (
            "02/20/2026",
            "",
            "first_day: '02/20/2026' is not a date; expected a date such as 2026-11-22, or nothing",
        ),
        ("2026-02-20", "2026-02-18", "first_day 2026-02-20 is after last_day 2026-02-18"),
        ("2025-12-31", "", "first_day 2025-12-31 is before SNAPSHOT_START_DATE=2026-01-01"),
        ("2026-02-20", "2999-01-01", "last_day 2999-01-01 has not ended yet in UTC; expected "),
    ],
)
def test_an_invalid_day_is_refused_with_one_line_before_a_run_is_created(
    installation: TestInstallation, first: str, last: str, message: str
) -> None:
    before = installation.instance.get_runs_count()
    with pytest.raises(dg.DagsterError, match=f"^{message}[^\n]*$"):
        recompute(installation, first, last)
    assert installation.instance.get_runs_count() == before


def test_the_launchpad_shows_each_field_with_a_description(installation: TestInstallation) -> None:
    days = {"first_day", "last_day"}
    for name, fields in (("recompute_days_job", days), ("retry_failed_job", days), ("late_data_job", {"first_day"})):
        job = build_defs(installation.settings).resolve_job_def(name)
        (op,) = job.graph.node_defs
        assert set(job.run_config["ops"][op.name]["config"]) == fields  # the initial content of the launchpad
        config = op.config_schema.config_type.fields  # type: ignore[union-attr]
        assert all(config[field].description.endswith(".") for field in fields)
        someday = {"ops": {op.name: {"config": {"first_day": "someday"}}}}
        with pytest.raises(dg.DagsterError, match=r"^first_day: 'someday' is not a date; "):
            job.execute_in_process(instance=installation.instance, run_config=someday)
        # A field that does not exist is refused by the launchpad itself, with the ones that do.
        wrong = {"ops": {op.name: {"config": {"begin": "2026-02-01"}}}}
        with pytest.raises(dg.DagsterInvalidConfigError, match="begin"):
            job.execute_in_process(instance=installation.instance, run_config=wrong)

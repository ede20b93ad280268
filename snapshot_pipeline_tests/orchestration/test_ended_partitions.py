"""Partitions that Dagster's API accepts and that do not exist: each asset refuses them, and publishes nothing."""

from __future__ import annotations

from contextlib import suppress
from datetime import date, datetime, timedelta, timezone

import dagster as dg
import pytest
from sqlalchemy import create_engine, text

from snapshot_pipeline.orchestration import steps
from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.steps import REJECTED_INPUT
from snapshot_pipeline.pipeline.periods import PeriodError, require_closed_days
from snapshot_pipeline.settings import load_settings
from snapshot_pipeline_tests.installation import TestInstallation
from snapshot_pipeline_tests.orchestration.scanning import QUIET

DAYS, SUMMARIES = "daily_snapshots_job", ["cohort_summary"]
WEEKS, REPORTS = "weekly_recommendations_job", "weekly_report_job"
PARTITION = "dagster/partition"


def unfinished_day() -> date:
    """Today; tomorrow in the last hour of a day, so that it does not end while a test runs."""
    return (datetime.now(timezone.utc) + timedelta(hours=1)).date()


def launch(
    installation: TestInstallation, job: str, tags: dict[str, str], assets: list[str] | None = None
) -> dg.ExecuteInProcessResult:
    """Launch a job as an API client does: with tags, which Dagster does not check."""
    return (
        build_defs(installation.settings)
        .resolve_job_def(job)
        .execute_in_process(
            instance=installation.instance,
            tags=tags,
            run_config=QUIET,
            raise_on_error=False,
            asset_selection=[dg.AssetKey(name) for name in assets] if assets else None,
        )
    )


def rows(installation: TestInstallation) -> int:
    engine = create_engine(installation.url)
    with engine.connect() as connection:
        tables = ("performance_snapshots", "snapshot_days", "adaptive_recommendations", "recommendation_weeks")
        tables += ("at_risk_students", "at_risk_weeks")
        if connection.execute(text("SELECT to_regclass('snapshot_days')")).scalar() is None:
            return 0
        counts = (f"(SELECT count(*) FROM {table})" for table in tables)  # noqa: S608
        return int(connection.execute(text(f"SELECT {' + '.join(counts)}")).scalar_one())


@pytest.mark.clock
@pytest.mark.parametrize(
    ("job", "assets", "key", "message"),
    [
        (DAYS, None, "{day}", "has not ended yet in UTC; expected "),
        (DAYS, SUMMARIES, "{day}", "has not ended yet in UTC; expected "),
        (DAYS, None, "2025-12-31", "is before SNAPSHOT_START_DATE=2026-01-01"),
        (WEEKS, None, "{week}", "has not ended yet in UTC; expected "),
        (WEEKS, None, "{next_year}", "has not ended yet in UTC; expected "),
        (WEEKS, None, "2026-02-10", "is a Tuesday; expected the Monday of the week, 2026-02-09"),
        (REPORTS, None, "{week}", "has not ended yet in UTC; expected "),
    ],
)
def test_a_partition_that_does_not_exist_is_refused_in_one_line(
    installation: TestInstallation, job: str, assets: list[str] | None, key: str, message: str
) -> None:
    day = unfinished_day()
    week = day - timedelta(days=day.weekday())
    key = key.format(day=day, week=week, next_year=week + timedelta(weeks=52))
    result = launch(installation, job, {PARTITION: key}, assets)
    assert not result.success
    failures = [event.step_failure_data.user_failure_data for event in result.all_events if event.is_step_failure]
    assert failures
    for failure in failures:
        assert failure is not None
        assert str(failure.description).startswith(f"the partition {key} {message}")
        assert "\n" not in str(failure.description)
        assert failure.metadata[REJECTED_INPUT].value is True
    assert rows(installation) == 0


@pytest.mark.clock
def test_a_range_whose_last_day_has_not_ended_publishes_none_of_its_days(installation: TestInstallation) -> None:
    last = unfinished_day()
    tags = {
        "dagster/asset_partition_range_start": f"{last - timedelta(days=2)}",
        "dagster/asset_partition_range_end": f"{last}",
    }
    with suppress(dg.DagsterError):  # Dagster looks at the ends of a range itself
        assert not launch(installation, DAYS, tags).success
    assert rows(installation) == 0


def test_a_day_that_has_ended_is_computed(installation: TestInstallation) -> None:
    assert launch(installation, DAYS, {PARTITION: "2026-02-10"}).success
    assert rows(installation) > 0


def test_the_clock_of_a_run_may_be_a_little_behind_the_daemons() -> None:
    settings = load_settings(timezone="UTC", start_date=date(2026, 3, 1))
    day = date(2026, 3, 9)
    late = datetime(2026, 3, 10, tzinfo=timezone.utc) - timedelta(seconds=30)
    with pytest.raises(PeriodError):
        require_closed_days(settings, day, day, now=late)
    require_closed_days(settings, day, day, now=late + steps._AHEAD)

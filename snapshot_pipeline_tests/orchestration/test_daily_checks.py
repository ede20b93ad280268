"""The daily checks: result, severity, and the commands in the description."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta, timezone

import dagster as dg
import pytest

from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.daily_checks import check_no_open_incidents, check_recompute_matches
from snapshot_pipeline.orchestration.partitions import range_tags
from snapshot_pipeline.pipeline.open_problems import OpenProblems
from snapshot_pipeline.pipeline.outdated import OutdatedDays
from snapshot_pipeline.pipeline.recompute import Recomputation, StoredDifference
from snapshot_pipeline.store.days import DayCount
from snapshot_pipeline.store.failures import OpenFailures
from snapshot_pipeline_tests.installation import TestInstallation
from snapshot_pipeline_tests.pipeline.installations import execute

FIRST, LAST = date(2026, 2, 12), date(2026, 2, 25)
SEARCHED = [date(2026, 2, day) for day in range(1, 26)]
NOW = datetime(2026, 2, 26, 3, tzinfo=timezone.utc)
ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def problems(**broken: object) -> OpenProblems:
    nothing = {"missing": [], "below": [], "failures": [], "failed_days": [], "missing_weeks": []}
    return OpenProblems(FIRST, LAST, **{**nothing, **broken})  # type: ignore[arg-type]


def test_no_problems_pass_with_the_period() -> None:
    result = check_no_open_incidents(problems(), 0.9, NOW)
    assert result.passed
    assert result.description == "no problems, 2026-02-12 to 2026-02-25"


def test_missing_days_are_an_error_with_a_command_per_range() -> None:
    missing = [date(2026, 2, 14), date(2026, 2, 20), date(2026, 2, 21)]
    result = check_no_open_incidents(problems(missing=missing), 0.9, NOW)
    assert (result.passed, result.severity) == (False, ERROR)
    assert "1 day missing: `snapshot-pipeline materialize --from 2026-02-14 --to 2026-02-14`" in result.description
    assert "2 days missing: `snapshot-pipeline materialize --from 2026-02-20 --to 2026-02-21`" in result.description
    assert result.metadata["missing_days"].value == 3


def test_a_day_below_the_rate_is_an_error() -> None:
    result = check_no_open_incidents(problems(below=[DayCount(LAST, 850, 150)]), 0.9, NOW)
    assert (result.passed, result.severity) == (False, ERROR)
    assert "2026-02-25: 85 % of 1,000 students published, expected at least 90 %" in result.description


def test_open_failures_alone_are_a_warning_with_reason_age_and_command() -> None:
    failures = [
        OpenFailures("MemoryError", 1_200, NOW - timedelta(days=9, hours=2), 7),
        OpenFailures("unexpected_error", 1, NOW, 1),
    ]
    result = check_no_open_incidents(problems(failures=failures, failed_days=[date(2026, 2, 20), LAST]), 0.9, NOW)
    assert (result.passed, result.severity) == (False, WARN)
    assert "1,200 MemoryError, 1 unexpected_error" in result.description
    assert "`snapshot-pipeline retry-failed --from 2026-02-20 --to 2026-02-25`" in result.description
    records = result.metadata["failures_by_reason"].records
    assert [(record.data["reason"], record.data["age_days"], record.data["attempts"]) for record in records] == [
        ("MemoryError", 9, 7),
        ("unexpected_error", 0, 1),
    ]


def test_a_week_without_recommendations_is_an_error_with_the_command() -> None:
    result = check_no_open_incidents(problems(missing_weeks=[date(2026, 2, 16)]), 0.9, NOW)
    assert (result.passed, result.severity) == (False, ERROR)
    assert "`snapshot-pipeline recommend --week 2026-02-16`" in result.description


def test_an_equal_recomputed_day_passes() -> None:
    result = check_recompute_matches(Recomputation(LAST, students=1_000), "a seed", [LAST])
    assert result.passed
    assert result.metadata["day"].value == "2026-02-25"
    assert result.metadata["seed"].value == "a seed"


def test_a_difference_is_an_error_unless_late_rows_explain_it() -> None:
    different = Recomputation(
        LAST,
        1_000,
        Counter(pace_score=2, quiz_average=1),
        [StoredDifference(7, "pace_score", "50", None)],
        rows_missing=3,
    )
    result = check_recompute_matches(different, "a seed", SEARCHED)
    assert (result.passed, result.severity) == (False, ERROR)
    assert "3 differences (2 of pace_score, 1 of quiz_average), 3 published rows missing" in result.description
    assert "`snapshot-pipeline materialize --from 2026-02-25 --to 2026-02-25`" in result.description
    assert len(result.metadata["first_differences"].records) == 1
    different.changed_days = [date(2026, 2, 20)]
    late = check_recompute_matches(different, "a seed", SEARCHED)
    assert (late.passed, late.severity) == (False, WARN)
    assert "rows of 2026-02-20 have changed" in late.description
    assert "late_data_sensor will request the day again" in late.description


def test_a_changed_day_that_the_sensor_does_not_search_has_its_command() -> None:
    different = Recomputation(LAST, 1_000, Counter(pace_score=2), changed_days=[date(2025, 11, 3)])
    result = check_recompute_matches(different, "a seed", SEARCHED)
    assert (result.passed, result.severity) == (False, WARN)
    assert "rows of 2025-11-03 have changed" in result.description
    assert "`snapshot-pipeline materialize --from 2025-11-03 --to 2026-02-25`" in result.description


def test_attempts_regraded_before_the_first_computed_day_are_a_warning() -> None:
    different = Recomputation(
        LAST, 1_000, Counter(quiz_average=2), differing=2, regraded_before=2, first_computed=date(2026, 1, 1)
    )
    result = check_recompute_matches(different, "a seed", SEARCHED)
    assert (result.passed, result.severity) == (False, WARN)
    assert "attempts from before 2026-01-01, the first computed day" in result.description
    different.regraded_before = 1
    assert check_recompute_matches(different, "a seed", SEARCHED).severity == ERROR


def test_students_who_became_active_later_are_a_warning() -> None:
    result = check_recompute_matches(Recomputation(LAST, 1_000, unpublished=4), "a seed", SEARCHED)
    assert (result.passed, result.severity) == (False, WARN)
    assert "4 students without a row" in result.description


COMPUTED_WITH = {"formula": 1, "timezone": "Europe/Budapest", "naive_timezone": "UTC", "score_maximum": 100}


@pytest.mark.parametrize("differences", [0, 2])
def test_days_computed_with_another_zone_are_a_warning_with_the_command(differences: int) -> None:
    outdated = OutdatedDays(date(2026, 2, 1), LAST, {**COMPUTED_WITH, "timezone": "UTC"}, COMPUTED_WITH)
    columns = Counter(pace_score=differences) if differences else Counter()
    result = check_recompute_matches(Recomputation(LAST, 1_000, columns, outdated=[outdated]), "a seed", SEARCHED)
    assert (result.passed, result.severity) == (False, WARN)
    assert result.description.endswith(
        "; 2026-02-01 to 2026-02-25 were computed with SNAPSHOT_TIMEZONE=UTC, not with "
        "SNAPSHOT_TIMEZONE=Europe/Budapest: `snapshot-pipeline materialize --from 2026-02-01 --to 2026-02-25`"
    )


def test_a_difference_of_a_day_computed_as_now_stays_an_error_beside_outdated_days() -> None:
    outdated = OutdatedDays(date(2026, 2, 1), date(2026, 2, 2), {**COMPUTED_WITH, "formula": 0}, COMPUTED_WITH)
    different = Recomputation(LAST, 1_000, Counter(pace_score=2), outdated=[outdated], differing=2)
    assert check_recompute_matches(different, "a seed", SEARCHED).severity == ERROR


def run_checks(installation: TestInstallation, **tags: str) -> dict[str, dg.AssetCheckEvaluation]:
    job = build_defs(installation.settings).resolve_job_def("daily_checks_job")
    result = job.execute_in_process(instance=installation.instance, tags=tags, run_config=QUIET)
    assert result.success
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


@pytest.fixture(scope="module")
def computed(installation: TestInstallation) -> TestInstallation:
    job = build_defs(installation.settings).resolve_job_def("daily_snapshots_job")
    assert job.execute_in_process(instance=installation.instance, tags=range_tags(LAST, LAST), run_config=QUIET).success
    return installation


@pytest.mark.clock
def test_the_daily_checks_find_missing_days_and_a_changed_figure(computed: TestInstallation) -> None:
    results = run_checks(computed, **{"snapshot_pipeline/seed": "one"})
    assert not results["no_open_incidents"].passed  # the sample ended long ago: the last days are missing
    assert "snapshot-pipeline materialize --from" in str(results["no_open_incidents"].description)
    assert results["recompute_matches"].passed
    assert results["recompute_matches"].metadata["seed"].value == "one"
    assert results["recompute_matches"].partition is None
    execute(computed.url, "UPDATE performance_snapshots SET pace_score = pace_score + 0.01")
    results = run_checks(computed)
    assert (results["recompute_matches"].passed, results["recompute_matches"].severity) == (False, ERROR)
    assert set(results["recompute_matches"].metadata["differences_by_column"].value) == {"pace_score"}
    assert len(results["recompute_matches"].metadata["first_differences"].value.records) == 10

"""The check `recompute_matches`: result, severity, and the commands in the description."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timezone

import dagster as dg
import pytest

from snapshot_pipeline.orchestration.assets.recomputed_day import RECOMPUTE_MATCHES, check_recompute_matches
from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.partitions import range_tags
from snapshot_pipeline.pipeline.outdated import OutdatedDays
from snapshot_pipeline.pipeline.recompute import Recomputation, StoredDifference
from snapshot_pipeline_tests.installation import TestInstallation
from snapshot_pipeline_tests.orchestration.scanning import shown_state
from snapshot_pipeline_tests.pipeline.installations import execute

FIRST, LAST = date(2026, 2, 12), date(2026, 2, 25)
SEARCHED = [date(2026, 2, day) for day in range(1, 26)]
NOW = datetime(2026, 2, 26, 3, tzinfo=timezone.utc)
ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


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
    assert "snapshot-pipeline materialize --from 2026-02-25 --to 2026-02-25" in result.description
    assert len(result.metadata["first_differences"].records) == 1
    different.changed_days = [date(2026, 2, 20)]
    late = check_recompute_matches(different, "a seed", SEARCHED)
    assert (late.passed, late.severity) == (False, WARN)
    assert "Rows of 2026-02-20 have changed" in late.description
    assert "late_data_sensor will request it again" in late.description


def test_a_changed_day_that_the_sensor_does_not_search_has_its_command() -> None:
    different = Recomputation(LAST, 1_000, Counter(pace_score=2), changed_days=[date(2025, 11, 3)])
    result = check_recompute_matches(different, "a seed", SEARCHED)
    assert (result.passed, result.severity) == (False, WARN)
    assert "Rows of 2025-11-03 have changed" in result.description
    assert "snapshot-pipeline materialize --from 2025-11-03 --to 2026-02-25" in result.description


def test_attempts_regraded_before_the_first_computed_day_are_a_warning() -> None:
    different = Recomputation(
        LAST, 1_000, Counter(quiz_average=2), differing=2, regraded_before=2, first_computed=date(2026, 1, 1)
    )
    result = check_recompute_matches(different, "a seed", SEARCHED)
    assert (result.passed, result.severity) == (False, WARN)
    assert "attempts made before 2026-01-01, the first computed day" in result.description
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
        "\n\n2026-02-01 to 2026-02-25 were computed with SNAPSHOT_TIMEZONE=UTC, not with "
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


def test_the_nightly_recomputation_finds_a_changed_figure_and_red_outlives_the_nightly_run(
    computed: TestInstallation,
) -> None:
    """A materialization of the check's asset by another run would turn red to "Not Evaluated"."""
    results = run_checks(computed, **{"snapshot_pipeline/seed": "one"})
    assert results["recompute_matches"].passed
    assert results["recompute_matches"].metadata["seed"].value == "one"
    assert results["recompute_matches"].partition is None
    execute(computed.url, "UPDATE performance_snapshots SET pace_score = pace_score + 0.01")
    results = run_checks(computed)
    assert (results["recompute_matches"].passed, results["recompute_matches"].severity) == (False, ERROR)
    assert set(results["recompute_matches"].metadata["differences_by_column"].value) == {"pace_score"}
    assert len(results["recompute_matches"].metadata["first_differences"].value.records) == 10
    job = build_defs(computed.settings).resolve_job_def("daily_snapshots_job")
    assert job.execute_in_process(instance=computed.instance, tags=range_tags(LAST, LAST), run_config=QUIET).success
    assert shown_state(computed.instance, RECOMPUTE_MATCHES) == "FAILED"

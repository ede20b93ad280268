"""The checks as plain functions: result, severity, description and metadata."""

from __future__ import annotations

from collections import Counter
from datetime import date

import dagster as dg
import pytest

from snapshot_pipeline.orchestration.checks import (
    check_at_risk,
    check_data_quality,
    check_recommendation_coverage,
    check_run_time,
    check_student_count_stable,
    check_success_rate,
    check_week_complete,
    check_week_success_rate,
    percent,
    percent_up,
)
from snapshot_pipeline.orchestration.partitioned_checks import _range_result
from snapshot_pipeline.pipeline.at_risk import AtRiskReport
from snapshot_pipeline.pipeline.day_reports import DayReport
from snapshot_pipeline.pipeline.recommendations import WeekReport
from snapshot_pipeline.settings import load_settings
from snapshot_pipeline.store.days import DayCount
from snapshot_pipeline.store.failures import FailedStudent
from snapshot_pipeline.store.issues import IssueCount, ListedRow

DAY = date(2026, 2, 27)
ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
SETTINGS = load_settings()


def report(published: int, failed: int) -> DayReport:
    examples = [FailedStudent(n, "unexpected_error", f"lesson {n}") for n in range(min(failed, 10))]
    failures = Counter({"unexpected_error": failed} if failed else {})
    first = {"unexpected_error": 0} if failed else {}
    return DayReport(DAY, published=published, failures=failures, examples=examples, first_failed=first)


def shown(result: dg.AssetCheckResult) -> list[str]:
    """Return the names of the metadata in the order of the UI, which is that of Dagster's storage."""
    evaluation = dg.AssetCheckEvaluation(
        dg.AssetKey("snapshots"), str(result.check_name), result.passed, metadata=result.metadata
    )
    return list(dg.deserialize_value(dg.serialize_value(evaluation), dg.AssetCheckEvaluation).metadata)


@pytest.mark.parametrize(("failed", "passed"), [(0, True), (100, True), (101, False), (1_000, False)])
def test_fewer_than_nine_in_ten_students_published_is_an_error(failed: int, passed: bool) -> None:
    result = check_success_rate(report(1_000 - failed, failed), 0.90)
    assert result.passed is passed
    assert result.severity is ERROR


def test_failed_success_rate_has_rate_threshold_reasons_and_ten_students() -> None:
    result = check_success_rate(report(850, 150), 0.90)
    assert result.description == (
        "2026-02-27: 850 of 1,000 students published (85 %, at least 90 % expected); 150 failed.\n\n"
        "Failures by reason: unexpected_error 150. `first_failures` shows the first errors; `snapshot_failures` lists "
        "all of them. Fix the cause, or report it if it is a bug in the pipeline; then run:\n\n"
        "`snapshot-pipeline retry-failed --from 2026-02-27 --to 2026-02-27`"
    )
    assert result.metadata["main_cause"].value == "unexpected_error"
    assert result.metadata["students_published"].value == 850
    assert result.metadata["students_failed"].value == 150
    assert shown(result) == [
        "failures_by_reason",
        "first_failures",
        "main_cause",
        "percent_published",
        "students_failed",
        "students_published",
    ]
    assert result.metadata["percent_published"].value == 85.0
    (reason,) = result.metadata["failures_by_reason"].records
    assert reason.data == {"reason": "unexpected_error", "students": 150, "for_example": 0}
    assert len(result.metadata["first_failures"].records) == 10


@pytest.mark.parametrize(("with_issues", "passed"), [(0, True), (100, True), (101, False)])
def test_more_than_one_in_ten_students_with_invalid_rows_is_an_error(with_issues: int, passed: bool) -> None:
    result = check_data_quality(DayReport(DAY, published=1_000, with_issues=with_issues), SETTINGS)
    assert result.passed is passed
    assert result.severity is ERROR


def test_data_quality_names_the_kinds_with_an_example_each() -> None:
    issues = (
        IssueCount("negative_minutes", 2, 2, "user_lesson_progress", "7/12", "time_spent_minutes -5"),
        IssueCount("negative_score", 1, 1, "quiz_attempts", "31", "score -3.0"),
    )
    report = DayReport(DAY, published=9, failures=Counter(x=1), with_issues=3, issues=issues)
    rows = [ListedRow("quiz_attempts", "31", "negative_score", "score -3.0")]
    result = check_data_quality(report, SETTINGS, rows)
    assert result.description == (
        "2026-02-27: 3 of 10 students have invalid rows (30 %, at most 10 % allowed).\n\nRows by kind: "
        "negative_minutes 2, negative_score 1. Correct these rows on the platform; `data_issues` lists them. The day "
        "is then recomputed within about 60 minutes if it is one of the last 60 days; otherwise, or to do it now, run:"
        "\n\n`snapshot-pipeline materialize --from 2026-02-27 --to 2026-02-27`"
    )
    assert result.metadata["main_cause"].value == "negative_minutes"
    assert shown(result) == ["issues", "listed_rows", "main_cause", "percent_with_issues", "students_with_issues"]
    assert [record.data for record in result.metadata["issues"].records][1] == {
        "issue": "negative_score",
        "rows": 1,
        "students": 1,
        "for_example": "quiz_attempts 31",
        "detail": "score -3.0",
    }


def test_a_range_with_failed_days_says_how_many_which_and_the_command_for_all_of_them() -> None:
    days = [date(2026, 2, day) for day in range(5, 10)]
    issues = (IssueCount("negative_minutes", 2, 2, "user_lesson_progress", "7/12", "time_spent_minutes -5"),)
    results = {
        day: [check_data_quality(DayReport(day, published=10, with_issues=bad, issues=issues if bad else ()), SETTINGS)]
        for day, bad in zip(days, (2, 3, 0, 1, 4), strict=True)
    }
    result = _range_result("data_quality", results)
    assert (result.passed, result.severity) == (False, ERROR)
    found, what_to_do, command = str(result.description).split("\n\n")
    assert found == (
        "3 of 5 days of this run failed; first 2026-02-05: 2 of 10 students have invalid rows (20 %, at most 10 % "
        "allowed)."
    )
    assert what_to_do.startswith("Rows by kind: negative_minutes 2. ")
    assert command == (
        "`snapshot-pipeline materialize --from 2026-02-05 --to 2026-02-06; "
        "snapshot-pipeline materialize --from 2026-02-09 --to 2026-02-09`"
    )
    assert shown(result) == ["failed_days", "issues"]
    assert [record.data for record in result.metadata["failed_days"].records][2] == {
        "day": "2026-02-09",
        "found": "4 of 10 students have invalid rows (40 %, at most 10 % allowed)",
    }
    passed = _range_result("data_quality", {day: result for day, result in results.items() if day == days[2]})
    assert (passed.passed, passed.description) == (True, results[days[2]][0].description)


def test_a_day_without_students_is_a_warning_without_a_rate() -> None:
    result = check_success_rate(report(0, 0), 0.90)
    assert (result.passed, result.severity) == (False, WARN)
    assert "no students" in str(result.description)
    assert "percent_published" not in result.metadata


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (1, "100 %"),
        (0.9, "90 %"),
        (0.8999, "89.9 %"),
        (0.987, "98.7 %"),
        (0.29, "29 %"),
        (0.99999, "99.9 %"),
        (0, "0 %"),
    ],
)
def test_percent_rounds_down(share: float, shown: str) -> None:
    assert percent(share) == shown


@pytest.mark.parametrize(
    ("share", "shown"), [(0.1, "10 %"), (0.10001, "10.1 %"), (612 / 4761, "12.9 %"), (0.29, "29 %")]
)
def test_percent_of_a_maximum_rounds_up(share: float, shown: str) -> None:
    assert percent_up(share) == shown


def test_only_a_failed_result_says_what_to_do() -> None:
    monday, earlier = date(2026, 2, 16), DayCount(date(2026, 2, 26), 1_000, 0)
    good = [
        check_success_rate(report(1_000, 0), 0.9),
        check_data_quality(report(1_000, 0), SETTINGS),
        check_run_time(DAY, 1, 300),
        check_student_count_stable(DayCount(DAY, 1_000, 0), earlier, 0.2),
        check_recommendation_coverage(WeekReport(monday, recipients=10, expected=10, expected_with_recommendation=10)),
        check_week_complete(WeekReport(monday)),
        check_week_success_rate(WeekReport(monday, recipients=10), 0.9),
    ]
    bad = [
        check_success_rate(report(1, 999), 0.9),
        check_data_quality(DayReport(DAY, published=1, with_issues=1), SETTINGS),
        check_run_time(DAY, 301, 300),
        check_student_count_stable(DayCount(DAY, 1, 0), earlier, 0.2),
        check_recommendation_coverage(WeekReport(monday, recipients=10, expected=10, expected_with_recommendation=1)),
        check_week_complete(WeekReport(monday, missing_days=[date(2026, 2, 18)])),
        check_week_success_rate(WeekReport(monday, recipients=1, failed={7: "ValueError: x"}), 0.9),
    ]
    for result in [*good, *bad]:
        assert ("\n\n" in str(result.description)) is not result.passed, result.check_name


def test_a_number_has_one_format_and_no_threshold_is_metadata() -> None:
    """The UI plots every number over the days."""
    monday = date(2026, 2, 16)
    results = [
        check_success_rate(report(8_996, 1_004), 0.9),
        check_data_quality(DayReport(DAY, published=4_761, with_issues=612), SETTINGS),
        check_run_time(DAY, 301.04, 300),
        check_student_count_stable(DayCount(DAY, 799, 0), DayCount(date(2026, 2, 26), 1_000, 0), 0.2),
        check_recommendation_coverage(WeekReport(monday, recipients=13, expected=7, expected_with_recommendation=3)),
        check_week_success_rate(WeekReport(monday, recipients=7, failed={7: "ValueError: x"}), 0.9),
        check_at_risk(AtRiskReport(monday, 2_000, 1_000, 401, 0), SETTINGS),
        check_at_risk(AtRiskReport(monday, 20_000, 9_999, 4_000, 0), SETTINGS),
    ]
    thresholds = {0.9, 90, 0.1, 10, 300, 0.2, 20, 800, 0.5, 50, 0.4, 40}
    for result in results:
        assert not result.passed
        numbers = [
            v.value for v in result.metadata.values() if isinstance(v, dg.FloatMetadataValue | dg.IntMetadataValue)
        ]
        assert not thresholds & set(numbers), result.check_name
        for value in result.metadata.values():
            if isinstance(value, dg.FloatMetadataValue):
                unit = "s" if result.check_name == "run_time" else "%"
                assert f"{value.value:g} {unit}" in str(result.description), result.check_name


@pytest.mark.parametrize(("seconds", "passed"), [(299.9, True), (300, True), (300.1, False)])
def test_a_run_of_more_than_five_minutes_is_a_warning(seconds: float, passed: bool) -> None:
    result = check_run_time(DAY, seconds, 300)
    assert (result.passed, result.severity) == (passed, WARN)


@pytest.mark.parametrize(
    ("students", "earlier", "passed", "severity"),
    [
        (800, DayCount(date(2026, 2, 26), 1_000, 0), True, WARN),
        (799, DayCount(date(2026, 2, 26), 990, 10), False, ERROR),
        (0, DayCount(date(2026, 2, 26), 1_000, 0), False, ERROR),
        (0, None, False, WARN),
        (5, None, True, WARN),
    ],
)
def test_fewer_students_are_an_error_and_no_students_a_warning(
    students: int, earlier: DayCount | None, passed: bool, severity: dg.AssetCheckSeverity
) -> None:
    result = check_student_count_stable(DayCount(DAY, students, 0), earlier, 0.20)
    assert result.passed is passed
    if not passed:
        assert result.severity is severity


def test_a_week_with_a_missing_day_names_the_day_and_what_to_do() -> None:
    monday = date(2026, 2, 16)
    assert check_week_complete(WeekReport(monday)).passed
    result = check_week_complete(WeekReport(monday, missing_days=[date(2026, 2, 18)]))
    assert (result.passed, result.severity) == (False, WARN)
    assert "2026-02-18" in str(result.description)
    assert "Materialize `performance_snapshots`" in str(result.description)


@pytest.mark.parametrize(("reached", "passed"), [(50, True), (49, False)])
def test_low_recommendation_coverage_is_a_warning(reached: int, passed: bool) -> None:
    result = check_recommendation_coverage(
        WeekReport(date(2026, 2, 16), recipients=300, expected=100, expected_with_recommendation=reached)
    )
    assert (result.passed, result.severity) == (passed, WARN)


@pytest.mark.parametrize("recipients", [0, 20])
def test_a_week_without_a_student_who_has_a_lesson_left_does_not_pass(recipients: int) -> None:
    result = check_recommendation_coverage(WeekReport(date(2026, 2, 16), recipients=recipients))
    assert not result.passed
    assert "no active student has a lesson left" in str(result.description)


@pytest.mark.parametrize(("failed", "passed"), [(0, True), (10, True), (11, False), (100, False)])
def test_a_week_in_which_many_students_failed_is_an_error(failed: int, passed: bool) -> None:
    errors = dict.fromkeys(range(failed), "ValueError: x")
    result = check_week_success_rate(WeekReport(date(2026, 2, 16), recipients=100, failed=errors), 0.9)
    assert (result.passed, result.severity) == (passed, ERROR)
    assert (
        f"{100 - failed} of 100 students computed ({100 - failed} %, at least 90 % expected); {failed} failed."
        in str(result.description)
    )
    if not passed:
        assert f"Failures by reason: ValueError {failed}. `first_failures` shows" in str(result.description)
        assert shown(result)[:2] == ["failures_by_reason", "first_failures"]
        assert len(result.metadata["first_failures"].records) == 10


def test_a_week_without_students_is_a_warning() -> None:
    result = check_week_success_rate(WeekReport(date(2026, 2, 16)), 0.9)
    assert (result.passed, result.severity) == (False, WARN)


@pytest.mark.parametrize(
    ("listed", "with_score", "few_peers", "passed", "severity", "sentence"),
    [
        (10, 1_000, 0, True, WARN, "10 of 1,000 students with a score listed (1 %, 1 % to 40 % expected)"),
        (9, 1_000, 0, False, WARN, "9 of 1,000 students with a score listed (0.9 %, "),
        (400, 1_000, 0, True, WARN, "(40 %, "),
        (401, 1_000, 0, False, WARN, "(40.1 %, "),
        (0, 0, 0, False, WARN, "no student has an engagement score"),
        (10, 1_000, 1, False, ERROR, "1 student listed with too few peers"),
    ],
)
def test_too_few_or_many_listed_are_a_warning_and_one_without_peers_an_error(
    listed: int, with_score: int, few_peers: int, passed: bool, severity: dg.AssetCheckSeverity, sentence: str
) -> None:
    week = AtRiskReport(date(2026, 2, 23), 2_000, with_score, listed, few_peers)
    result = check_at_risk(week, load_settings())
    assert (result.passed, result.severity) == (passed, severity)
    description = str(result.description)
    assert description.startswith("week of 2026-02-23: ")
    assert sentence in description
    assert description.endswith("`snapshot-pipeline recommend --week 2026-02-23`") is not passed

"""Metadata of days and weeks: numbers, tables and plots."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.orchestration.manual_jobs import retry_run_config
from snapshot_pipeline.plots import pace, success
from snapshot_pipeline.recommendations.at_risk import REASON_CODES
from snapshot_pipeline_tests.installation import TestInstallation
from snapshot_pipeline_tests.orchestration.test_materializing import QUIET, SNAPSHOTS, last_line, run_days, run_week
from snapshot_pipeline_tests.orchestration.test_retry_failed import run
from snapshot_pipeline_tests.pipeline.installations import execute, raising_for, students_started_before

Shown = dict[str | None, Mapping[str, dg.MetadataValue]]

NUMBERS = {
    "students",
    "published",
    "failed",
    "success_rate",
    "restated",
    "reranked",
    "removed",
    "students_with_issues",
    "mean_pace_score",
    "pace_score_lower_quartile",
    "pace_score_median",
    "pace_score_upper_quartile",
    "mean_quiz_average",
    "active_students",
    "minutes_spent",
    "lessons_completed",
}
DETAILS = {
    "pace_change_lower_quartile",
    "pace_change_median",
    "pace_change_upper_quartile",
    "students_with_pace_0",
    "students_without_quiz_average",
    "pace_by_label",
    "success_calendar",
}
TYPES = {
    "take_break",
    "resume_learning",
    "review_lesson",
    "start_learning",
    "practice_more",
    "continue_learning",
}


def shown(result: dg.ExecuteInProcessResult, asset: str = "performance_snapshots") -> Shown:
    assert result.success
    return {event.partition: event.metadata for event in result.asset_materializations_for_node(asset)}


def row(installation: TestInstallation, query: str) -> tuple[object, ...]:
    engine = create_engine(installation.url, poolclass=NullPool)
    with engine.connect() as connection:
        return tuple(connection.execute(text(query)).one())


def is_picture(value: dg.MetadataValue) -> bool:
    return isinstance(value, dg.MarkdownMetadataValue) and "](data:image/svg+xml;base64," in str(value.value)


@pytest.fixture(scope="module")
def week(installation: TestInstallation) -> Shown:
    """The last seven days of the sample, in which 5 % of the students have invalid rows, and three raise an error."""
    with raising_for(students_started_before(installation.url, date(2026, 2, 1), 3)):
        return shown(run_days(installation, date(2026, 2, 22), date(2026, 2, 28)))


def test_each_day_has_all_numbers_as_plottable_metadata(week: Shown) -> None:
    assert len(week) == 7
    for metadata in week.values():
        assert set(metadata) >= NUMBERS
        assert all(isinstance(metadata[name], dg.IntMetadataValue | dg.FloatMetadataValue) for name in NUMBERS)


def test_the_numbers_equal_those_of_the_table(installation: TestInstallation, week: Shown) -> None:
    metadata = {name: value.value for name, value in week["2026-02-27"].items()}
    stored = row(
        installation,
        "SELECT count(*), round(avg(pace_score)::numeric, 2)::float, round(avg(quiz_average)::numeric, 2)::float,"
        " sum(time_spent_minutes_today)::int, sum(lessons_completed_count)::int,"
        " count(*) FILTER (WHERE last_activity_date = snapshot_date)"
        " FROM performance_snapshots WHERE snapshot_date = '2026-02-27'",
    )
    names = (
        "published",
        "mean_pace_score",
        "mean_quiz_average",
        "minutes_spent",
        "lessons_completed",
        "active_students",
    )
    assert tuple(metadata[name] for name in names) == stored
    quartiles = row(
        installation,
        "SELECT percentile_cont(0.25) WITHIN GROUP (ORDER BY pace_score),"
        " percentile_cont(0.5) WITHIN GROUP (ORDER BY pace_score),"
        " percentile_cont(0.75) WITHIN GROUP (ORDER BY pace_score)"
        " FROM performance_snapshots WHERE snapshot_date = '2026-02-27'",
    )
    names = ("pace_score_lower_quartile", "pace_score_median", "pace_score_upper_quartile")
    assert tuple(metadata[name] for name in names) == tuple(round(float(str(value)), 2) for value in quartiles)
    moved = row(
        installation,
        "SELECT percentile_cont(0.25) WITHIN GROUP (ORDER BY t.pace_score - y.pace_score),"
        " percentile_cont(0.5) WITHIN GROUP (ORDER BY t.pace_score - y.pace_score),"
        " percentile_cont(0.75) WITHIN GROUP (ORDER BY t.pace_score - y.pace_score)"
        " FROM performance_snapshots t JOIN performance_snapshots y USING (user_id)"
        " WHERE t.snapshot_date = '2026-02-27' AND y.snapshot_date = '2026-02-26'",
    )
    names = ("pace_change_lower_quartile", "pace_change_median", "pace_change_upper_quartile")
    assert tuple(metadata[name] for name in names) == tuple(round(float(str(value)), 2) for value in moved)


def test_the_summary_comes_first_and_is_short_enough_to_be_shown_inline(week: Shown) -> None:
    for day, metadata in week.items():
        assert next(iter(metadata)) == "summary"
        summary = str(metadata["summary"].value)
        assert len(summary) < 1_000
        assert f"**{metadata['published'].value:,} of {metadata['students'].value:,} students published**" in summary
        assert f"| {day} | |" in summary
        assert ("change since the day before" in summary) is (day != "2026-02-22")


def test_no_student_is_named_in_a_day_without_data_errors(installation: TestInstallation) -> None:
    metadata = shown(run_days(installation, date(2026, 2, 19), date(2026, 2, 20)))["2026-02-20"]
    assert not [name for name, value in metadata.items() if isinstance(value, dg.TableMetadataValue)]


def test_each_day_of_a_short_run_has_the_same_details(week: Shown) -> None:
    for day, metadata in week.items():
        assert set(metadata) >= (DETAILS if day != "2026-02-22" else {"pace_by_label", "success_calendar"})
        assert is_picture(metadata["pace_by_label"])
        assert is_picture(metadata["success_calendar"])
        assert ("failures_plot" in metadata) is bool(metadata["failed"].value)
        assert sum(len(str(value.value)) for value in metadata.values()) < 60_000  # it is stored forever


def test_failures_are_shown_by_reason_with_one_student_id(installation: TestInstallation, week: Shown) -> None:
    records = [record.data for record in week["2026-02-28"]["failures_by_reason"].records]
    assert [record["reason"] for record in records] == ["unexpected_error"]
    assert sum(record["students"] for record in records) == week["2026-02-28"]["failed"].value
    for record in records:
        assert set(record) == {"reason", "students", "for_example"}
        expected = row(
            installation,
            "SELECT count(*), min(user_id) FROM snapshot_failures"  # noqa: S608
            f" WHERE snapshot_date = '2026-02-28' AND reason = '{record['reason']}'",
        )
        assert (record["students"], record["for_example"]) == expected


def test_issues_are_shown_by_kind_with_one_row(installation: TestInstallation, week: Shown) -> None:
    shown_kinds = {day: metadata["issues"].records for day, metadata in week.items() if "issues" in metadata}
    assert shown_kinds
    for day, records in shown_kinds.items():
        counts = {record.data["issue"]: (record.data["rows"], record.data["students"]) for record in records}
        for issue, expected in counts.items():
            query = (
                f"SELECT count(*), count(DISTINCT user_id) FROM data_issues WHERE day = '{day}' AND issue = '{issue}'"  # noqa: S608
            )
            assert row(installation, query) == expected
        assert week[day]["students_with_issues"].value <= sum(students for _, students in counts.values())


def test_each_day_of_a_long_backfill_has_the_same_keys_and_no_plot(installation: TestInstallation) -> None:
    result = run_days(installation, date(2026, 2, 1), date(2026, 2, 9))
    days = shown(result)
    assert not any(is_picture(value) for metadata in days.values() for value in metadata.values())
    keys = {frozenset(metadata) - {"issues"} for metadata in days.values()}
    assert keys == {frozenset(NUMBERS | {"summary"})}
    for asset in (SNAPSHOTS, dg.AssetKey("cohort_summary")):
        # The UI lists one event of those in the same millisecond.
        filter_ = dg.AssetRecordsFilter(asset, asset_partitions=[str(day) for day in days])
        records = installation.instance.fetch_materializations(filter_, limit=20).records
        assert len({int(record.timestamp * 1000) for record in records}) == len(records) == 9


def test_plots_of_unchanged_days_are_reused(installation: TestInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    first, last = date(2026, 1, 10), date(2026, 1, 13)
    before = shown(run_days(installation, first, last))
    drawn: list[date] = []
    draw = pace.draw_distribution

    def recorded(day: date, *arguments: Any) -> object:
        drawn.append(day)
        return draw(day, *arguments)

    monkeypatch.setattr(pace, "draw_distribution", recorded)
    again = shown(run_days(installation, first, last))
    assert drawn == [last]
    for day, metadata in again.items():
        reused = DETAILS & set(before[day])
        assert {name: metadata[name] for name in reused} == {name: before[day][name] for name in reused}
    # A day that has changed, and the one after it, whose changes are relative to it.
    execute(installation.url, "UPDATE performance_snapshots SET pace_score = 1 WHERE snapshot_date = '2026-01-11'")
    result = run_days(installation, first, last)
    changed = shown(result)
    restated = changed["2026-01-11"]["restated"].value
    assert restated > 1
    assert f", {restated} earlier figures changed, " in last_line(installation, result)
    assert drawn[1:] == [date(2026, 1, 11), date(2026, 1, 12), last]


def test_a_plot_that_cannot_be_drawn_is_a_warning_and_the_run_succeeds(
    installation: TestInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise ValueError("no font found")

    monkeypatch.setattr(pace, "draw_distribution", broken)
    monkeypatch.setattr(success, "draw_calendar", broken)
    result = run_days(installation, date(2026, 2, 10), date(2026, 2, 10))
    metadata = shown(result)["2026-02-10"]
    assert set(metadata) >= NUMBERS | {"students_with_pace_0"}
    assert not any(is_picture(value) for value in metadata.values())
    warnings = [entry.user_message for entry in installation.instance.all_logs(result.run_id) if entry.level == 30]
    assert "the plot of the pace scores of 2026-02-10 is left out: ValueError: no font found" in "; ".join(warnings)
    assert "the calendar of success rates is left out" in "; ".join(warnings)


def test_pace_scores_are_compared_with_four_weeks_before(
    installation: TestInstallation, monkeypatch: pytest.MonkeyPatch, week: Shown
) -> None:
    assert week
    drawn: list[tuple[date, Mapping[str, int], date, Mapping[str, int] | None]] = []
    draw = pace.draw_distribution

    def recorded(*arguments: Any) -> object:
        drawn.append(arguments)
        return draw(*arguments)

    monkeypatch.setattr(pace, "draw_distribution", recorded)
    assert run_days(installation, date(2026, 1, 28), date(2026, 1, 28)).success
    assert run_days(installation, date(2026, 2, 25), date(2026, 2, 25)).success
    (day, counts, _, no_earlier_counts), (_, _, earlier_day, earlier_counts) = drawn
    assert no_earlier_counts is None
    assert (earlier_day, earlier_counts) == (day, counts)
    assert sum(counts.values()) > 100


def test_a_week_has_counts_by_type_coverage_and_a_plot(installation: TestInstallation, week: Shown) -> None:
    assert week
    assert run_days(installation, date(2026, 2, 15), date(2026, 2, 21)).success
    first = shown(run_week(installation, "2026-02-09"), "adaptive_recommendations")["2026-02-09"]
    assert {record.data["week_before"] for record in first["by_type"].records} == {None}  # there is none
    metadata = shown(run_week(installation, "2026-02-16"), "adaptive_recommendations")["2026-02-16"]
    assert set(metadata) >= TYPES | {
        "students_with_recommendation",
        "coverage",
        "recipients",
        "run_seconds",
        "rows_per_second",
    }
    assert is_picture(metadata["recommendations_by_week"])
    stored = row(
        installation,
        "SELECT count(DISTINCT user_id), count(*), count(*) FILTER (WHERE recommendation_type = 'CONTINUE_LEARNING')"
        " FROM adaptive_recommendations WHERE week_start = '2026-02-16'",
    )
    names = ("students_with_recommendation", "dagster/partition_row_count", "continue_learning")
    assert tuple(metadata[name].value for name in names) == stored
    before = {record.data["type"]: record.data["week_before"] for record in metadata["by_type"].records}
    expected = row(
        installation,
        "SELECT count(*) FROM adaptive_recommendations"
        " WHERE week_start = '2026-02-09' AND recommendation_type = 'CONTINUE_LEARNING'",
    )
    assert (before["CONTINUE_LEARNING"],) == expected


def test_a_week_of_students_at_risk_has_counts_and_plots_and_nothing_of_a_student(
    installation: TestInstallation, week: Shown
) -> None:
    assert week
    assert run_days(installation, date(2026, 2, 15), date(2026, 2, 22)).success
    assert run_week(installation, "2026-02-09").success
    execute(
        installation.url,
        "UPDATE quizzes SET title = 'MarkedQuiz'",
        "UPDATE performance_snapshots SET engagement_score = 5 WHERE snapshot_date = '2026-02-22'",
    )
    result = run_week(installation, "2026-02-16")
    metadata = shown(result, "at_risk_students")["2026-02-16"]
    states, reasons = ("listed", "dormant", "not_started"), {f"reason_{code.lower()}" for code in REASON_CODES}
    others = {"students", "students_with_score", "percent_listed", "failed", "new", "left", "median_weeks_listed"}
    run_numbers = {"run_seconds", "dagster/partition_row_count", "by_state", "by_reason"}
    assert set(metadata) == {*states, *reasons, *others, *run_numbers}
    assert all(is_picture(metadata[name]) for name in ("by_state", "by_reason"))
    assert all(isinstance(metadata[name].value, (int, float)) for name in {*states, *reasons, *others})
    stored = row(
        installation,
        "SELECT count(*) FILTER (WHERE state = 'listed'), count(*) FILTER (WHERE state = 'dormant'),"
        " count(*) FILTER (WHERE state = 'not_started') FROM at_risk_students WHERE week_start = '2026-02-16'",
    )
    assert tuple(metadata[state].value for state in states) == stored
    assert stored[0]
    marked = "SELECT count(*) FROM at_risk_students WHERE reasons::text LIKE '%MarkedQuiz%'"
    assert row(installation, marked) != (0,)  # so that it could be in the events
    events = "\n".join(str(event) for event in result.all_events)
    for text_of_a_student in ("MarkedQuiz", "No activity for", "Has not started"):
        assert text_of_a_student not in events


def test_a_retried_day_has_the_same_metadata_as_a_computed_one(installation: TestInstallation, week: Shown) -> None:
    with raising_for(students_started_before(installation.url, date(2026, 2, 1), 3)):
        result = run(
            installation, "retry_failed_job", run_config={**retry_run_config(date(2026, 2, 28), None), **QUIET}
        )
    assert result.success
    (record,) = installation.instance.fetch_materializations(
        dg.AssetRecordsFilter(SNAPSHOTS, asset_partitions=["2026-02-28"]), limit=1
    ).records
    assert record.run_id == result.run_id
    assert record.asset_materialization is not None
    metadata = record.asset_materialization.metadata
    assert set(metadata) >= NUMBERS | DETAILS | {"retried"}
    for name in NUMBERS - {"restated"}:  # they raise again
        assert metadata[name] == week["2026-02-28"][name], name

"""The weekly report from a real database: figures, file, retention and errors."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, text

from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.report_files import ReportError, report_path
from snapshot_pipeline.pipeline.summaries import summarize_days
from snapshot_pipeline.pipeline.weekly_report import read_figures, write_report
from snapshot_pipeline.report.figures import AdviceOutcome, AtRiskFigures
from snapshot_pipeline_tests.pipeline.installations import (
    COMPUTED,
    MONDAY,
    SUNDAY,
    execute,
    installation_on,
    new_database,
)


@pytest.fixture(scope="module")
def summarized(
    server_url: URL, failed_template: URL, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """The sample's last week with summaries and recommendations, and the Sunday before; tests only read it."""
    home = tmp_path_factory.mktemp("home")
    with (
        new_database(server_url, failed_template) as url,
        # The platform starts with the computed days, so that no earlier day is missing.
        installation_on(url, home=home, start_date=COMPUTED[0]) as installation,
    ):
        summarize_days(installation, COMPUTED[0], COMPUTED[-1], "first")
        run_week(installation, MONDAY, "first")
        yield installation


def at_home(installation: Installation, home: Path, **settings: Any) -> Installation:
    """Return the same installation with another home."""
    return replace(installation, settings=installation.settings.model_copy(update={"home": home, **settings}))


def query_row(installation: Installation, query: str) -> Any:
    with installation.engine.connect() as connection:
        return connection.execute(text(query)).one()


def test_figures_equal_the_tables(summarized: Installation):
    figures = read_figures(summarized, MONDAY)
    week = figures.week
    in_week = f"snapshot_date BETWEEN '{MONDAY}' AND '{SUNDAY}'"
    lessons, minutes = query_row(
        summarized,
        "SELECT sum(lessons_completed_count), sum(time_spent_minutes_today) FROM performance_snapshots "  # noqa: S608
        f"WHERE {in_week}",
    )
    assert (week.lessons, week.minutes) == (lessons, minutes)
    students, active, mean = query_row(
        summarized,
        f"SELECT count(*), count(*) FILTER (WHERE last_activity_date >= '{MONDAY}'), avg(pace_score) "  # noqa: S608
        f"FROM performance_snapshots WHERE snapshot_date = '{SUNDAY}'",
    )
    assert week.end is not None
    assert (week.end.students, week.active) == (students, active)
    assert week.end.pace_mean == pytest.approx(mean, abs=0.005)
    assert sum(group.students for group in week.cohorts.values()) == students
    (failed,) = query_row(summarized, f"SELECT count(*) FROM snapshot_failures WHERE {in_week}")  # noqa: S608
    assert sum(figures.failures.values()) == week.failed == failed > 0
    (made,) = query_row(
        summarized, "SELECT count(*) FROM adaptive_recommendations WHERE recommendation_type <> 'CONTINUE_LEARNING'"
    )
    assert week.recommendations == made > 0
    assert figures.before.known_days == [COMPUTED[0]]
    assert figures.before.missing_days == []


def test_outcomes_of_last_weeks_recommendations_by_type(server_url: URL, failed_template: URL, tmp_path: Path):
    """Followed: a named lesson, not completed before, was completed in the week; dismissed: before its end."""
    with (
        new_database(server_url, failed_template) as url,
        installation_on(url, home=tmp_path, start_date=COMPUTED[0]) as installation,
    ):
        summarize_days(installation, COMPUTED[0], COMPUTED[-1], "first")
        execute(
            url,
            "DELETE FROM user_lesson_progress WHERE user_id <= 6",
            # Student 1 in the week, 2 before it, 3 after it, 4 another lesson, 5 the second of two named lessons.
            "INSERT INTO user_lesson_progress (user_id, lesson_id, started_at, completed_at) VALUES "
            "(1, 1, '2025-10-20', '2025-10-27 00:00+01'), (2, 1, '2025-10-20', '2025-10-26 23:59:59+01'), "
            "(3, 1, '2025-10-20', '2025-11-03 00:00+01'), (4, 2, '2025-10-20', '2025-10-30'), "
            "(5, 3, '2025-10-20', '2025-11-02 23:59:59+01')",
            "INSERT INTO adaptive_recommendations (user_id, week_start, recommendation_type, title, message, priority, "
            "metadata, is_active, applies, created_at, dismissed_at) "
            "SELECT id, DATE '2025-10-20', type, '', '', 90, metadata::jsonb, false, true, '2025-10-27', dismissed "
            "FROM (VALUES (1, 'RESUME_LEARNING', '{\"lesson_id\": 1}', NULL), "
            "(2, 'RESUME_LEARNING', '{\"lesson_id\": 1}', '2025-10-29'::timestamptz), "
            "(3, 'RESUME_LEARNING', '{\"lesson_id\": 1}', '2025-11-03'), (4, 'RESUME_LEARNING', '{\"lesson_id\": 1}', "
            "NULL), (5, 'REVIEW_LESSON', '{\"lesson_ids\": [1, 3]}', NULL), (6, 'START_LEARNING', '{}', NULL), "
            "(1, 'CONTINUE_LEARNING', '{\"lesson_id\": 1}', NULL)) AS rows (id, type, metadata, dismissed)",
        )
        assert read_figures(installation, MONDAY).outcomes == {
            "RESUME_LEARNING": AdviceOutcome(given=4, dismissed=1, naming=3, followed=1),
            "REVIEW_LESSON": AdviceOutcome(given=1, dismissed=0, naming=1, followed=1),
            "START_LEARNING": AdviceOutcome(given=1, dismissed=0, naming=0, followed=0),
        }


def test_students_at_risk_are_counted_by_reason_and_cohort(server_url: URL, failed_template: URL, tmp_path: Path):
    with (
        new_database(server_url, failed_template) as url,
        installation_on(url, home=tmp_path, start_date=COMPUTED[0]) as installation,
    ):
        assert read_figures(installation, MONDAY).at_risk == {}
        summarize_days(installation, COMPUTED[0], COMPUTED[-1], "first")
        insert_at_risk(url, MONDAY - timedelta(weeks=1), [1, 2, 3])
        insert_at_risk(url, MONDAY, [2, 3, 4, 5])
        week = read_figures(installation, MONDAY).week.at_risk
        page = write_report(installation, MONDAY).path.read_text(encoding="utf-8")
    assert week == AtRiskFigures({"listed": 4}, {"LOW_RESULTS": 4}, 2, 1, {("Web", ""): 4})
    assert "A private sentence" not in page


def insert_at_risk(url: URL, monday: date, user_ids: list[int]) -> None:
    """Store a week of students at risk who have the same reason."""
    reasons = '[{"code": "LOW_RESULTS", "text": "A private sentence.", "numbers": {}}]'
    execute(
        url,
        f"INSERT INTO at_risk_weeks VALUES ('{monday}', 9, 9, now(), 'run')",  # noqa: S608
        "INSERT INTO at_risk_students "  # noqa: S608
        "(user_id, week_start, listed_since, state, reasons, specialization, computed_at) "
        f"SELECT id, '{monday}', '{monday}', 'listed', '{reasons}', 'Web', now() FROM unnest(ARRAY{user_ids}) AS id",
    )


def test_writing_the_page_again_gives_the_same_bytes(summarized: Installation, tmp_path: Path):
    installation = at_home(summarized, tmp_path)
    report = write_report(installation, MONDAY)
    assert report.path == report_path(installation.settings, MONDAY) == tmp_path / "reports" / "2025-10-27.html"
    page = report.path.read_bytes()
    assert len(page) == report.size
    assert "Week of 27 Oct 2025 to 2 Nov 2025" in page.decode()
    assert report.missing_days == []
    assert len(report.plots) == 3
    for line in (report.title, report.headline, *report.sentences):
        assert line in html.unescape(page.decode())
    assert [tile.split(":")[0] for tile in report.tiles] == [
        "At risk",
        "New this week",
        "Left the list",
        "Inactive for 14 days",
        "Active in the week",
    ]
    assert write_report(installation, MONDAY).path.read_bytes() == page
    assert [path.name for path in report.path.parent.iterdir()] == ["2025-10-27.html"]


def test_expired_pages_are_deleted_and_other_files_kept(summarized: Installation, tmp_path: Path):
    reports = tmp_path / "reports"
    reports.mkdir()
    mondays = [MONDAY - timedelta(weeks=number) for number in range(1, 5)]
    for name in [*(f"{monday}.html" for monday in mondays), "notes.html", "2025-10-06.html.bak"]:
        (reports / name).write_text("another file")
    report = write_report(at_home(summarized, tmp_path, report_weeks=3), MONDAY)
    assert [path.name for path in report.deleted] == ["2025-09-29.html", "2025-10-06.html"]
    assert sorted(path.name for path in reports.iterdir()) == [
        "2025-10-06.html.bak",
        "2025-10-13.html",
        "2025-10-20.html",
        "2025-10-27.html",
        "notes.html",
    ]


def test_old_week_written_again_is_not_deleted_at_once(summarized: Installation, tmp_path: Path):
    reports = tmp_path / "reports"
    reports.mkdir()
    newer = reports / f"{MONDAY + timedelta(weeks=40)}.html"
    newer.write_text("newer")
    report = write_report(at_home(summarized, tmp_path, report_weeks=3), MONDAY)
    assert report.path.exists()
    assert newer.exists()


def test_page_names_days_without_a_summary(server_url: URL, failed_template: URL, tmp_path: Path):
    missing = [date(2025, 10, 29), date(2025, 10, 31)]
    with (
        new_database(server_url, failed_template) as url,
        installation_on(url, home=tmp_path, start_date=COMPUTED[0]) as installation,
    ):
        summarize_days(installation, COMPUTED[0], COMPUTED[-1], "first")
        execute(url, "DELETE FROM day_summary WHERE snapshot_date IN ('2025-10-29', '2025-10-31')")
        report = write_report(installation, MONDAY)
    assert report.missing_days == missing
    expected = "Wednesday, 29 Oct 2025 and Friday, 31 Oct 2025 are missing, so weekly totals are unknown."
    assert report.notices == [expected]
    page = report.path.read_text(encoding="utf-8")
    assert expected in page
    assert "There are no recommendations for this week." in page


def test_hostile_specialization_is_escaped(server_url: URL, failed_template: URL, tmp_path: Path):
    with (
        new_database(server_url, failed_template) as url,
        installation_on(url, home=tmp_path, start_date=COMPUTED[0]) as installation,
    ):
        execute(url, "UPDATE users SET current_specialization = '<script>alert(1)</script>' WHERE id % 2 = 0")
        summarize_days(installation, COMPUTED[0], COMPUTED[-1], "first")
        page = write_report(installation, MONDAY).path.read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_week_without_summaries_writes_no_page_and_names_the_command(summarized: Installation, tmp_path: Path):
    with pytest.raises(ReportError, match="none of the days 2025-09-01 to 2025-09-07 was summarized") as error:
        write_report(at_home(summarized, tmp_path), date(2025, 9, 1))
    assert "`snapshot-pipeline materialize --from 2025-09-01 --to 2025-09-07`" in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "reports").exists()


def test_unwritable_directory_is_a_one_line_error(summarized: Installation, tmp_path: Path):
    (tmp_path / "reports").write_text("a file where the directory should be")
    with pytest.raises(ReportError, match=r"2025-10-27\.html cannot be written: .*SNAPSHOT_HOME") as error:
        write_report(at_home(summarized, tmp_path), MONDAY)
    assert "\n" not in str(error.value)

"""The weekly report from a real database: figures, file, retention and errors."""

from __future__ import annotations

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


def test_writing_the_page_again_gives_the_same_bytes(summarized: Installation, tmp_path: Path):
    installation = at_home(summarized, tmp_path)
    report = write_report(installation, MONDAY)
    assert report.path == report_path(installation.settings, MONDAY) == tmp_path / "reports" / "2025-10-27.html"
    page = report.path.read_bytes()
    assert len(page) == report.size
    assert "Week of 27 Oct 2025 to 2 Nov 2025" in page.decode()
    assert report.missing_days == []
    assert len(report.plots) == 6
    assert report.sentences[0].split()[0] in page.decode()
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
    expected = "Wednesday, 29 Oct 2025 and Friday, 31 Oct 2025 are missing, so sums of the week are unknown."
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

"""The tasks of an operator in Dagster's UI, performed in a real Chromium; each test takes a screenshot.

The tests share one tab and one installation: later ones use what earlier ones computed.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from sqlalchemy import create_engine, text

from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.pipeline.installation import open_installation
from snapshot_pipeline.pipeline.summaries import summarize_days
from snapshot_pipeline_tests.installation import TestInstallation
from snapshot_pipeline_tests.orchestration.scanning import report_scan
from snapshot_pipeline_tests.pipeline.installations import execute, students_started_before
from snapshot_pipeline_tests.running_dagster import RunningDagster
from snapshot_pipeline_tests.waiting import wait_for

pytestmark = pytest.mark.timeout(600)

FIRST, LAST = "2026-02-20", "2026-02-24"
BACKFILL_MS = 180_000
"""Dagster's daemon processes backfills every 30 seconds, and each step of one waits for it."""


def asset_path(name: str, view: str, **parameters: str) -> str:
    """Return the path of a page of an asset."""
    return f"/assets/{name}?" + "&".join(f"{key}={value}" for key, value in {"view": view, **parameters}.items())


def lessons_view(minutes: str) -> str:
    """The statement that creates or replaces the view of the lessons."""
    return (
        "CREATE OR REPLACE VIEW user_lesson_progress AS SELECT user_id, lesson_id, started_at, completed_at, "  # noqa: S608
        f"{minutes} AS time_spent_minutes FROM progress_rows"
    )


@pytest.fixture(scope="module")
def five_days(page: Page, installation: TestInstallation) -> str:
    """Launch a backfill of five days in the asset's dialog, and wait until it has ended; return its page.

    The lessons of three students are in a view that raises for rows before the five days: their computation raises.
    """
    failing = ", ".join(map(str, students_started_before(installation.url, date(2026, 2, 1), 3)))
    raising = f"user_id IN ({failing}) AND started_at < '{FIRST}'"
    execute(
        installation.url,
        "ALTER TABLE user_lesson_progress RENAME TO progress_rows",
        lessons_view(f"CASE WHEN {raising} THEN (1 / (user_id - user_id))::int ELSE time_spent_minutes END"),
    )
    page.goto(asset_path("performance_snapshots", "overview"))
    page.get_by_role("button", name="Materialize", exact=False).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Launch runs to materialize performance_snapshots")
    dialog.get_by_text("Show all partitions").click()
    selection = dialog.locator("input[type=text]").first
    selection.fill(f"[{FIRST}...{LAST}]")
    selection.press("Enter")
    expect(dialog).to_contain_text("5 partitions")
    dialog.get_by_role("button", name="Launch backfill").click()
    expect(page.get_by_text("Created backfill")).to_be_visible()
    page.get_by_text("View", exact=True).last.click()
    page.wait_for_url(re.compile("/runs/b/"))
    expect(page.get_by_text("100% completed")).to_be_visible(timeout=BACKFILL_MS)
    return page.url


def test_asset_graph_shows_platform_snapshots_and_recommendations(page: Page, screenshot: Path) -> None:
    page.goto("/asset-groups")
    graph = page.locator("svg")
    for group in ("learning_platform", "snapshots", "recommendations"):
        expect(graph.get_by_text(group, exact=True).first).to_be_visible()
    page.goto(asset_path("performance_snapshots", "lineage"))
    for name in ("users", "quiz_attempts", "snapshots", "recommendations"):
        expect(graph.get_by_text(name, exact=True).first).to_be_visible()
    page.screenshot(path=screenshot)


def test_asset_page_describes_the_table_and_its_columns(page: Page, screenshot: Path) -> None:
    page.goto(asset_path("performance_snapshots", "overview"))
    for sentence in ("One row per active student and day", "changes to a day that was computed before are recorded"):
        expect(page.get_by_text(sentence).first).to_be_visible()
    for column, sentence in (
        ("pace_score", "How fast and how regularly the student worked"),
        ("lessons_completed_count", "Lessons completed on the day"),
    ):
        row = page.get_by_role("row").filter(has_text=column).filter(has_text=sentence)
        expect(row.get_by_text("user_lesson_progress.completed_at").first).to_be_attached()
    expect(page.get_by_text("learning-data", exact=True)).to_be_visible()
    page.screenshot(path=screenshot)


def test_backfill_launched_from_the_dialog_computes_five_days(
    page: Page, five_days: str, installation: TestInstallation, screenshot: Path
) -> None:
    page.goto(five_days)
    expect(page.get_by_text("100% completed")).to_be_visible()
    page.screenshot(path=screenshot)
    engine = create_engine(installation.url)
    with engine.connect() as connection:
        days = connection.execute(text("SELECT DISTINCT snapshot_date::text FROM performance_snapshots ORDER BY 1"))
        assert days.scalars().all() == [f"2026-02-{day}" for day in range(20, 25)]
    engine.dispose()


@pytest.mark.usefixtures("five_days")
def test_numeric_metadata_of_each_day_is_plotted(page: Page, screenshot: Path) -> None:
    page.goto(asset_path("performance_snapshots", "overview"))
    page.get_by_role("button", name="Plots").click()
    page.get_by_role("button", name="Events", exact=False).click()  # the view by partition shows the newest 120 days
    for figure in ("success_rate", "mean_pace_score", "pace_score_median", "restated"):
        expect(page.get_by_text(figure, exact=True).first).to_be_attached()
    plots = page.locator("canvas")
    expect(plots.first).to_be_visible()
    assert plots.count() >= 15
    plots.first.scroll_into_view_if_needed()
    wait_for(lambda: is_still(plots.first) or None, "the animation of the plots has ended", 20)
    page.screenshot(path=screenshot)


def is_still(plot: Locator) -> bool:
    """Return whether two screenshots of a plot are equal; its animation on a canvas sends no event at its end."""
    return plot.screenshot() == plot.screenshot()


@pytest.mark.usefixtures("five_days")
def test_partition_page_shows_a_summary_inline_tables_and_a_plot(page: Page, screenshot: Path) -> None:
    page.goto(asset_path("performance_snapshots", "partitions", partition=LAST))
    expect(page.get_by_text("change since the day before")).to_be_visible()  # inline, not behind "Show Markdown"
    expect(page.get_by_role("row").filter(has_text="failures_by_reason").first).to_be_visible()
    page.get_by_role("row").filter(has_text="pace_by_label").get_by_text("Show Markdown").click()
    plot = page.get_by_role("dialog").get_by_role("img", name=re.compile("24 Feb 2026"))
    expect(plot).to_be_visible()
    assert plot.evaluate("image => image.complete && image.naturalWidth") >= 300
    page.screenshot(path=screenshot)


@pytest.mark.usefixtures("five_days")
def test_failed_check_shows_result_threshold_and_remediation(page: Page, screenshot: Path) -> None:
    page.goto(asset_path("performance_snapshots", "checks", checkDetail="success_rate"))
    expect(page.get_by_text("Failed", exact=True).first).to_be_visible()
    expect(page.get_by_text("report it if it is a bug in the pipeline").first).to_be_visible()
    expect(
        page.get_by_text(re.compile(r"\d of \d+ students published \(\d+\.?\d* %, at least 99 % expected\)")).first
    ).to_be_visible()
    page.screenshot(path=screenshot)
    page.get_by_role("tab", name="Partitions").last.click()
    expect(page.get_by_text(re.compile(r"Failed\s*\([1-5]\)")).first).to_be_visible()  # one row a day


@pytest.mark.usefixtures("five_days")
def test_retry_from_the_launchpad_clears_failures_after_their_cause_is_fixed(
    page: Page, installation: TestInstallation, dagster_ui: RunningDagster, screenshot: Path
) -> None:
    engine = create_engine(installation.url)
    with engine.begin() as connection:
        failed = connection.execute(text("SELECT count(*) FROM snapshot_failures")).scalar_one()
        assert failed > 0
        connection.execute(text(lessons_view("time_spent_minutes")))
    page.goto("/locations/snapshot_pipeline/jobs/retry_failed_job/playground")
    expect(page.get_by_text("No errors")).to_be_visible()
    page.screenshot(path=screenshot)
    page.get_by_role("button", name="Launch Run").click()
    page.wait_for_url(re.compile("/runs/"))

    def no_failure_is_open() -> bool | None:
        with engine.connect() as connection:
            return connection.execute(text("SELECT count(*) FROM snapshot_failures")).scalar_one() == 0 or None

    wait_for(no_failure_is_open, "no student has an open failure", 90)
    expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=60_000)
    engine.dispose()


@pytest.mark.usefixtures("five_days")
def test_a_red_incident_leads_to_its_rows_and_to_green(
    page: Page, installation: TestInstallation, screenshot: Path
) -> None:
    """Red, cause, rows, corrected, green, as an operator goes."""
    job = build_defs(installation.settings).resolve_job_def("daily_snapshots_job")
    cursor, _ = report_scan(installation, None)
    execute(installation.url, lessons_view("-1 - time_spent_minutes"))
    assert job.execute_in_process(instance=installation.instance, partition_key=LAST).success
    cursor, _ = report_scan(installation, cursor)
    page.goto(asset_path("incidents", "checks", checkDetail="no_open_incidents"))
    expect(page.get_by_text("1 incident is open.")).to_be_visible()
    expect(page.get_by_text(f"snapshot-pipeline materialize --from {LAST} --to {LAST}").first).to_be_visible()
    page.screenshot(path=screenshot)
    page.goto(asset_path("performance_snapshots", "checks", checkDetail="data_quality"))
    expect(page.get_by_text("Rows by kind: negative_minutes")).to_be_visible()
    engine = create_engine(installation.url)
    with engine.connect() as connection:
        query = text("SELECT count(*) FROM data_issues WHERE day = :day AND issue = 'negative_minutes'")
        assert connection.execute(query, {"day": LAST}).scalar_one() > 0
    engine.dispose()
    execute(installation.url, lessons_view("time_spent_minutes"))
    assert job.execute_in_process(instance=installation.instance, partition_key=LAST).success
    report_scan(installation, cursor)
    page.goto(asset_path("performance_snapshots", "checks", checkDetail="data_quality"))
    expect(page.get_by_text("Succeeded", exact=True).first).to_be_visible()
    page.goto(asset_path("incidents", "checks", checkDetail="no_open_incidents"))
    expect(page.get_by_text("No incident is open.", exact=True).first).to_be_visible()


@pytest.mark.usefixtures("five_days")
def test_weekly_report_opens_by_a_click_on_its_link(
    page: Page, installation: TestInstallation, screenshot: Path
) -> None:
    job = build_defs(installation.settings).resolve_job_def("weekly_report_job")
    with open_installation(installation.settings) as opened:
        summarize_days(opened, date.fromisoformat(FIRST), date(2026, 2, 22), "browser")
    assert job.execute_in_process(instance=installation.instance, partition_key="2026-02-16").success
    page.goto(asset_path("weekly_report", "partitions", partition="2026-02-16"))
    link = page.get_by_role("link", name="/reports/2026-02-16.html")
    expect(link).to_be_visible()
    page.screenshot(path=screenshot)
    with page.context.expect_page() as opened_tab:
        link.click()
    report = opened_tab.value
    expect(report.get_by_role("heading", level=1)).to_have_text("Week of 16 Feb 2026 to 22 Feb 2026")
    assert report.url.endswith("/reports/2026-02-16.html")
    background = report.locator(".tiles > div").first.evaluate("tile => getComputedStyle(tile).backgroundColor")
    assert background == "rgb(255, 255, 255)"  # the policy of the server lets the styles of the page apply
    report.close()


def test_one_click_starts_a_schedule(page: Page, dagster_ui: RunningDagster, screenshot: Path) -> None:
    page.goto("/locations/snapshot_pipeline/schedules/daily_snapshots_schedule")
    switch = page.get_by_role("checkbox").first
    expect(switch).not_to_be_checked()
    page.locator("label", has=switch).click()
    expect(switch).to_be_checked()
    page.screenshot(path=screenshot)

    def is_running() -> bool | None:
        states = dagster_ui.instance.all_instigator_state()
        return any(state.name == "daily_snapshots_schedule" and state.is_running for state in states) or None

    wait_for(is_running, "the schedule is running", 20)

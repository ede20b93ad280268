"""The weekly report in a real Chromium: on a phone, on a laptop, in print, light and dark, and its accessibility."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import URL

from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.report_files import report_path
from snapshot_pipeline.pipeline.summaries import summarize_days
from snapshot_pipeline.pipeline.weekly_report import write_report
from snapshot_pipeline_tests.pipeline.installations import COMPUTED, MONDAY, installation_on, new_database

pytestmark = pytest.mark.timeout(300)

SIZES = {"phone": (390, 844), "laptop": (1280, 800)}


@pytest.fixture(scope="module")
def report(server_url: URL, computed_template: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The report of the sample's last week, written by the pipeline."""
    with (
        new_database(server_url, computed_template) as url,
        installation_on(url, home=tmp_path_factory.mktemp("home"), start_date=COMPUTED[0]) as installation,
    ):
        summarize_days(installation, COMPUTED[0], COMPUTED[-1], "browser")
        run_week(installation, MONDAY, "browser")
        write_report(installation, MONDAY)
        yield report_path(installation.settings, MONDAY)


def open_report(browser: Browser, report: Path, size: tuple[int, int], scheme: str, scripts: bool = True) -> Page:
    """Open the report in a new tab; fail if it requests anything from the network."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        java_script_enabled=scripts,
    )
    context.set_default_timeout(20_000)
    page = context.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: requests.append(str(error)))
    page.goto(report.as_uri())
    assert requests == [report.as_uri()]
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_report_fits_each_screen_without_accessibility_violations(
    browser: Browser, report: Path, size: str, scheme: str, screenshot: Path
) -> None:
    page = open_report(browser, report, SIZES[size], scheme)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert page.get_by_role("img").count() == 3
    assert page.get_by_role("table").count() >= 3
    assert [tile.is_visible() for tile in page.locator(".tiles dt").all()] == [True] * 5
    cohorts = page.get_by_role("table").first
    # A card per cohort on a phone, with the names of the figures; a row on a laptop, with the change drawn on an axis.
    display = cohorts.get_by_role("row").last.evaluate("row => getComputedStyle(row).display")
    assert display == ("grid" if size == "phone" else "table-row")
    assert cohorts.locator(".strip").first.is_visible() == (size == "laptop")
    width = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert page.evaluate(width), "the page scrolls horizontally"
    result = Axe().run(page)
    assert result.violations_count == 0, result.generate_report()
    page.screenshot(path=screenshot, full_page=True)
    page.context.close()


def test_report_is_readable_without_javascript(browser: Browser, report: Path) -> None:
    page = open_report(browser, report, SIZES["laptop"], "light", scripts=False)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_role("img").last).to_be_visible()
    page.context.close()


def test_report_prints_dark_text_on_white_in_dark_mode(browser: Browser, report: Path, screenshot: Path) -> None:
    page = open_report(browser, report, (794, 1123), "dark")  # A4 at 96 dpi
    page.emulate_media(media="print")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    foreground = page.evaluate("getComputedStyle(document.body).color")
    assert brightness(background) > 0.9
    assert brightness(foreground) < 0.3
    expect(page.locator(".tiles dt").first).to_be_visible()
    page.screenshot(path=screenshot, full_page=True)
    page.context.close()


def brightness(color: str) -> float:
    """Return the mean of the channels of `rgb(…)` or `rgba(…)`, 0 to 1; transparent counts as white paper."""
    channels = [float(part) for part in color[color.index("(") + 1 : -1].split(",")]
    return 1.0 if len(channels) == 4 and channels[3] == 0 else sum(channels[:3]) / 3 / 255

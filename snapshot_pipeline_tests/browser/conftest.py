"""Fixtures of the browser tests: a headless Chromium, a running Dagster UI, and the files of the screenshots."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from snapshot_pipeline_tests.installation import PROJECT, TestInstallation
from snapshot_pipeline_tests.needed_programs import needed_program
from snapshot_pipeline_tests.running_dagster import RunningDagster

SCREENSHOTS = PROJECT / "build" / "screenshots"
"""Directory of the screenshots, for manual review; each run replaces them."""

TIMEOUT_MS = 20_000
"""How long an expected element may take to appear."""


@pytest.fixture(scope="package")  # while Playwright runs, no other test can run an event loop
def browser() -> Iterator[Browser]:
    """Debian's Chromium; Playwright's own browsers are not downloaded."""
    program = needed_program("chromium", "apt-get install chromium")
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=program,
            # As root Chromium has no sandbox; in a container /dev/shm is too small for it.
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        )
        yield started
        started.close()


@pytest.fixture(scope="module")
def dagster_ui(installation: TestInstallation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDagster]:
    """`snapshot-pipeline dev`, with a required success rate that the sample students do not reach."""
    environment = {
        **installation.environment,
        "SNAPSHOT_MIN_SUCCESS_RATE": "0.99",
        "SNAPSHOT_OWNERS": "team:learning-data",
    }
    started = RunningDagster(installation.instance, environment, tmp_path_factory.mktemp("dagster") / "dev.log")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def page(browser: Browser, dagster_ui: RunningDagster) -> Iterator[Page]:
    """One tab at the size of a laptop, shared by the tests of a file, which run one after the other."""
    context = browser.new_context(
        base_url=f"http://127.0.0.1:{dagster_ui.port}", viewport={"width": 1440, "height": 900}, locale="en-GB"
    )
    context.set_default_timeout(TIMEOUT_MS)
    opened = context.new_page()
    yield opened
    context.close()


@pytest.fixture
def screenshot(request: pytest.FixtureRequest) -> Path:
    """The file of the screenshot of a test, named after the test."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "_", request.node.name.removeprefix("test_").lower()).strip("_")
    return SCREENSHOTS / f"{name[:80]}.png"

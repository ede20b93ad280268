"""A headless Chromium, an installation with a Dagster UI, and where its pictures are kept.

Put here: what every test in a browser needs. Do not put here: what is expected to be seen.
"""

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
"""What the tests have seen, for a person to look at; made again by each run."""

PATIENCE_MS = 20_000
"""How long a person would wait for something to appear."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; Playwright's own browsers are not downloaded."""
    program = needed_program("chromium", "apt-get install chromium")
    expect.set_options(timeout=PATIENCE_MS)
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
    """`snapshot-pipeline dev`, with checks that want more than the sample students can give."""
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
    """One tab at the size of a laptop, in which the tests of a file go on where the last one has stopped."""
    context = browser.new_context(
        base_url=f"http://127.0.0.1:{dagster_ui.port}", viewport={"width": 1440, "height": 900}, locale="en-GB"
    )
    context.set_default_timeout(PATIENCE_MS)
    opened = context.new_page()
    yield opened
    context.close()


@pytest.fixture
def screenshot(request: pytest.FixtureRequest) -> Path:
    """Where the screenshot of a test goes: by the name of the test."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "_", request.node.name.removeprefix("test_").lower()).strip("_")
    return SCREENSHOTS / f"{name[:80]}.png"

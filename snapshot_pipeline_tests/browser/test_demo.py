"""The demo as a newcomer follows it: commands, the red check in a real Chromium, its rows, corrected, green."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from playwright.sync_api import Browser, Page, expect

from snapshot_pipeline.embedded import EmbeddedServer
from snapshot_pipeline_tests.browser.conftest import TIMEOUT_MS
from snapshot_pipeline_tests.commands import run_command
from snapshot_pipeline_tests.installation import PROJECT
from snapshot_pipeline_tests.running_dagster import RunningDagster
from snapshot_pipeline_tests.waiting import wait_for

pytestmark = pytest.mark.timeout(600)

INCIDENTS = "/assets/incidents?view=checks"
DATA_QUALITY = "/assets/performance_snapshots?view=checks&checkDetail=data_quality"


@dataclass(frozen=True)
class Newcomer:
    """A fresh home directory, without any setting.

    Attributes:
        output: What the demo printed.
    """

    environment: dict[str, str]
    home: Path
    output: str

    def run(self, *arguments: str) -> str:
        """Run a command that succeeds; return its output."""
        finished = run_command(arguments, self.environment)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    """A small demo on the embedded database."""
    home = tmp_path_factory.mktemp("newcomer") / "home"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSHOT_", "DAGSTER_"))}
    environment |= {"SNAPSHOT_HOME": str(home), "SNAPSHOT_WATCH_SECONDS": "5", "COLUMNS": "80", "NO_COLOR": "1"}
    command = [Path(sys.executable).with_name("snapshot-pipeline"), "demo", "--students", "300", "--weeks", "4"]
    try:
        demo = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert demo.returncode == 0, demo.stdout + demo.stderr
        yield Newcomer(environment, home, demo.stdout)
    finally:
        EmbeddedServer(home).delete()


@pytest.fixture(scope="module")
def page(browser: Browser, newcomer: Newcomer) -> Iterator[Page]:
    """A tab of the UI that `snapshot-pipeline dev` serves."""
    with dg.DagsterInstance.ephemeral() as unused:
        dev = RunningDagster(unused, newcomer.environment, newcomer.home / "dev.log")
    context = browser.new_context(base_url=f"http://127.0.0.1:{dev.port}", viewport={"width": 1440, "height": 900})
    context.set_default_timeout(TIMEOUT_MS)
    yield context.new_page()
    context.close()
    dev.stop()


def test_demo_prints_one_incident_that_is_over_and_one_that_is_open(newcomer: Newcomer) -> None:
    (report,) = re.findall(r"\S+/reports/\S+\.html", newcomer.output)
    assert (PROJECT / report).is_file()
    # The path is as long as the home directory's.
    assert max(map(len, newcomer.output.replace(report, "").splitlines())) <= 80
    assert len(re.findall(r"^\$ snapshot-pipeline (recommend|report) ", newcomer.output, re.MULTILINE)) == 8
    messages = newcomer.run("alerts", "list")
    assert len(re.findall(r": sent \d", messages)) == 3
    assert (newcomer.home / "alerts.txt").read_text().count("invalid rows") >= 3
    status = run_command(["status"], newcomer.environment)
    assert status.returncode == 3
    assert "missing" not in status.stdout
    assert len(re.findall(r"^Incident \d+, since", status.stdout, re.MULTILINE)) == 1


def test_from_the_red_check_to_the_rows_corrected_and_green(newcomer: Newcomer, page: Page, screenshot: Path) -> None:
    page.goto(INCIDENTS)
    expect(page.get_by_text("1 incident is open.").first).to_be_visible()
    page.screenshot(path=screenshot.with_name("demo_1_red.png"))
    page.goto(DATA_QUALITY)
    expect(page.get_by_text("have invalid rows").first).to_be_visible()
    page.screenshot(path=screenshot.with_name("demo_2_cause.png"))
    count = newcomer.run("db", "psql", "-At", "-c", "SELECT count(*) FROM data_issues WHERE detail = 'score -1.0'")
    assert int(count) > 20
    (update,) = re.findall(r'"(UPDATE quiz_attempts .*)"', newcomer.output)
    assert newcomer.run("db", "psql", "-c", update) == f"UPDATE {int(count)}\n"
    newcomer.run(*re.findall(r"(materialize --from \S+ --to \S+)$", newcomer.output, re.MULTILINE)[-1].split())
    wait_for(lambda: shows(page, INCIDENTS, "No incident is open."), "the incident is closed", 60)
    page.screenshot(path=screenshot.with_name("demo_3_green.png"))
    wait_for(lambda: len(re.findall(r": sent \d", newcomer.run("alerts", "list"))) == 4 or None, "it is sent", 30)


def shows(page: Page, address: str, text: str) -> bool | None:
    """Open a page; return whether it shows a text."""
    page.goto(address)
    page.get_by_text("no_open_incidents").first.wait_for()
    page.wait_for_load_state("networkidle")
    return page.get_by_text(text).count() > 0 or None

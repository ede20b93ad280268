"""`dagster dev`, `dg dev` and `snapshot-pipeline dev` serve the same code location."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from snapshot_pipeline.embedded import EmbeddedServer
from snapshot_pipeline_tests.forking import Forked, run_service
from snapshot_pipeline_tests.installation import PROJECT
from snapshot_pipeline_tests.running_dagster import LAUNCH, launch_parameters
from snapshot_pipeline_tests.waiting import command_line, wait_for, wait_until_ended

pytestmark = pytest.mark.system

BIN = Path(sys.executable).parent
LOCATIONS = """
{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus locationOrLoadError {
    ... on RepositoryLocation { repositories { schedules { name } } } } } } } }
"""

RUN_STATUS = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


@pytest.mark.parametrize(
    "command",
    [[str(BIN / "dagster"), "dev"], [str(BIN / "dg"), "dev", "--use-active-venv"]],
    ids=["dagster dev", "dg dev"],
)
def test_dev_commands_of_dagster_serve_the_code_location(command: list[str], tmp_path: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSHOT_", "DAGSTER_"))}
    environment = {**inherited, "SNAPSHOT_HOME": str(tmp_path), "SNAPSHOT_SCHEDULES": "off"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "dev.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)], cwd=PROJECT, env=environment, stdout=output, stderr=output
        )
    try:
        assert_served(location(port, process, log), tmp_path)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        EmbeddedServer(tmp_path).delete()


def test_our_dev_serves_it_and_once_killed_leaves_no_process_and_can_be_started_again(tmp_path: Path) -> None:
    """Its children used to live on: a second daemon beside that of the next `dev`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSHOT_", "DAGSTER_"))}
    environment = {**inherited, "SNAPSHOT_HOME": str(tmp_path), "SNAPSHOT_SCHEDULES": "off"}
    log = tmp_path / "dev.log"

    def start(port: int) -> subprocess.Popen[bytes]:
        command = [str(BIN / "snapshot-pipeline"), "dev", "--port", str(port)]
        with log.open("ab") as output:
            return subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=output, stderr=output)

    def start_forked(port: int) -> Forked:
        arguments = ["snapshot_pipeline.cli", "dev", "--port", str(port)]
        with log.open("ab") as output:
            return Forked(partial(run_service, "snapshot_pipeline.cli"), arguments, environment, (output.fileno(),) * 3)

    with socket.socket() as first, socket.socket() as second:
        for free in (first, second):
            free.bind(("127.0.0.1", 0))
        port, other_port = first.getsockname()[1], second.getsockname()[1]
    killed = start(port)
    again = None
    try:
        assert_served(location(port, killed, log), tmp_path)
        family = psutil.Process(killed.pid).children(recursive=True)
        assert len(family) >= 4, family  # code server and its own server, web server, daemon
        services = [child for child in family if "snapshot_pipeline.cli.supervised" in command_line(child)]
        server = [child for child in family if re.match(r"(\S*/)?postgres[: ]", command_line(child))]
        links = {service.environ()["SNAPSHOT_UI_URL"] for service in services}
        assert links == {f"http://127.0.0.1:{port}"}  # in messages
        assert_run(port)
        refused = start_forked(other_port)
        assert refused.wait(60) == 1
        assert f"is already running on this machine (process {killed.pid})" in log.read_text()
        killed.kill()
        killed.wait()
        wait_until_ended([child for child in family if child not in server], 60)
        again = start_forked(port)
        location(port, again, log)
        again.send_signal(signal.SIGTERM)
        assert again.wait(60) == 0
    finally:
        for process in (killed, again):
            if process is not None and process.poll() is None:
                process.kill()
        EmbeddedServer(tmp_path).delete()


def assert_run(port: int) -> None:
    """Launch a run, whose process the code server starts, and wait until it has succeeded."""

    def ask(query: str, variables: dict[str, Any]) -> dict[str, Any]:
        request = {"query": query, "variables": variables}
        answer = requests.post(f"http://127.0.0.1:{port}/graphql", json=request, timeout=30)
        return dict(answer.json()["data"])

    launched = ask(LAUNCH, {"parameters": launch_parameters("housekeeping_job", {}, {})})["launchPipelineExecution"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run = {"id": launched["run"]["runId"]}

    def status() -> str | None:
        found = ask("query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }", run)["runOrError"][
            "status"
        ]
        return found if found in ("SUCCESS", "FAILURE") else None

    assert wait_for(status, "the run has ended", 90) == "SUCCESS"


def assert_served(entry: dict[str, Any], home: Path) -> None:
    """Assert the name of the location: the state of the schedules is kept under it.

    A second name would mean a second nightly run.
    """
    assert (entry["name"], entry["loadStatus"]) == ("snapshot_pipeline", "LOADED")
    (repository,) = entry["locationOrLoadError"]["repositories"]
    schedules = {schedule["name"] for schedule in repository["schedules"]}
    assert schedules == {
        "daily_snapshots_schedule",
        "weekly_recommendations_schedule",
        "daily_checks_schedule",
        "daily_housekeeping_schedule",
        "weekly_report_schedule",
    }
    assert EmbeddedServer(home).is_running()


def location(port: int, process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    """Wait for the one code location and return it."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            answer = requests.post(f"http://127.0.0.1:{port}/graphql", json={"query": LOCATIONS}, timeout=30).json()
        except requests.RequestException:
            time.sleep(0.5)
            continue
        (entry,) = answer["data"]["workspaceOrError"]["locationEntries"]
        if entry["loadStatus"] == "LOADED":
            return dict(entry)
        time.sleep(0.5)
    raise AssertionError(f"no code location was loaded in time: {log.read_text()[-3000:]}")

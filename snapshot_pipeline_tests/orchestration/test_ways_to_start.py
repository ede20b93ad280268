"""`dagster dev`, `dg dev` and `snapshot-pipeline dev` serve the same code location."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from snapshot_pipeline.embedded import EmbeddedServer
from snapshot_pipeline_tests.installation import PROJECT

pytestmark = pytest.mark.system

BIN = Path(sys.executable).parent
LOCATIONS = """
{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus locationOrLoadError {
    ... on RepositoryLocation { repositories { schedules { name } } } } } } } }
"""


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
        refused = start(other_port)
        assert refused.wait(60) == 1
        assert f"is already running on this machine (process {killed.pid})" in log.read_text()
        killed.kill()
        killed.wait()
        _, alive = psutil.wait_procs([one for one in family if not one.name().startswith("postgres")], timeout=60)
        assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
        again = start(port)
        location(port, again, log)
        again.send_signal(signal.SIGTERM)
        assert again.wait(60) == 0
    finally:
        for process in (killed, again):
            if process is not None and process.poll() is None:
                process.kill()
        EmbeddedServer(tmp_path).delete()


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

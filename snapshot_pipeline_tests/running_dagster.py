"""Dagster in its own processes (web server, daemon, code server, runs), controlled by GraphQL as its UI does."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import requests

from snapshot_pipeline_tests.forking import Forked, preload, run_service
from snapshot_pipeline_tests.waiting import wait_for, wait_until_ended

LAUNCH = """
mutation ($parameters: ExecutionParams!) {
  launchPipelineExecution(executionParams: $parameters) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message stack }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""
LAUNCH_BACKFILL = """
mutation ($parameters: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $parameters) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
_STARTED = re.compile(r"Started process for run \(pid: (\d+)\)")


preload(
    "dagster._cli",
    "dagster._daemon.cli",
    "dagster._grpc.proxy_server",
    "dagster_webserver.cli",
    "snapshot_pipeline.cli.dev",
    "snapshot_pipeline.orchestration.instance.webserver",
)


class RunningDagster:
    """`snapshot-pipeline dev`, or another of its commands that serves the UI, and their children; all are forked."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        environment: Mapping[str, str],
        log: Path,
        arguments: Sequence[str] = ("dev",),
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.instance = instance
        self._log = log
        self._environment = environment
        self._arguments = ["snapshot_pipeline.cli", *arguments, "--port", str(self.port)]
        self._process = self._start()

    def _start(self) -> Forked:
        with self._log.open("ab") as output, Path(os.devnull).open("rb") as nothing:
            streams = (nothing.fileno(), output.fileno(), output.fileno())
            run = partial(run_service, "snapshot_pipeline.cli")
            process = Forked(run, self._arguments, self._environment, streams)
        self._wait_until_ready(process)
        return process

    def _wait_until_ready(self, process: Forked) -> None:
        def is_ready() -> bool | None:
            assert process.poll() is None, self._log.read_text()[-3000:]
            try:
                locations = "{ workspaceOrError { ... on Workspace { locationEntries { loadStatus } } } }"
                entries = self.ask(locations, {})["workspaceOrError"]["locationEntries"]
            except requests.RequestException:
                return None
            return [entry["loadStatus"] for entry in entries] == ["LOADED"] or None

        wait_for(is_ready, "the UI answers", 120)

    def ask(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        answer = requests.post(
            f"http://127.0.0.1:{self.port}/graphql", json={"query": query, "variables": variables}, timeout=30
        )
        # A PythonError has the status 500 and is an answer all the same.
        if not answer.ok and not answer.text.startswith('{"data":'):
            raise requests.HTTPError(f"{answer.status_code}: {answer.text[:2000]}")
        data: dict[str, Any] = answer.json()["data"]
        return data

    def launch_day(self, day: str) -> str:
        """Launch the snapshot job for one day; return the run id."""
        return self.launch("daily_snapshots_job", {"dagster/partition": day})

    def launch(self, job: str, tags: Mapping[str, str], config: Mapping[str, Any] | None = None) -> str:
        """Launch a job as the launchpad does; return the run id."""
        launched = self.try_to_launch(job, tags, config)
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def try_to_launch(
        self, job: str, tags: Mapping[str, str], config: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Launch a job as the launchpad does; return the answer, which may be an error."""
        parameters = launch_parameters(job, tags, config or {})
        launched: dict[str, Any] = self.ask(LAUNCH, {"parameters": parameters})["launchPipelineExecution"]
        return launched

    def launch_backfill(self, assets: Sequence[dg.AssetKey], partitions: Sequence[str]) -> str:
        """Launch a backfill of some assets as its dialog does; return its id."""
        selection = [{"path": asset.path} for asset in assets]
        parameters = {"assetSelection": selection, "partitionNames": list(partitions)}
        launched = self.ask(LAUNCH_BACKFILL, {"parameters": parameters})["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def status(self, run_id: str) -> str:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status.value

    def finished(self, run_id: str) -> str | None:
        status = self.status(run_id)
        return status if status in ("SUCCESS", "FAILURE", "CANCELED") else None

    def process_of(self, run_id: str) -> psutil.Process | None:
        """Return the process of a run; None before it has started and after it has ended."""
        for event in self.instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
            if match := _STARTED.match(event.message):
                with contextlib.suppress(psutil.NoSuchProcess):
                    return psutil.Process(int(match.group(1)))
        return None

    def retry_of(self, run_id: str) -> str | None:
        """Return the retry of a crashed run; None if there is none."""
        retries = self.instance.get_runs(dg.RunsFilter(tags={"dagster/parent_run_id": run_id}))
        return retries[0].run_id if retries else None

    def kill_everything(self) -> None:
        """Send SIGKILL to every process, including those of runs; return when all have ended."""
        root = psutil.Process(self._process.pid)
        family = [root, *root.children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(10)
        wait_until_ended(family, 10)

    def start_again(self) -> None:
        """Start everything again after `kill_everything`."""
        self._process = self._start()

    def ensure_running(self) -> None:
        """Start Dagster again if it has ended, as a service manager would, and wait until the UI answers."""
        if self._process.poll() is not None:
            self.start_again()
        self._wait_until_ready(self._process)

    def stop(self) -> None:
        """Interrupt it as Ctrl-C does, and wait until it has ended.

        Raises:
            subprocess.TimeoutExpired: It has not ended in time; everything has been killed.
        """
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill_everything()
                raise


def launch_parameters(job: str, tags: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variable of `LAUNCH`."""
    return {
        "selector": {
            "repositoryLocationName": "snapshot_pipeline",
            "repositoryName": "__repository__",
            "jobName": job,
        },
        "runConfigData": config,
        "executionMetadata": {"tags": [{"key": name, "value": value} for name, value in tags.items()]},
    }

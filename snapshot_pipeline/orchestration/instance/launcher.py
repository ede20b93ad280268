"""The run launcher for one machine, with the health check that Dagster's default launcher lacks.

Without it a run whose machine lost power stays STARTED forever and keeps its slot in the queue. With it the daemon
fails the run at its next poll and retries it. A test kills real runs.
"""

from __future__ import annotations

import socket

import psutil
from dagster import DagsterEventType, DagsterRun

from snapshot_pipeline.orchestration.instance.dagster_internals import (
    CheckRunHealthResult,
    DefaultRunLauncher,
    WorkerStatus,
    started_process_id,
)

PROCESS_TAG = "snapshot_pipeline/process"
"""Run tag: host, process id and start time of a run that no launcher has started, such as the command line's."""

_CLOCK_TOLERANCE = 2.0
"""Seconds by which a process may seem to start after the event about it; a reused process id starts much later."""


class LocalRunLauncher(DefaultRunLauncher):
    """Starts each run in a process of its own on this machine, and checks whether that process is alive."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Enable the health check of run monitoring."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Return whether the process of a run in progress is alive.

        A run without a known process (`dagster job execute`), or of another machine, is reported as running.
        """
        for event in self._instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT):
            process_id = started_process_id(event)
            if process_id is not None:
                return _health(process_id, event.timestamp)
        return health_of_tagged_process(run)


def health_of_tagged_process(run: DagsterRun) -> CheckRunHealthResult:
    """Return whether the process in the run's tag is alive; a run without a tag of this machine counts as running."""
    machine, _, process = run.tags.get(PROCESS_TAG, "").partition(" ")
    if machine == socket.gethostname():
        process_id, _, created_at = process.partition(" ")
        return _health(int(process_id), float(created_at))
    return CheckRunHealthResult(WorkerStatus.RUNNING)


def this_process() -> dict[str, str]:
    """Return the tag for a run that this process executes."""
    process = psutil.Process()
    return {PROCESS_TAG: f"{socket.gethostname()} {process.pid} {process.create_time():.3f}"}


def _health(process_id: int, started_at: float) -> CheckRunHealthResult:
    try:
        process = psutil.Process(process_id)
        is_run_process = process.create_time() <= started_at + _CLOCK_TOLERANCE
        if is_run_process and process.status() != psutil.STATUS_ZOMBIE:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
    except psutil.NoSuchProcess:
        pass
    return CheckRunHealthResult(WorkerStatus.FAILED, f"its process {process_id} is gone")

"""A launcher that notices when a run's process is gone.

Put here: the health check that Dagster's own launcher lacks. Without it a run whose machine lost power stays STARTED
for ever and holds its place in the queue; with it the daemon fails the run at its next look and retries it.
Do not put here: retries or time limits (`dagster.yaml`).

It leans on private interfaces of Dagster 1.13 and on the wording of one log message; a test kills real runs to see that
it still holds. It looks at processes of one machine.
"""

from __future__ import annotations

import re
import socket

import psutil
from dagster import DagsterEventType, DagsterRun
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher

PROCESS_TAG = "snapshot_pipeline/process"
"""The tag by which a run that no launcher started, such as the command line's, says which process it is."""

_STARTED = re.compile(r"Started process for run \(pid: (\d+)\)")

_CLOCK_TOLERANCE = 2.0
"""Seconds by which a process may seem younger than the message about it; a reused process id is younger by far."""


class LocalRunLauncher(DefaultRunLauncher):
    """Starts each run in a process of its own on this machine, and can tell whether it is still alive."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Tells run monitoring to ask."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the process of a run lives.

        Args:
            run: A run in progress; one that says nothing of its process (`dagster job execute`), or that belongs to
                another machine, is left alone.
        """
        for event in self._instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT):
            if found := _STARTED.match(event.message):
                return _health(int(found.group(1)), event.timestamp)
        return health_of_tagged_process(run)


def health_of_tagged_process(run: DagsterRun) -> CheckRunHealthResult:
    """Whether the process lives that a run's tag names; one that names none of this machine is left alone."""
    machine, _, process = run.tags.get(PROCESS_TAG, "").partition(" ")
    if machine == socket.gethostname():
        process_id, _, created_at = process.partition(" ")
        return _health(int(process_id), float(created_at))
    return CheckRunHealthResult(WorkerStatus.RUNNING)


def this_process() -> dict[str, str]:
    """The tag for a run that is executed in this process."""
    process = psutil.Process()
    return {PROCESS_TAG: f"{socket.gethostname()} {process.pid} {process.create_time():.3f}"}


def _health(process_id: int, started_at: float) -> CheckRunHealthResult:
    try:
        process = psutil.Process(process_id)
        is_ours = process.create_time() <= started_at + _CLOCK_TOLERANCE
        if is_ours and process.status() != psutil.STATUS_ZOMBIE:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
    except psutil.NoSuchProcess:
        pass
    return CheckRunHealthResult(WorkerStatus.FAILED, f"its process, {process_id}, is gone")

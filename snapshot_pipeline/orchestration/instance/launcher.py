"""The run launcher for one machine, with the health check that Dagster's default launcher lacks.

Without it a run whose machine lost power stays STARTED until its maximum runtime and keeps its slot in the queue. With
it the daemon fails the run at its next poll and retries it. A test kills real runs.
"""

from __future__ import annotations

from dagster import DagsterRun

from snapshot_pipeline.orchestration.instance.dagster_internals import (
    CheckRunHealthResult,
    DefaultRunLauncher,
    WorkerStatus,
)
from snapshot_pipeline.orchestration.instance.run_process import PROCESS_TAG, has_ended
from snapshot_pipeline.settings import load_settings


class LocalRunLauncher(DefaultRunLauncher):
    """Starts each run in a process of its own on this machine, and checks whether that process is alive."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Enable the health check of run monitoring."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Return whether the process of a run in progress is alive."""
        return health_of_process(run)


def health_of_process(run: DagsterRun) -> CheckRunHealthResult:
    """Return that a run has failed if its process is known to have ended; otherwise it counts as running.

    A run that is still in progress would be retried in parallel: the lease protects the data, but time is wasted.
    """
    if has_ended(load_settings().home, run):
        return CheckRunHealthResult(WorkerStatus.FAILED, f"its process has ended ({run.tags[PROCESS_TAG]})")
    return CheckRunHealthResult(WorkerStatus.RUNNING)

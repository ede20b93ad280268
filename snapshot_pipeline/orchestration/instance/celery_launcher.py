"""A launcher that has runs executed by Celery workers on any number of machines, and notices when one is gone.

Put here: what the library's launcher lacks. It asks Celery's result backend whether a run's worker lives, which says
STARTED for ever when the worker was killed; it has a run that somebody ended look like one that crashed, so that it is
retried; and it resumes runs, which ours cannot.
Do not put here: how a worker takes a run (`celery_app`), retries or time limits (`deploy/celery/dagster.yaml`).

It leans on private interfaces of Dagster 1.13; a test kills a real worker to see that it still holds.
"""

from __future__ import annotations

import time
from typing import Any

from celery import Celery
from dagster import DagsterRun
from dagster._core.errors import DagsterInvariantViolationError
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClassData, pack_value
from dagster_celery.config import TASK_EXECUTE_JOB_NAME
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from snapshot_pipeline.orchestration.instance.celery_app import CONFIGURATION, QUEUE, broker_url
from snapshot_pipeline.orchestration.instance.launcher import health_of_tagged_process
from snapshot_pipeline.orchestration.instance.run_lock import run_lock_holders
from snapshot_pipeline.settings import load_settings

GRACE_SECONDS = 20.0
"""How long nobody may hold a run in progress until it counts as dead: a database that has restarted takes a moment to
hear from all workers again (`run_holding.LOOK_SECONDS`)."""


class CeleryLauncher(CeleryRunLauncher):
    """Sends each run to a Celery worker through the Redis of SNAPSHOT_CELERY_BROKER_URL."""

    celery: Celery

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._settings = load_settings()
        self._unheld_since: dict[str, float] = {}
        super().__init__(
            default_queue=QUEUE,
            broker=broker_url(self._settings),
            config_source=CONFIGURATION,
            inst_data=inst_data,
        )

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing to configure: the settings say it."""
        return {}

    def launch_run(self, context: LaunchRunContext) -> None:
        """Put a run into the queue; the library would define its task anew each time, and Celery warn of it."""
        run = context.dagster_run
        if run.job_code_origin is None:
            raise DagsterInvariantViolationError(f"run {run.run_id} does not say which code it is of")
        message = ExecuteRunArgs(run.job_code_origin, run.run_id, self._instance.get_ref(), True)
        task = self.celery.signature(
            TASK_EXECUTE_JOB_NAME, kwargs={"execute_job_args_packed": pack_value(message)}, immutable=True
        )
        self._launch_celery_task_run(run, task, TASK_EXECUTE_JOB_NAME)

    @property
    def supports_resume_run(self) -> bool:
        """No: a run has one step, which is computed as a whole or not at all."""
        return False

    def terminate(self, run_id: str) -> bool:
        """End a run as somebody has asked for: its process is told to stop, and nobody retries it."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or DAGSTER_CELERY_TASK_ID_TAG not in run.tags:
            return False
        self._instance.report_run_canceling(run)
        return bool(super().terminate(run_id))

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether some process holds a run in progress, or did so a moment ago.

        Args:
            run: A run in progress; one that was not launched by Celery is looked after as the local launcher does.
        """
        if DAGSTER_CELERY_TASK_ID_TAG not in run.tags:
            return health_of_tagged_process(run)
        if run_lock_holders(self._settings, run.run_id):
            self._unheld_since.pop(run.run_id, None)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        since = self._unheld_since.setdefault(run.run_id, time.monotonic())
        if time.monotonic() - since < GRACE_SECONDS:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        self._unheld_since.pop(run.run_id)
        return CheckRunHealthResult(WorkerStatus.FAILED, "the Celery worker's process that executed it is gone")

    def get_run_worker_debug_info(self, run: DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """Where to look when a run was given up."""
        held_by = "; ".join(run_lock_holders(self._settings, run.run_id)) or "no worker"
        return f"Celery task {run.tags.get(DAGSTER_CELERY_TASK_ID_TAG, 'unknown')}, executed by {held_by}"

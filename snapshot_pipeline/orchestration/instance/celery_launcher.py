"""The run launcher for Celery workers on any number of machines; it notices when the worker of a run is gone.

It changes three things in dagster-celery's launcher, which asks Celery's result backend whether a worker is alive (it
says STARTED forever when the worker was killed), makes a terminated run look like a crashed one, so that it is retried,
and resumes runs, which ours do not support. A test kills a real worker.
"""

from __future__ import annotations

import time
from typing import Any

from celery import Celery
from dagster import DagsterInvariantViolationError, DagsterRun
from dagster_celery.config import TASK_EXECUTE_JOB_NAME
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from snapshot_pipeline.orchestration.instance.celery_app import CONFIGURATION, QUEUE, broker_url
from snapshot_pipeline.orchestration.instance.dagster_internals import (
    CheckRunHealthResult,
    ConfigurableClassData,
    ExecuteRunArgs,
    LaunchRunContext,
    WorkerStatus,
    pack_value,
)
from snapshot_pipeline.orchestration.instance.launcher import health_of_process
from snapshot_pipeline.orchestration.instance.run_lock import run_lock_holders
from snapshot_pipeline.settings import load_settings

GRACE_SECONDS = 20.0
"""How long a run in progress may be without a lock before it counts as dead: after a restart of the database the
workers take their locks again within `run_lock.CHECK_SECONDS`."""


class CeleryLauncher(CeleryRunLauncher):
    """Sends each run to a Celery worker through the Redis of SNAPSHOT_CELERY_BROKER_URL."""

    celery: Celery

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._settings = load_settings()
        self._unlocked_since: dict[str, float] = {}
        super().__init__(
            default_queue=QUEUE,
            broker=broker_url(self._settings),
            config_source=CONFIGURATION,
            inst_data=inst_data,
        )

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return no options; the broker comes from the settings."""
        return {}

    def launch_run(self, context: LaunchRunContext) -> None:
        """Put a run into the queue.

        dagster-celery would define its task anew for each run, and Celery would warn about it.
        """
        run = context.dagster_run
        if run.job_code_origin is None:
            raise DagsterInvariantViolationError(f"run {run.run_id} has no code origin")
        message = ExecuteRunArgs(run.job_code_origin, run.run_id, self._instance.get_ref(), True)
        task = self.celery.signature(
            TASK_EXECUTE_JOB_NAME, kwargs={"execute_job_args_packed": pack_value(message)}, immutable=True
        )
        self._launch_celery_task_run(run, task, TASK_EXECUTE_JOB_NAME)

    @property
    def supports_resume_run(self) -> bool:
        """Return False: a run has one step, which is computed as a whole or not at all."""
        return False

    def terminate(self, run_id: str) -> bool:
        """Terminate a run and mark it as canceling, so that it is not retried; return whether it was in progress."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or DAGSTER_CELERY_TASK_ID_TAG not in run.tags:
            return False
        self._instance.report_run_canceling(run)
        return bool(super().terminate(run_id))

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Return whether a process holds the lock of a run in progress, or held it up to `GRACE_SECONDS` ago.

        A run that was not launched through Celery is checked like a run of `LocalRunLauncher`.
        """
        if DAGSTER_CELERY_TASK_ID_TAG not in run.tags:
            return health_of_process(run)
        if run_lock_holders(self._settings, run.run_id):
            self._unlocked_since.pop(run.run_id, None)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        since = self._unlocked_since.setdefault(run.run_id, time.monotonic())
        if time.monotonic() - since < GRACE_SECONDS:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        self._unlocked_since.pop(run.run_id)
        return CheckRunHealthResult(WorkerStatus.FAILED, "the Celery worker's process that executed it is gone")

    def get_run_worker_debug_info(self, run: DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """Return the Celery task and worker of a run that was given up."""
        held_by = "; ".join(run_lock_holders(self._settings, run.run_id)) or "no worker"
        return f"Celery task {run.tags.get(DAGSTER_CELERY_TASK_ID_TAG, 'unknown')}, executed by {held_by}"

"""The Celery application: its configuration, shared by launcher and workers, and how a worker executes a run.

A worker is started by `celery --app snapshot_pipeline.orchestration.instance.celery_app worker`; needs the extra
`celery`. Celery delivers a run, and delivers it again if a worker died before the run began. A run that began and
failed is retried by Dagster only, as a new run (`run_retries` in dagster.yaml).
See deploy/celery/README.md and https://docs.dagster.io/integrations/libraries/celery.
"""

from __future__ import annotations

import logging
import os
from functools import cache
from typing import Any

import dagster as dg
from celery import Celery, Task
from celery.exceptions import Reject
from celery.signals import worker_process_init
from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_execute_job_task

from snapshot_pipeline.orchestration.instance.dagster_internals import FINISHED_STATUSES, ExecuteRunArgs, unpack_value
from snapshot_pipeline.orchestration.instance.run_lock import run_lock
from snapshot_pipeline.postgres.errors import is_transient
from snapshot_pipeline.settings import Settings, SettingsError, load_settings
from snapshot_pipeline.store.locks import LockedError

QUEUE = "dagster"

_SCHEMES = ("redis://", "rediss://")

CONFIGURATION: dict[str, Any] = {
    # A message is acknowledged when its run is over, so that it is delivered to another worker if the first one dies
    # before the run has begun. The message of a long run is delivered again, too; that worker finds the run locked and
    # drops the message.
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "broker_transport_options": {
        "visibility_timeout": 60,
        "unacked_restore_interval": 10,  # together with the next option: check every ten seconds
        "unacked_restore_throttle": 1,
        "socket_keepalive": True,
        "socket_connect_timeout": 5,
        "connect_retries_timeout": 120,
        "interval_max": 1,
    },
    # A worker never fetches a run in advance: other workers may be idle.
    "worker_prefetch_multiplier": 1,
    "worker_concurrency": 1,
    "worker_max_tasks_per_child": 1,  # each run gets a new process
    "worker_redirect_stdouts": False,  # Dagster keeps a run's output itself
    "task_ignore_result": True,  # Dagster's database has the result
    # Wait for a Redis that restarts: a launch for two minutes, whether its connection is lost (this option) or not yet
    # open (`connect_retries_timeout`), a worker forever.
    "task_publish_retry_policy": {"max_retries": 120, "interval_start": 1, "interval_step": 0, "interval_max": 1},
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
}

_LOG = logging.getLogger(__name__)


def broker_url(settings: Settings) -> str:
    """Return the URL of Redis.

    Raises:
        SettingsError: SNAPSHOT_CELERY_BROKER_URL is missing or not a Redis URL, or the database is the embedded one.
    """
    given = settings.celery_broker_url.get_secret_value() if settings.celery_broker_url else None
    if given is None or not given.startswith(_SCHEMES):
        problem = "is not set" if given is None else f"begins with {given.partition(':')[0]}:"
        raise SettingsError(
            f"SNAPSHOT_CELERY_BROKER_URL {problem}; expected redis://:password@host:6379/0, or rediss:// for TLS, "
            "because dagster.yaml sends runs to Celery workers"
        )
    if settings.database_url is None:
        raise SettingsError(
            "SNAPSHOT_DATABASE_URL is not set, and the embedded server serves one machine only; expected a database "
            "that all Celery workers can connect to"
        )
    return given


class LockedRunTask(Task):  # type: ignore[misc]  # Celery has no types
    """Base of dagster-celery's task: executes a run in this process under the run's lock, if it has not begun yet."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Execute the run in `execute_job_args_packed`, or skip it."""
        run_id = unpack_value(keywords["execute_job_args_packed"], as_type=ExecuteRunArgs).run_id
        try:
            with (
                dg.DagsterInstance.get() as instance,
                run_lock(load_settings(), run_id, lambda: _status_of(run_id, instance) not in FINISHED_STATUSES),
            ):
                if (status := _status_of(run_id, instance)) is dg.DagsterRunStatus.STARTING:
                    return super().__call__(*arguments, **keywords)
        except LockedError:
            _LOG.info("run %s is skipped: another worker executes it", run_id)
            return None
        except Exception as error:
            if is_transient(error):  # the database is down: back to the queue until it is up again
                raise Reject(type(error).__name__, requeue=True) from error
            raise
        # A run that began and is not finished has lost its worker: the daemon notices and retries it as a new run.
        _LOG.info("run %s is skipped: its status is %s", run_id, status.value)
        return None


def worker_app(settings: Settings) -> Celery:
    """Build the application of a worker."""
    arguments = {"broker": broker_url(settings), "config_source": CONFIGURATION, "task_default_queue": QUEUE}
    application: Celery = make_app(arguments)  # type: ignore[no-untyped-call]
    create_execute_job_task(application, base=LockedRunTask, shared=False)  # type: ignore[arg-type]
    return application


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _leave_process_group(**_: Any) -> None:
    """Keep Ctrl-C in a worker's terminal from the run: it asks the worker to end when the run is over."""
    os.setpgid(0, 0)


def _status_of(run_id: str, instance: dg.DagsterInstance) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    return run.status if run else dg.DagsterRunStatus.CANCELED  # the run was deleted


@cache
def _app() -> Celery:
    return worker_app(load_settings())


def __getattr__(name: str) -> Any:
    """Build `app`, which the `celery` command looks up, on first access: an import reads no settings."""
    if name == "app":
        return _app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

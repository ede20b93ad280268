"""The Celery application that the launcher sends runs by and the workers execute them with.

Put here: what both must agree on, and how a worker takes a run: started by
`celery --app snapshot_pipeline.orchestration.instance.celery_app worker`.
Do not put here: launching, ending, and looking after runs (`celery_launcher`).
See deploy/celery/README.md and https://docs.dagster.io/integrations/libraries/celery.

Celery only hands a run over, and again where a worker died before the run began. That a run which began and ended badly
is retried, as a new run, is Dagster's affair alone (`run_retries` in dagster.yaml). Needs the extra `celery`.
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
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import unpack_value
from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_execute_job_task

from snapshot_pipeline.orchestration.instance.run_lock import run_lock
from snapshot_pipeline.postgres.errors import is_transient
from snapshot_pipeline.settings import Settings, SettingsError, load_settings
from snapshot_pipeline.store.locks import LockedError

QUEUE = "dagster"

_SCHEMES = ("redis://", "rediss://")

CONFIGURATION: dict[str, Any] = {
    # A message is Redis's until its run is over, so that one whose worker dies before the run has begun is handed to
    # another worker. One of a longer run is handed over as well, and put aside there, since the run is held.
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "broker_transport_options": {
        "visibility_timeout": 60,
        "unacked_restore_interval": 10,  # how often it is looked at; together with the next one, every ten seconds
        "unacked_restore_throttle": 1,
        "socket_keepalive": True,
        "socket_connect_timeout": 5,
        "connect_retries_timeout": 120,
        "interval_max": 1,
    },
    # A worker takes a run when it can execute it, never in advance: the others may be idle.
    "worker_prefetch_multiplier": 1,
    "worker_concurrency": 1,
    "worker_max_tasks_per_child": 1,  # a run is one process, which leaves nothing behind
    "worker_redirect_stdouts": False,  # Dagster keeps a run's output itself
    "task_ignore_result": True,  # Dagster's database has it
    # A Redis that restarts is waited for: by a launch for two minutes, whether its connection is lost (this) or it has
    # none yet (above), and by a worker for ever.
    "task_publish_retry_policy": {"max_retries": 120, "interval_start": 1, "interval_step": 0, "interval_max": 1},
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
}

_LOG = logging.getLogger(__name__)


def broker_url(settings: Settings) -> str:
    """Where the Redis is.

    Raises:
        SettingsError: No Redis is named, or no database that other machines can reach.
    """
    given = settings.celery_broker_url.get_secret_value() if settings.celery_broker_url else None
    if given is None or not given.startswith(_SCHEMES):
        found = "is not set" if given is None else f"begins with {given.partition(':')[0]}:"
        raise SettingsError(
            f"SNAPSHOT_CELERY_BROKER_URL {found}; expected redis://:password@host:6379/0, or rediss:// for TLS, since "
            "dagster.yaml has runs executed by Celery workers"
        )
    if settings.database_url is None:
        raise SettingsError(
            "SNAPSHOT_DATABASE_URL is not set, and an embedded server is of one machine; expected a database that all "
            "Celery workers reach"
        )
    return given


class HeldRun(Task):  # type: ignore[misc]  # Celery has no types
    """The library's task, which executes a run in this process; only for a run that nobody has begun, and held."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Execute the run of `execute_job_args_packed`, or leave it alone."""
        run_id = unpack_value(keywords["execute_job_args_packed"], as_type=ExecuteRunArgs).run_id
        try:
            with (
                dg.DagsterInstance.get() as instance,
                run_lock(load_settings(), run_id, lambda: _status_of(run_id, instance) not in FINISHED_STATUSES),
            ):
                if (status := _status_of(run_id, instance)) is dg.DagsterRunStatus.STARTING:
                    return super().__call__(*arguments, **keywords)
        except LockedError:
            _LOG.info("run %s is being executed by another worker, and left to it", run_id)
            return None
        except Exception as error:
            if is_transient(error):  # the database stays away: to the queue, until it is back
                raise Reject(type(error).__name__, requeue=True) from error
            raise
        # What began and is not finished has lost its worker: the daemon sees it and retries it as a run of its own.
        _LOG.info("run %s is %s and left alone", run_id, status.value)
        return None


def worker_app(settings: Settings) -> Celery:
    """The application of a worker."""
    arguments = {"broker": broker_url(settings), "config_source": CONFIGURATION, "task_default_queue": QUEUE}
    made: Celery = make_app(arguments)  # type: ignore[no-untyped-call]
    create_execute_job_task(made, base=HeldRun, shared=False)  # type: ignore[arg-type]
    return made


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _stand_apart(**_: Any) -> None:
    """Ctrl-C in a worker's terminal asks the worker to end when its run is over; it must not reach the run."""
    os.setpgid(0, 0)


def _status_of(run_id: str, instance: dg.DagsterInstance) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    return run.status if run else dg.DagsterRunStatus.CANCELED  # somebody has deleted it


@cache
def _app() -> Celery:
    return worker_app(load_settings())


def __getattr__(name: str) -> Any:
    """`app`, which Celery's command looks for, made when it is asked for: an import reads no settings."""
    if name == "app":
        return _app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Dagster's event log is kept from growing for ever: log lines and technical events go, what anybody asks for stays.

Put here: which of Dagster's rows and files have had their time. Do not put here: our own tables (`store.retention`),
or ticks, for which Dagster has a retention of its own (`dagster.yaml`).

Dagster 1.13 has no such thing itself, so this leans on its tables; a test on a real instance shows that no day turns
missing, no check result vanishes and no run changes its state. See dagster/_core/storage/event_log/schema.py.
"""

from __future__ import annotations

import shutil
from datetime import datetime, timezone
from pathlib import Path

import dagster as dg
from dagster import DagsterEventType
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.runs.schema import RunsTable
from sqlalchemy import delete, exists, func, or_, select

ROWS_AT_A_TIME = 10_000
"""Rows that one transaction looks at."""

# Named one by one, so that a kind of event that a later Dagster brings stays. What a run's page, its statistics, a
# partition's state, a check's history and the sensors read is not among them: the states of runs and steps,
# materializations and planned ones, observations, checks and planned ones.
_NOISE = frozenset(
    {
        DagsterEventType.ENGINE_EVENT,
        DagsterEventType.LOGS_CAPTURED,
        DagsterEventType.STEP_WORKER_STARTING,
        DagsterEventType.STEP_WORKER_STARTED,
        DagsterEventType.RESOURCE_INIT_STARTED,
        DagsterEventType.RESOURCE_INIT_SUCCESS,
        DagsterEventType.RESOURCE_INIT_FAILURE,
        DagsterEventType.STEP_INPUT,
        DagsterEventType.STEP_OUTPUT,
        DagsterEventType.LOADED_INPUT,
        DagsterEventType.HANDLED_OUTPUT,
        DagsterEventType.OBJECT_STORE_OPERATION,
        DagsterEventType.ASSET_STORE_OPERATION,
    }
)


def remove_old_log_rows(instance: dg.DagsterInstance, before: datetime) -> int:
    """Remove log lines and technical events of finished runs, in small transactions, oldest first.

    After an interruption the next call goes on. A run that is not finished keeps all of its rows, however old.

    Args:
        instance: With its records in PostgreSQL, as `dagster.yaml` says.
        before: Events of this instant and later stay.

    Returns:
        The rows removed.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return 0  # an instance of another kind, as in some tests, lives for minutes
    log = SqlEventLogStorageTable
    naive = before.astimezone(timezone.utc).replace(tzinfo=None)  # as Dagster keeps them
    at_work = exists().where(
        RunsTable.c.run_id == log.c.run_id, RunsTable.c.status.not_in([status.value for status in FINISHED_STATUSES])
    )
    noise = or_(log.c.dagster_event_type.is_(None), log.c.dagster_event_type.in_([kind.value for kind in _NOISE]))
    removed, done = 0, 0
    while True:
        ids = select(log.c.id, log.c.timestamp).where(log.c.id > done).order_by(log.c.id).limit(ROWS_AT_A_TIME)
        chunk = ids.subquery()
        with storage.index_transaction() as connection:
            last, oldest = connection.execute(select(func.max(chunk.c.id), func.min(chunk.c.timestamp))).one()
            if last is None or oldest >= naive:
                return removed
            old = delete(log).where(log.c.id > done, log.c.id <= last, log.c.timestamp < naive, noise, ~at_work)
            removed += connection.execute(old).rowcount
        done = last


def remove_old_output(logs: Path, before: datetime) -> int:
    """Remove what runs have written to standard output and error, a directory a run.

    Args:
        logs: Where Dagster keeps it: one directory a run, named by its id.
        before: A directory in which something was written at this instant or later stays.

    Returns:
        The directories removed.
    """
    old = [directory for directory in logs.glob("*") if directory.is_dir() and _last_write(directory) < before]
    for directory in old:
        shutil.rmtree(directory, ignore_errors=True)
    return len(old)


def _last_write(directory: Path) -> datetime:
    newest = max(path.stat().st_mtime for path in (directory, *directory.rglob("*")))
    return datetime.fromtimestamp(newest, timezone.utc)

"""Deletes old log lines and technical events from Dagster's event log, and old output files of runs.

Dagster 1.13 has no retention for its event log (only for ticks, see `dagster.yaml`), so this works on its tables. A
test on a real instance shows that no day becomes missing, no check result disappears and no run changes its status.
See dagster/_core/storage/event_log/schema.py.
"""

from __future__ import annotations

import shutil
from datetime import datetime, timezone
from pathlib import Path

import dagster as dg
from dagster import DagsterEventType
from sqlalchemy import delete, exists, func, or_, select

from snapshot_pipeline.orchestration.instance.dagster_internals import (
    FINISHED_STATUSES,
    RunsTable,
    SqlEventLogStorage,
    SqlEventLogStorageTable,
)

ROWS_PER_TRANSACTION = 10_000
"""Rows that one transaction examines."""

# An explicit list, so that the event types of a later Dagster are kept. It contains nothing that a run's page, its
# statistics, the state of a partition, the history of a check or a sensor reads: states of runs and steps,
# materializations and planned ones, observations, checks and planned ones.
_DELETABLE = frozenset(
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


def delete_old_log_rows(instance: dg.DagsterInstance, before: datetime) -> int:
    """Delete log lines and technical events of finished runs, in small transactions, oldest first.

    After an interruption the next call continues. A run in progress keeps all its rows, however old.

    Args:
        before: Events at or after this instant are kept.

    Returns:
        The number of deleted rows; 0 for an instance whose storage is not a database.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return 0  # an ephemeral instance, as in some tests
    log = SqlEventLogStorageTable
    before_utc = before.astimezone(timezone.utc).replace(tzinfo=None)  # Dagster's column is naive UTC
    in_progress = exists().where(
        RunsTable.c.run_id == log.c.run_id, RunsTable.c.status.not_in([status.value for status in FINISHED_STATUSES])
    )
    deletable = or_(
        log.c.dagster_event_type.is_(None), log.c.dagster_event_type.in_([kind.value for kind in _DELETABLE])
    )
    deleted, examined = 0, 0
    while True:
        rows = select(log.c.id, log.c.timestamp).where(log.c.id > examined).order_by(log.c.id)
        chunk = rows.limit(ROWS_PER_TRANSACTION).subquery()
        with storage.index_transaction() as connection:
            last, oldest = connection.execute(select(func.max(chunk.c.id), func.min(chunk.c.timestamp))).one()
            if last is None or oldest >= before_utc:
                return deleted
            old = delete(log).where(
                log.c.id > examined, log.c.id <= last, log.c.timestamp < before_utc, deletable, ~in_progress
            )
            deleted += connection.execute(old).rowcount
        examined = last


def delete_old_output(logs: Path, before: datetime) -> int:
    """Delete the standard output and error of runs.

    Args:
        logs: Directory with one directory per run, named after the run's id.
        before: A directory in which something was written at or after this instant is kept.

    Returns:
        The number of deleted directories.
    """
    old = [directory for directory in logs.glob("*") if directory.is_dir() and _last_write(directory) < before]
    for directory in old:
        shutil.rmtree(directory, ignore_errors=True)
    return len(old)


def _last_write(directory: Path) -> datetime:
    newest = max(path.stat().st_mtime for path in (directory, *directory.rglob("*")))
    return datetime.fromtimestamp(newest, timezone.utc)

"""Every private interface of Dagster 1.13 that this project uses; no other module imports `dagster._*`.

`pyproject.toml` pins Dagster. Each item has a test in `test_dagster_internals.py` that fails when Dagster changes it.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData
from dagster._core.events import JobFailureData
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._core.storage.compute_log_manager import CapturedLogContext
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    AUTO_RETRY_RUN_ID_TAG,
    BACKFILL_ID_TAG,
    PARTITION_NAME_TAG,
    WILL_RETRY_TAG,
)
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClassData, pack_value, unpack_value
from dagster_shared.error import SerializableErrorInfo

if TYPE_CHECKING:
    from dagster_postgres import DagsterPostgresStorage
    from sqlalchemy import Engine

__all__ = [
    "ASSET_PARTITION_RANGE_END_TAG",
    "ASSET_PARTITION_RANGE_START_TAG",
    "AUTO_RETRY_RUN_ID_TAG",
    "BACKFILL_ID_TAG",
    "FINISHED_STATUSES",
    "PARTITION_NAME_TAG",
    "WILL_RETRY_TAG",
    "AssetCheckEvaluationTargetMaterializationData",
    "BulkActionStatus",
    "BulkActionsFilter",
    "CapturedLogContext",
    "CheckRunHealthResult",
    "ConfigurableClassData",
    "DefaultRunLauncher",
    "ExecuteRunArgs",
    "LaunchRunContext",
    "LocalArtifactStorage",
    "LocalComputeLogManager",
    "PartitionBackfill",
    "RunsTable",
    "SerializableErrorInfo",
    "SqlEventLogStorage",
    "SqlEventLogStorageTable",
    "WorkerStatus",
    "pack_value",
    "quotes_an_error",
    "share_engine",
    "started_process_id",
    "unpack_value",
    "workspace_context",
]

_PROCESS_STARTED = re.compile(r"Started process for run \(pid: (\d+)\)")


def started_process_id(entry: dg.EventLogEntry) -> int | None:
    """Return the process id in the event with which Dagster's own launcher reports a new run process, else None."""
    match = _PROCESS_STARTED.match(entry.message)
    return int(match.group(1)) if match else None


def quotes_an_error(event: dg.DagsterEvent) -> bool:
    """Return whether the message of a run failure quotes the message of an error, which may quote students' rows."""
    data = event.event_specific_data
    return isinstance(data, JobFailureData) and bool(data.error)


def share_engine(storage: DagsterPostgresStorage, engine: Engine) -> None:
    """Make all three parts of a storage use one engine, instead of a new connection per query."""
    for part in (storage._run_storage, storage._event_log_storage, storage._schedule_storage):
        part._engine = engine


def workspace_context(instance: dg.DagsterInstance, workspace: Path) -> AbstractContextManager[Any]:
    """Return the context in which Dagster's web server works: the instance and the code locations of a file."""
    # Imported here, because the other processes need neither.
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget

    return WorkspaceProcessContext(
        instance, WorkspaceFileTarget([str(workspace)]), version=dg.__version__, code_server_log_level="warning"
    )

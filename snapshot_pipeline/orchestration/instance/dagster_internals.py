"""Every private interface of Dagster 1.13 that this project uses; no other module imports `dagster._*`.

`pyproject.toml` pins Dagster. Each item has a test in `test_dagster_internals.py` that fails when Dagster changes it.
"""

from __future__ import annotations

from collections.abc import Callable
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
    "record_processes",
    "share_engine",
    "unpack_value",
    "workspace_context",
]


def record_processes(storage: DagsterPostgresStorage, tags: Callable[[], dict[str, str]]) -> None:
    """Add the tags to each run when it starts, in the process that executes it, before its status is STARTED."""
    runs: Any = storage._run_storage
    handle = runs.handle_run_event

    def handle_and_tag(run_id: str, event: dg.DagsterEvent, update_timestamp: Any = None) -> None:
        if event.event_type is dg.DagsterEventType.RUN_START:
            runs.add_run_tags(run_id, tags())
        handle(run_id, event, update_timestamp)

    runs.handle_run_event = handle_and_tag


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

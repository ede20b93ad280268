"""Every private interface of Dagster 1.13 that this project uses; no other module imports `dagster._*`.

`pyproject.toml` pins Dagster. Each item has a test in `test_dagster_internals.py` that fails when Dagster changes it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData
from dagster._core.errors import DagsterUserCodeProcessError
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
    CODE_LOCATION_TAG,
    HIDDEN_TAG_PREFIX,
    MAX_RETRIES_TAG,
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
    "HIDDEN_TAG_PREFIX",
    "MAX_RETRIES_TAG",
    "PARTITION_NAME_TAG",
    "WILL_RETRY_TAG",
    "AssetCheckEvaluationTargetMaterializationData",
    "BulkActionStatus",
    "BulkActionsFilter",
    "CapturedLogContext",
    "CheckRunHealthResult",
    "CodeServer",
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
    "code_servers",
    "pack_value",
    "quotes_an_error",
    "record_processes",
    "refusal",
    "runs_of_location",
    "share_engine",
    "space_batched_events",
    "unpack_value",
    "workspace_context",
]


_REPOSITORY = "__repository__"
"""Dagster's name for the repository of a `Definitions` object."""

_EVENT_SECONDS = 0.001_01  # more than a millisecond after rounding


def record_processes(storage: DagsterPostgresStorage, tags: Callable[[], dict[str, str]]) -> None:
    """Add the tags to each run when it starts, in the process that executes it, before its status is STARTED."""
    runs: Any = storage._run_storage
    handle = runs.handle_run_event

    def handle_and_tag(run_id: str, event: dg.DagsterEvent, update_timestamp: Any = None) -> None:
        if event.event_type is dg.DagsterEventType.RUN_START:
            runs.add_run_tags(run_id, tags())
        handle(run_id, event, update_timestamp)

    runs.handle_run_event = handle_and_tag


def space_batched_events(storage: DagsterPostgresStorage) -> None:
    """Store the events of a batch with timestamps at least a millisecond apart, and none of them in the future.

    Dagster creates the materializations of a range 0.3 ms apart, and the UI lists one event per millisecond.
    """
    events: Any = storage._event_log_storage
    store_batch = events.store_event_batch

    def store_spaced(batch: Sequence[dg.EventLogEntry]) -> None:
        spaced: list[dg.EventLogEntry] = []
        for entry in batch:
            earliest = spaced[-1].timestamp + _EVENT_SECONDS if spaced else entry.timestamp
            spaced.append(entry._replace(timestamp=max(entry.timestamp, earliest)))
        if spaced:
            time.sleep(max(0.0, spaced[-1].timestamp - time.time()))
        store_batch(spaced)

    events.store_event_batch = store_spaced


@contextmanager
def runs_of_location(instance: dg.DagsterInstance, workspace: Path) -> Iterator[None]:
    """Let runs that this process creates belong to the code location of a workspace file, as runs of the daemon do.

    Without it they are missing on the timeline and on the pages of their jobs.
    """
    from dagster._core.remote_origin import RemoteJobOrigin, RemoteRepositoryOrigin
    from dagster._core.workspace.load_target import WorkspaceFileTarget

    location = WorkspaceFileTarget([str(workspace)]).create_origins()[0]
    storage: Any = instance.run_storage
    add_run = storage.add_run

    def add_run_of_location(run: dg.DagsterRun) -> dg.DagsterRun:
        origin = RemoteJobOrigin(RemoteRepositoryOrigin(location, _REPOSITORY), run.job_name)
        tags = {**run.tags, CODE_LOCATION_TAG: location.location_name}
        added: dg.DagsterRun = add_run(run.with_job_origin(origin).with_tags(tags))
        return added

    storage.add_run = add_run_of_location
    try:
        yield
    finally:
        storage.add_run = add_run


def quotes_an_error(event: dg.DagsterEvent) -> bool:
    """Return whether the message of a run failure quotes the message of an error, which may quote students' rows."""
    data = event.event_specific_data
    return isinstance(data, JobFailureData) and bool(data.error)


def refusal(text: str) -> dg.DagsterError:
    """Return an error that the UI shows as this text, without Dagster's module and without a stack trace."""
    info = SerializableErrorInfo(message=text, stack=[], cls_name=None)
    return DagsterUserCodeProcessError(text, user_code_process_error_infos=[info])  # type: ignore[no-untyped-call]


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


@dataclass(frozen=True)
class CodeServer:
    """A server of a code location: the arguments of `python -m` that start it, and its socket."""

    name: str
    arguments: tuple[str, ...]
    socket: Path


def code_servers(workspace: Path, directory: Path, shared: Path) -> list[CodeServer]:
    """Return the code servers of the locations in a workspace file, and write one in which they are named.

    With it the web server and the daemon use the same servers, instead of starting one each. A location that has a
    server already is copied.

    Args:
        workspace: The workspace file.
        directory: Where the servers create their sockets; private.
        shared: The workspace file that is written.
    """
    from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin
    from dagster._core.workspace.load_target import WorkspaceFileTarget

    servers, entries = [], []
    for number, origin in enumerate(WorkspaceFileTarget([str(workspace)]).create_origins()):
        if isinstance(origin, ManagedGrpcPythonEnvCodeLocationOrigin):
            socket = directory / str(number)
            target = origin.loadable_target_origin
            arguments = ("dagster", "code-server", "start", "--socket", str(socket), "--log-level", "warning")
            name = ("--location-name", origin.location_name, "--inject-env-vars-from-instance")
            servers.append(CodeServer(origin.location_name, (*arguments, *name, *target.get_cli_args()), socket))
            metadata = target.as_dict
            entry = {"location_name": origin.location_name, "socket": str(socket), "additional_metadata": metadata}
        else:
            fields = ("location_name", "host", "port", "socket", "additional_metadata")
            entry = {field: value for field in fields if (value := getattr(origin, field, None)) is not None}
        entries.append({"grpc_server": entry})
    shared.write_text(json.dumps({"load_from": entries}), encoding="utf-8")  # JSON is YAML
    return servers

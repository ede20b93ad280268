"""The private interfaces of Dagster: each test fails when a new version changes what we rely on."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from dagster._cli.code_server import start_command
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.launcher import RunLauncher
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._scheduler import scheduler
from dagster._utils.error import serializable_error_info_from_exc_info
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import create_engine, event

from snapshot_pipeline.orchestration.instance import dagster_internals as internals
from snapshot_pipeline.orchestration.names import LATE_DATA_PRIORITY, PRIORITY_TAG, SCHEDULE_PRIORITY
from snapshot_pipeline.orchestration.partitions import range_tags
from snapshot_pipeline_tests.installation import PROJECT, TestInstallation

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dg.op
def fails() -> None:
    raise ValueError("student 17")


@dg.job(executor_def=dg.in_process_executor)
def failing_job() -> None:
    fails()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def imported_modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def test_only_one_module_imports_private_modules_of_dagster() -> None:
    package = PROJECT / "snapshot_pipeline"
    importing = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for module in imported_modules(node)
        if module.startswith("dagster._")
    }
    assert importing == {"orchestration/instance/dagster_internals.py"}


def test_a_run_failure_quotes_the_error_that_caused_it(instance: dg.DagsterInstance) -> None:
    result = failing_job.execute_in_process(instance=instance, raise_on_error=False, run_config=QUIET)
    (failure,) = [event for event in result.all_events if event.event_type is dg.DagsterEventType.RUN_FAILURE]
    assert internals.quotes_an_error(failure)
    run = instance.create_run_for_job(failing_job)
    instance.report_run_failed(run, "the process is gone")
    (entry,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert not internals.quotes_an_error(entry.get_dagster_event())


def test_a_refusal_is_shown_as_its_text_alone() -> None:
    with pytest.raises(dg.DagsterError, match=r"^the day is wrong$") as refused:
        raise internals.refusal("the day is wrong")
    shown = serializable_error_info_from_exc_info((refused.type, refused.value, refused.tb))
    assert (shown.message, shown.stack, shown.cause, shown.context) == ("the day is wrong", [], None, None)


def test_all_parts_of_a_storage_can_share_one_engine(installation: TestInstallation) -> None:
    url = installation.dagster_url
    storage = DagsterPostgresStorage(url.render_as_string(hide_password=False), should_autocreate_tables=False)
    parts = (storage.run_storage, storage.event_log_storage, storage.schedule_storage)
    assert all(hasattr(part, "_engine") for part in parts)
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    statements: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    internals.share_engine(storage, engine)
    counts = []
    for query in (
        storage.run_storage.get_runs_count,
        storage.event_log_storage.get_concurrency_keys,
        storage.schedule_storage.all_instigator_state,
    ):
        query()
        counts.append(len(statements))
    engine.dispose()
    assert 0 < counts[0] < counts[1] < counts[2]


def test_the_default_launcher_has_no_health_check_of_its_own() -> None:
    """If Dagster adds one, `instance.launcher` is no longer needed."""
    assert internals.DefaultRunLauncher.supports_check_run_worker_health is RunLauncher.supports_check_run_worker_health
    assert {"RUNNING", "FAILED"} <= set(internals.WorkerStatus.__members__)


def test_the_run_arguments_of_celery_messages_can_be_packed(instance: dg.DagsterInstance) -> None:
    parameters = list(inspect.signature(internals.ExecuteRunArgs.__new__).parameters)[1:5]
    assert parameters == ["job_origin", "run_id", "instance_ref", "set_exit_code_on_failure"]
    data = internals.AssetCheckEvaluationTargetMaterializationData(storage_id=1, run_id="a", timestamp=2.0)
    assert internals.unpack_value(internals.pack_value(data)) == data


def test_the_tags_and_final_statuses_of_runs_are_the_known_ones() -> None:
    day = date(2026, 2, 1)
    assert {internals.ASSET_PARTITION_RANGE_START_TAG, internals.ASSET_PARTITION_RANGE_END_TAG} <= set(
        range_tags(day, day)
    )
    assert internals.PARTITION_NAME_TAG == "dagster/partition"
    assert internals.AUTO_RETRY_RUN_ID_TAG == "dagster/auto_retry_run_id"
    assert internals.WILL_RETRY_TAG == "dagster/will_retry"
    assert {status.value for status in internals.FINISHED_STATUSES} == {"SUCCESS", "FAILURE", "CANCELED"}


def test_queued_runs_start_by_priority_and_a_run_without_one_has_0(instance: dg.DagsterInstance) -> None:
    backfill, late, night = (
        instance.create_run_for_job(failing_job, tags={PRIORITY_TAG: priority} if priority else {})
        for priority in (None, LATE_DATA_PRIORITY, SCHEDULE_PRIORITY)
    )
    queue = QueuedRunCoordinatorDaemon(interval_seconds=1)._priority_sort([backfill, late, night])
    assert [run.run_id for run in queue] == [night.run_id, late.run_id, backfill.run_id]


def test_a_tick_of_a_schedule_that_fails_is_evaluated_again(installation: TestInstallation) -> None:
    assert installation.instance.scheduler.max_tick_retries == 60
    assert "latest_tick.failure_count <= max_tick_retries" in inspect.getsource(scheduler)


def test_a_run_that_fails_before_its_first_step_is_retried_with_all_steps(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(failing_job)
    instance.report_run_failed(run)
    failed = instance.get_run_by_id(run.run_id)
    assert failed is not None
    steps, _ = KnownExecutionState.build_resume_retry_reexecution(instance, failed)
    assert steps == ["fails"]


def test_the_event_log_has_the_columns_that_log_retention_uses() -> None:
    assert {"id", "run_id", "timestamp", "dagster_event_type"} <= set(internals.SqlEventLogStorageTable.c.keys())
    assert {"run_id", "status"} <= set(internals.RunsTable.c.keys())


def test_the_constructors_of_local_storage_take_a_base_directory() -> None:
    for storage in (internals.LocalArtifactStorage, internals.LocalComputeLogManager):
        assert {"base_dir", "inst_data"} <= set(inspect.signature(storage).parameters)
    assert list(inspect.signature(internals.LocalComputeLogManager.capture_logs).parameters) == ["self", "log_key"]


def test_code_servers_are_those_of_the_workspace_under_the_same_names(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace.yaml"
    remote = "  - grpc_server: {host: 10.0.0.1, port: 4266, location_name: remote}\n"
    workspace.write_text((PROJECT / "workspace.yaml").read_text() + remote)
    shared = tmp_path / "shared.yaml"
    (server,) = internals.code_servers(workspace, tmp_path, shared)
    assert server.name == "snapshot_pipeline"
    assert list(server.arguments[:3]) == ["dagster", "code-server", "start"]
    assert list(server.arguments[-2:]) == ["-m", "snapshot_pipeline.definitions"]
    known = {option for parameter in start_command.params for option in parameter.opts}
    assert {argument for argument in server.arguments if argument.startswith("-")} <= known
    origins = {origin.location_name: origin for origin in WorkspaceFileTarget([str(shared)]).create_origins()}
    assert origins["snapshot_pipeline"].socket == str(server.socket)
    assert (origins["remote"].host, origins["remote"].port) == ("10.0.0.1", 4266)

"""What a Celery worker does with a run that Redis delivers, and the settings that it needs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin

from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.instance import celery_launcher
from snapshot_pipeline.orchestration.instance.celery_app import broker_url, worker_app
from snapshot_pipeline.orchestration.instance.dagster_internals import ExecuteRunArgs, WorkerStatus, pack_value
from snapshot_pipeline.orchestration.instance.run_lock import run_lock
from snapshot_pipeline.settings import SettingsError, load_settings
from snapshot_pipeline_tests.installation import PROJECT, TestInstallation

ORIGIN = JobPythonOrigin(
    "daily_checks_job",
    RepositoryPythonOrigin(
        sys.executable, ModuleCodePointer("snapshot_pipeline.definitions", "defs"), None, None, None
    ),
)
NOWHERE = "redis://:secret@127.0.0.1:1/0"  # what is tested here asks no Redis


def handed_over(installation: TestInstallation, run: dg.DagsterRun) -> Any:
    """What the worker does with the message about a run."""
    app = worker_app(load_settings(celery_broker_url=NOWHERE))
    message = ExecuteRunArgs(ORIGIN, run.run_id, installation.instance.get_ref())
    return app.tasks["execute_job"](execute_job_args_packed=pack_value(message))


def run_in(installation: TestInstallation, status: dg.DagsterRunStatus) -> dg.DagsterRun:
    job = build_defs(installation.settings).resolve_job_def("daily_checks_job")
    return installation.instance.create_run_for_job(job, status=status)


def was_not_executed(installation: TestInstallation, run: dg.DagsterRun) -> bool:
    return not installation.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE])
def test_a_run_that_has_already_begun_is_skipped(installation: TestInstallation, status: dg.DagsterRunStatus) -> None:
    """Redis delivers a message again when its worker is silent; the daemon retries such a run as a new one."""
    run = run_in(installation, status)
    assert handed_over(installation, run) is None
    after = installation.instance.get_run_by_id(run.run_id)
    assert after is not None
    assert after.status is status
    assert was_not_executed(installation, run)


def test_a_run_of_another_worker_is_skipped(installation: TestInstallation) -> None:
    run = run_in(installation, dg.DagsterRunStatus.STARTING)
    with run_lock(installation.settings, run.run_id, lambda: True):
        assert handed_over(installation, run) is None
    assert was_not_executed(installation, run)


def test_a_deleted_run_is_skipped(installation: TestInstallation) -> None:
    run = run_in(installation, dg.DagsterRunStatus.STARTING)
    installation.instance.delete_run(run.run_id)
    assert handed_over(installation, run) is None


def test_an_unlocked_run_counts_as_dead_after_the_grace_period(
    installation: TestInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNAPSHOT_CELERY_BROKER_URL", NOWHERE)
    launcher = celery_launcher.CeleryLauncher()
    run = run_in(installation, dg.DagsterRunStatus.STARTED).with_tags({"dagster-celery/task_id": "one"})
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    monkeypatch.setattr(celery_launcher, "GRACE_SECONDS", 0.0)
    with run_lock(installation.settings, run.run_id, lambda: True):
        assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    assert launcher.check_run_worker_health(run).status is WorkerStatus.FAILED
    assert launcher.check_run_worker_health(run.with_tags({})).status is WorkerStatus.RUNNING  # of the command line


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "SNAPSHOT_CELERY_BROKER_URL is not set; expected redis://"),
        (
            {"celery_broker_url": "amqp://secret@host"},
            "SNAPSHOT_CELERY_BROKER_URL begins with amqp:; expected redis://",
        ),
        (
            {"celery_broker_url": NOWHERE},
            "SNAPSHOT_DATABASE_URL is not set, and the embedded server",
        ),
    ],
)
def test_a_missing_setting_is_one_line_without_secrets(
    given: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # no .env here
    for name in ("SNAPSHOT_DATABASE_URL", "SNAPSHOT_CELERY_BROKER_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsError, match=message) as error:
        broker_url(load_settings(**given))
    assert "secret" not in str(error.value)


def test_the_celery_deployment_differs_only_in_its_worker_settings() -> None:
    """Otherwise a setting that is changed in one of the files is forgotten in the other."""
    local, celery = (
        yaml.safe_load((folder / "dagster.yaml").read_text(encoding="utf-8"))
        for folder in (PROJECT, PROJECT / "deploy" / "celery")
    )
    different = {name for name in local.keys() | celery.keys() if local.get(name) != celery.get(name)}
    assert different == {"storage", "run_launcher", "run_monitoring"}
    assert celery["storage"]["custom"].pop("config") == {
        "runs_writing_snapshots": celery["concurrency"]["runs"]["max_concurrent_runs"]
    }
    assert celery["storage"] == local["storage"]
    local_workspace, workspace = (folder / "workspace.yaml" for folder in (PROJECT, PROJECT / "deploy" / "celery"))
    assert local_workspace.read_text() == workspace.read_text()

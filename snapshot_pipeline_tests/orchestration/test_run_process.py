"""A run is failed only if its process is known to have ended: the lock of a file says so, and nothing else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import pytest

from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.instance import run_process
from snapshot_pipeline.orchestration.instance.dagster_internals import WorkerStatus
from snapshot_pipeline.orchestration.instance.launcher import LocalRunLauncher, health_of_process
from snapshot_pipeline.orchestration.instance.run_process import PROCESS_TAG, has_ended, this_process
from snapshot_pipeline_tests.installation import PROJECT, TestInstallation

OTHER_PROCESS = f"""
import sys
from pathlib import Path
from {run_process.__name__} import PROCESS_TAG, this_process
print(this_process(Path(sys.argv[1]))[PROCESS_TAG], flush=True)
sys.stdin.read()
"""
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def run_of(tag: str) -> dg.DagsterRun:
    return dg.DagsterRun("any_job", tags={PROCESS_TAG: tag})


@contextmanager
def other_process(home: Path, *wrapper: str) -> Iterator[tuple[subprocess.Popen[str], dg.DagsterRun]]:
    """Start a process that executes a run; kill it at the end."""
    process = subprocess.Popen(
        [*wrapper, sys.executable, "-c", OTHER_PROCESS, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        yield process, run_of(process.stdout.readline().strip())
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_run_counts_as_running_until_its_process_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SNAPSHOT_HOME", str(tmp_path))
    launcher = LocalRunLauncher()
    with other_process(tmp_path) as (process, run):
        assert f"process {process.pid}" in run.tags[PROCESS_TAG]
        assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
        process.send_signal(signal.SIGSTOP)  # it may go on
        assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
        process.kill()
        process.wait()
        health = launcher.check_run_worker_health(run)
    assert health.status is WorkerStatus.FAILED
    assert health.msg == f"its process has ended ({run.tags[PROCESS_TAG]})"


def test_a_clock_that_moves_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The boot time moves in a container, when the clock is set, and after a pause: start times moved with it."""
    with other_process(tmp_path) as (_, run):
        for moved in (0.0, time.time() + 10 * 365 * 86_400):
            monkeypatch.setattr(time, "time", lambda moved=moved: moved)
            assert not has_ended(tmp_path, run)


def test_a_process_of_another_pid_namespace_is_seen(tmp_path: Path):
    """Its process id means another process here, or none."""
    wrapper = ("unshare", "--pid", "--fork", "--kill-child")
    if (
        shutil.which("unshare") is None
        or subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no PID namespace can be created; get it by running as root with CAP_SYS_ADMIN")
    with other_process(tmp_path, *wrapper) as (process, run):
        assert int(run.tags[PROCESS_TAG].split()[-1]) < process.pid
        assert not has_ended(tmp_path, run)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert has_ended(tmp_path, run)


@pytest.mark.parametrize("tag", ["", f"{'0' * 32} on here, process 1", "../processes on here, process 1", "host 1 2.0"])
def test_a_process_of_which_nothing_is_known_counts_as_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tag: str
):
    monkeypatch.setenv("SNAPSHOT_HOME", str(tmp_path))
    this_process(tmp_path)
    assert health_of_process(run_of(tag)).status is WorkerStatus.RUNNING
    assert health_of_process(dg.DagsterRun("any_job")).status is WorkerStatus.RUNNING


def test_a_home_that_cannot_be_written_fails_no_run(tmp_path: Path):
    (tmp_path / "home").write_text("a file")
    tag = this_process(tmp_path / "home")[PROCESS_TAG]
    assert tag.startswith("unknown on ")
    assert not has_ended(tmp_path / "home", run_of(tag))


def test_old_files_of_ended_processes_are_deleted(tmp_path: Path):
    directory = tmp_path / "processes"
    with other_process(tmp_path) as (_, living):
        with other_process(tmp_path) as (_, ended):
            pass
        for file in directory.iterdir():
            os.utime(file, (0, 0))
        this_process(tmp_path)
        kept = {file.name for file in directory.iterdir()}
        assert living.tags[PROCESS_TAG].split()[0] in kept
        assert ended.tags[PROCESS_TAG].split()[0] not in kept
        assert all(file.stat().st_mode & 0o077 == 0 for file in (directory, *directory.iterdir()))


def test_the_process_is_recorded_before_the_run_is_started(installation: TestInstallation):
    """A process that ends just after the start must be known, or its run would count as running for hours."""
    instance = installation.instance
    seen: list[dg.DagsterRunStatus] = []
    runs = instance.run_storage
    add_tags = runs.add_run_tags

    def add_run_tags(run_id: str, tags: dict[str, str]) -> None:
        add_tags(run_id, tags)
        if PROCESS_TAG in tags:
            run = instance.get_run_by_id(run_id)
            assert run is not None
            seen.append(run.status)

    runs.add_run_tags = add_run_tags  # type: ignore[method-assign]
    job = build_defs(installation.settings).resolve_job_def("housekeeping_job")
    inherited = {PROCESS_TAG: "0 on another machine, process 1"}  # a retry has the tags of the first run
    result = job.execute_in_process(instance=instance, run_config=QUIET, tags=inherited)
    assert len(seen) == 1
    assert seen[0] in (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING)
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags[PROCESS_TAG] == this_process(installation.settings.home)[PROCESS_TAG]
    assert not has_ended(installation.settings.home, run)  # this process goes on

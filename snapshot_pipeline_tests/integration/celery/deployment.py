"""The deployment of `deploy/celery`, started by the commands of its README: Redis, workers, daemon, web server."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import psutil
import pytest
import redis
from sqlalchemy import URL

from snapshot_pipeline.orchestration.instance.run_lock import run_lock_holders
from snapshot_pipeline.platform.sample import SampleOptions, load_sample
from snapshot_pipeline.settings import Settings, load_settings
from snapshot_pipeline_tests.installation import PROJECT
from snapshot_pipeline_tests.needed_programs import needed_program
from snapshot_pipeline_tests.pipeline.installations import new_database
from snapshot_pipeline_tests.running_dagster import RunningDagster
from snapshot_pipeline_tests.waiting import wait_for

HOME = PROJECT / "deploy" / "celery"
CELERY = "celery --app snapshot_pipeline.orchestration.instance.celery_app"
PASSWORD = "celery-secret-7f3a"  # noqa: S105  # of a server that lives for minutes
FIRST, LAST = date(2025, 10, 1), date(2026, 2, 28)
"""Five months, and so five runs."""


@dataclass(frozen=True)
class Worker:
    """A Celery worker.

    Attributes:
        process: The process that takes runs from Redis; a child process executes them.
        log: Its log file.
    """

    process: psutil.Process
    log: Path


@dataclass(frozen=True)
class Deployment:
    """The running deployment.

    Attributes:
        settings: The installation's settings.
        url: The platform's database, which holds our tables too.
        dagster: The web server, with its GraphQL API.
        workers: The two workers.
        logs: Directory with one log file per process.
    """

    settings: Settings
    url: URL
    dagster: RunningDagster
    workers: tuple[Worker, ...]
    logs: Path

    def executed_by(self, worker: Worker) -> tuple[str, psutil.Process] | None:
        """Return the run that a child of a worker executes, and the child; None if there is none."""
        with contextlib.suppress(psutil.NoSuchProcess):
            children = {child.pid: child for child in worker.process.children()}
            for run in self.runs(dg.DagsterRunStatus.STARTED):
                for holder in run_lock_holders(self.settings, run.run_id):
                    match = re.search(r", (\d+), process", holder)
                    assert match, holder
                    if child := children.get(int(match[1])):
                        return run.run_id, child
        return None

    def runs(self, *statuses: dg.DagsterRunStatus) -> list[dg.DagsterRun]:
        """Return the runs in one of these states; all runs without arguments."""
        return list(self.dagster.instance.get_runs(dg.RunsFilter(statuses=statuses or None)))


def readme_command(beginning: str) -> list[str]:
    """Return the command of the README with this beginning, with environment variables expanded."""
    lines = (HOME / "README.md").read_text(encoding="utf-8").splitlines()
    (line,) = {line for line in lines if f"{line} ".startswith(f"{beginning} ")}
    name, *arguments = shlex.split(os.path.expandvars(line), comments=True)
    beside_python = Path(sys.executable).with_name(name)
    return [str(beside_python) if beside_python.exists() else name, *arguments]


@contextmanager
def new_deployment(server_url: URL, home: Path) -> Iterator[Deployment]:
    """Start the deployment with a platform of sample students; stop and delete everything at the end."""
    port = free_port()
    with ExitStack() as stack:
        url, dagster_url = (stack.enter_context(new_database(server_url)) for _ in range(2))
        load_sample(SampleOptions(80, 180, 5, date(2026, 3, 1), 0.05, ZoneInfo("UTC")), url, "public")
        variables = {
            "DAGSTER_HOME": str(HOME),
            "DAGSTER_EVENT_BATCH_SIZE": "50",
            "PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")]),
            "SNAPSHOT_HOME": str(home),
            "SNAPSHOT_DATABASE_URL": url.render_as_string(hide_password=False),
            "SNAPSHOT_DAGSTER_DATABASE_URL": dagster_url.render_as_string(hide_password=False),
            "SNAPSHOT_CELERY_BROKER_URL": f"redis://:{PASSWORD}@127.0.0.1:{port}/0",
            "SNAPSHOT_RUN_LOCK_SECONDS": "1800",
            "SNAPSHOT_START_DATE": FIRST.isoformat(),
            "SNAPSHOT_SCHEDULES": "off",
        }
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in variables.items():
            patch.setenv(name, value)
        start_redis(stack, home, port)
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(HOME)))
        workers = [_start_worker(stack, home, name) for name in ("worker-1", "worker-2")]
        _start(stack, readme_command("dagster-daemon"), home / "daemon.log")
        _, *web = readme_command("snapshot-pipeline webserver")
        dagster = RunningDagster(instance, os.environ, home / "web.log", web)
        stack.callback(dagster.stop)
        for worker in workers:
            wait_for(lambda worker=worker: _is_ready(worker), "the worker is ready", 60)
        yield Deployment(load_settings(), url, dagster, tuple(workers), home)


def start_redis(stack: ExitStack, home: Path, port: int) -> psutil.Process:
    """Start a Redis with the configuration of the deployment and a password."""
    needed_program("redis-server", "apt-get install redis-server, or brew install redis")
    file = home / "redis.conf"
    file.write_text(f"include {HOME / 'redis.conf'}\nport {port}\nrequirepass {PASSWORD}\ndir {home}\n")
    program, *_ = readme_command("redis-server")
    process = _start(stack, [program, str(file)], home / "redis.log")

    def answers() -> bool | None:
        assert process.is_running(), (home / "redis.log").read_text()
        try:
            with redis.Redis(port=port, password=PASSWORD) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return None

    wait_for(answers, "Redis answers", 20)
    return process


def _start_worker(stack: ExitStack, home: Path, name: str) -> Worker:
    *command, _ = readme_command(f"{CELERY} worker")
    log = home / f"{name}.log"
    return Worker(_start(stack, [*command, f"{name}@%h"], log), log)


def _is_ready(worker: Worker) -> bool | None:
    assert worker.process.is_running(), worker.log.read_text()
    return "ready." in worker.log.read_text() or None


def _start(stack: ExitStack, command: list[str], log: Path) -> psutil.Process:
    with log.open("ab") as output:
        started = subprocess.Popen(
            command, cwd=PROJECT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    process = psutil.Process(started.pid)
    stack.callback(_end, started, process)
    return process


def _end(started: subprocess.Popen[bytes], process: psutil.Process) -> None:
    """Terminate a process, then kill what is left of it and its children."""
    family = [process]
    with contextlib.suppress(psutil.NoSuchProcess):
        family += process.children(recursive=True)
    started.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        started.wait(15)
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    started.wait(10)


def free_port() -> int:
    """Return an unused port on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])

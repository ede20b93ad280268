"""Where the time of a run goes, from launch to finish: `python -m benchmarks.launch_to_finished`.

Starts a temporary installation on the sample data (a private server, the Dagster UI, daemon and code server), launches
runs as the UI does, and reads the time of each stage from Dagster's events: queued, launched, process started, first
step started and ended, run finished. Also measured: the processor time of the run's process, the connections that all
processes opened to PostgreSQL in that time, less those opened when idle, and the events written. Then wall and
processor time of the commands. Prints medians; takes about three minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from statistics import median

import click
import dagster as dg
import psutil
import pytest
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, create_engine, text

from benchmarks.command_line import run_command
from snapshot_pipeline.embedded import EmbeddedServer
from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.orchestration.partitions import range_tags
from snapshot_pipeline.pipeline.periods import last_closed_day, last_closed_week
from snapshot_pipeline.settings import Settings, load_settings
from snapshot_pipeline_tests.installation import PROJECT
from snapshot_pipeline_tests.running_dagster import RunningDagster
from snapshot_pipeline_tests.waiting import wait_for

RANGE = 30
SETTLE_SECONDS = 2.0
"""After a run: the server counts a session when it ends, and the code server reaps the run's process by then."""

_STAGES = {
    "queued": dg.DagsterEventType.RUN_ENQUEUED,
    "launched": dg.DagsterEventType.RUN_STARTING,
    "process": dg.DagsterEventType.ENGINE_EVENT,  # the first one, logged when the run's process has started
    "run": dg.DagsterEventType.RUN_START,
    "step": dg.DagsterEventType.STEP_START,
    "step end": dg.DagsterEventType.STEP_SUCCESS,
    "finished": dg.DagsterEventType.RUN_SUCCESS,
}
_PROCESS = "Started process for run"


@dataclass(frozen=True)
class Launched:
    """One run.

    Attributes:
        stages: Seconds from the launch to each stage, by the names of `_STAGES`.
        processor_seconds: User and system time of the run's process.
        connections: Opened to both databases by all processes of Dagster, less those opened when idle.
        events: Rows of the run in Dagster's event log.
    """

    stages: Mapping[str, float]
    processor_seconds: float
    connections: float
    events: int


@dataclass(frozen=True)
class Called:
    """One call of the command line: seconds of wall time, seconds of user and system time, connections opened."""

    wall: float
    processor: float
    connections: int


@click.command()
@click.option("--repeat", type=click.IntRange(1, 50), default=5, show_default=True, help="How often each is measured.")
@click.option("--students", type=int, default=5_000, show_default=True, help="How many sample students.")
@click.option("--days", type=click.IntRange(45, 365), default=60, show_default=True, help="Days of their studies.")
@click.option("--batching/--no-batching", default=True, help="Whether DAGSTER_EVENT_BATCH_SIZE is left to us, or is 0.")
@click.option("--commands/--no-commands", default=True, help="Whether the command line is measured, too.")
def command(repeat: int, students: int, days: int, batching: bool, commands: bool) -> None:
    """Measure a day, a range of 30 days and a week from the launch to the finished run."""
    with _installation(batching) as (settings, server):
        _call("sample", "--students", str(students), "--days", str(days))
        called = _commands(settings, server, repeat) if commands else {}
        with _dagster(settings) as running:
            launched = _launches(settings, server, running, repeat)
    _print_launches(launched)
    if called:
        _print_commands(called)


@contextmanager
def _installation(batching: bool) -> Iterator[tuple[Settings, Engine]]:
    """Start an embedded server in a temporary home, and set the environment so that all processes find it."""
    with tempfile.TemporaryDirectory(prefix="launch_to_finished-") as home, pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("SNAPSHOT_", "DAGSTER_")):
                patch.delenv(name)
        # Installations keep their bytecode; without it every process would compile the package again.
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("PYTHONPATH", str(PROJECT))
        patch.setenv("SNAPSHOT_HOME", home)
        patch.setenv("SNAPSHOT_SCHEDULES", "off")
        patch.setenv("DAGSTER_HOME", str(PROJECT))
        if not batching:
            patch.setenv("DAGSTER_EVENT_BATCH_SIZE", "0")
        server = EmbeddedServer(Path(home))
        server.start()
        engine = create_engine(server.url("platform"), isolation_level="AUTOCOMMIT")
        try:
            yield load_settings(), engine
        finally:
            engine.dispose()
            server.delete()


@contextmanager
def _dagster(settings: Settings) -> Iterator[RunningDagster]:
    with dg.DagsterInstance.from_config(str(PROJECT)) as instance:
        running = RunningDagster(instance, os.environ, settings.home / "dev.log")
        try:
            yield running
        finally:
            running.stop()


def _launches(settings: Settings, server: Engine, running: RunningDagster, repeat: int) -> dict[str, list[Launched]]:
    last, week = last_closed_day(settings), last_closed_week(settings)
    everything = range_tags(week - timedelta(days=7), last)
    recommended = {"dagster/partition": week.isoformat()}
    _launch(
        running, server, "daily_snapshots_job", everything, 0.0
    )  # not counted: creates the tables, warms the caches
    _launch(running, server, "weekly_recommendations_job", recommended, 0.0)
    idle = _sessions_while_idle(server)
    launched: dict[str, list[Launched]] = {}
    day, month = range_tags(last, last), range_tags(last - timedelta(days=RANGE - 1), last)
    for what, job, tags, table in (
        ("one day", "daily_snapshots_job", day, "performance_snapshots"),
        ("one week", "weekly_recommendations_job", recommended, "adaptive_recommendations"),
        (f"{RANGE} days", "daily_snapshots_job", month, "performance_snapshots"),
    ):
        for _ in range(repeat):
            _empty(server, table, tags)
            launched.setdefault(what, []).append(_launch(running, server, job, tags, idle))
    return launched


def _empty(server: Engine, table: str, tags: Mapping[str, str]) -> None:
    """Delete the rows that the run will write, so that each run writes all of them."""
    condition = ""
    if first := tags.get("dagster/asset_partition_range_start"):
        condition = f" WHERE snapshot_date >= '{date.fromisoformat(first)}'"
    with server.connect() as connection:
        connection.execute(text(f"DELETE FROM {table}{condition}"))  # noqa: S608  # our own names, a date that was read
        connection.execute(text(f"VACUUM ANALYZE {table}"))


def _launch(running: RunningDagster, server: Engine, job: str, tags: Mapping[str, str], idle: float) -> Launched:
    code_server = _code_server()
    sessions, spent, began = _sessions(server), _spent_by_children(code_server), time.time()
    run_id = running.launch(job, tags)
    status = wait_for(lambda: running.finished(run_id), f"run {run_id} is finished", 120, pause=1.0)
    time.sleep(SETTLE_SECONDS)
    if status != "SUCCESS":
        raise SnapshotPipelineError(f"run {run_id} of {job} ended as {status}, expected SUCCESS")
    background = idle * (time.time() - began)
    opened = _sessions(server) - sessions - background
    return Launched(
        stages={name: moment - began for name, moment in _moments(running.instance, run_id).items()},
        processor_seconds=_spent_by_children(code_server) - spent,
        connections=opened,
        events=len(running.instance.all_logs(run_id)),
    )


def _moments(instance: dg.DagsterInstance, run_id: str) -> dict[str, float]:
    """Unix time at which each stage was reached."""
    found: dict[str, float] = {}
    for entry in instance.all_logs(run_id):
        for name, kind in _STAGES.items():
            is_it = entry.dagster_event is not None and entry.dagster_event.event_type == kind
            if is_it and (name != "process" or _PROCESS in entry.message):
                found.setdefault(name, entry.timestamp)
    return found


def _code_server() -> psutil.Process:
    """The process that starts the processes of runs."""
    family = psutil.Process().children(recursive=True)
    return next(process for process in family if "grpc" in process.cmdline() and "api" in process.cmdline())


def _spent_by_children(process: psutil.Process) -> float:
    """User and system time of the children that have exited."""
    times = process.cpu_times()
    return float(times.children_user + times.children_system)


def _sessions(server: Engine) -> int:
    with server.connect() as connection:
        return int(connection.execute(text("SELECT sum(sessions)::bigint FROM pg_stat_database")).scalar_one())


def _sessions_while_idle(server: Engine, seconds: float = 10.0) -> float:
    """Connections per second that the daemon, its sensors and the web server open while nothing runs."""
    before = _sessions(server)
    time.sleep(seconds)
    return (_sessions(server) - before) / seconds


def _commands(settings: Settings, server: Engine, repeat: int) -> dict[str, list[Called]]:
    """Time the everyday commands, with nothing else running."""
    last, week = last_closed_day(settings), last_closed_week(settings)
    days = range_tags(last, last)
    _call("materialize", "--from", str(week - timedelta(days=7)), "--to", str(last))
    measured: dict[str, list[Called]] = {}
    for arguments in (
        ["--help"],
        ["status"],
        ["db", "url"],
        ["materialize", "--from", str(last), "--to", str(last)],
        ["recommend", "--week", str(week)],
    ):
        for _ in range(repeat):
            if arguments[0] == "materialize":
                _empty(server, "performance_snapshots", days)
            before = _sessions(server)
            wall, processor = _call(*arguments)
            time.sleep(0.5)
            called = Called(wall, processor, _sessions(server) - before)
            measured.setdefault(" ".join(arguments[:2] if arguments[0] == "db" else arguments[:1]), []).append(called)
    return measured


def _call(*arguments: str) -> tuple[float, float]:
    """Wall time, and user and system time, of one call of the command line."""
    before, began = psutil.Process().cpu_times(), time.monotonic()
    subprocess.run(  # noqa: S603  # our own command
        [sys.executable, "-m", "snapshot_pipeline.cli", *arguments], check=True, cwd=PROJECT, stdout=subprocess.DEVNULL
    )
    after = psutil.Process().cpu_times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - began, float(spent)


def _print_launches(launched: Mapping[str, Sequence[Launched]]) -> None:
    table = Table(box=None, pad_edge=False, title="from the launch, seconds (medians)", title_justify="left")
    table.add_column("run of")
    for name in (*_STAGES, "processor", "connections", "events"):
        table.add_column(name, justify="right")
    for what, runs in launched.items():
        table.add_row(
            what,
            *(f"{median(run.stages[name] for run in runs):.2f}" for name in _STAGES),
            f"{median(run.processor_seconds for run in runs):.2f}",
            f"{median(run.connections for run in runs):.0f}",
            f"{median(run.events for run in runs):.0f}",
        )
    Console(width=120).print(table)
    for what, runs in launched.items():
        finished = sorted(run.stages["finished"] for run in runs)
        click.echo(f"{what}: finished after {', '.join(f'{seconds:.2f}' for seconds in finished)} s")


def _print_commands(called: Mapping[str, Sequence[Called]]) -> None:
    table = Table(box=None, pad_edge=False, title="snapshot-pipeline …, seconds (medians)", title_justify="left")
    table.add_column("command")
    for name in ("wall", "processor", "connections"):
        table.add_column(name, justify="right")
    for name, calls in called.items():
        table.add_row(
            name,
            f"{median(call.wall for call in calls):.2f}",
            f"{median(call.processor for call in calls):.2f}",
            f"{median(call.connections for call in calls):.0f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    run_command(command)

"""Ours once more, the whole of it: the command line's process, Dagster, the run, its checks, until the process ends.

Put here: how such a run is started. Do not put here: what `ours` times, which is the middle of it; and the way of a run
from the UI's launch through the queue: `benchmarks.launch_to_finished` takes that apart, where it is there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from benchmarks.contenders.ours import OursForDays, OursForWeek, RunFailedError
from benchmarks.contenders.protocol import OURS, Days, Run, Week
from benchmarks.contenders.tables import RECOMMENDATIONS, SNAPSHOTS, connected
from benchmarks.worlds import World

_PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class DagsterForDays:
    """`snapshot-pipeline materialize`: a run a month."""

    task: Days
    name: str = "ours through Dagster"
    schema: str = OURS
    compared: str = "true"

    def prepare(self) -> None:
        """As `ours`."""
        OursForDays(self.task).prepare()

    def clean(self) -> None:
        """As `ours`."""
        OursForDays(self.task).clean()

    def run(self) -> Run:
        """From the start of the process to its end."""
        seconds = _command(self.task.world, "materialize", "--from", str(self.task.first), "--to", str(self.task.last))
        return Run(seconds, _count(self.task.world, SNAPSHOTS), process_seconds=seconds)


@dataclass(frozen=True)
class DagsterForWeek:
    """`snapshot-pipeline recommend`."""

    task: Week
    name: str = "ours through Dagster"
    schema: str = OURS
    compared: str = "true"

    def prepare(self) -> None:
        """Ours has computed the days."""

    def clean(self) -> None:
        """As `ours`."""
        OursForWeek(self.task).clean()

    def run(self) -> Run:
        """From the start of the process to its end."""
        seconds = _command(self.task.world, "recommend", "--week", str(self.task.week_start))
        return Run(seconds, _count(self.task.world, RECOMMENDATIONS), process_seconds=seconds)


def _command(world: World, *arguments: str) -> float:
    settings = world.settings(OURS)
    variables = {
        "DAGSTER_HOME": str(_PROJECT),
        "SNAPSHOT_HOME": str(world.home),
        "SNAPSHOT_DATABASE_URL": world.url.render_as_string(hide_password=False),
        "SNAPSHOT_DAGSTER_DATABASE_URL": world.dagster_url.render_as_string(hide_password=False),
        "SNAPSHOT_TIMEZONE": settings.timezone,
        "SNAPSHOT_START_DATE": str(settings.start_date),
        "SNAPSHOT_PLATFORM_SCHEMA": settings.platform_schema,
        "SNAPSHOT_STORE_SCHEMA": settings.store_schema,
    }
    python_path = [str(_PROJECT), os.environ.get("PYTHONPATH")]
    began = time.monotonic()
    finished = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "snapshot_pipeline.cli", *arguments],
        env={**os.environ, **variables, "PYTHONPATH": os.pathsep.join(filter(None, python_path))},
        capture_output=True,
        check=False,
        text=True,
    )
    if finished.returncode:
        raise RunFailedError(f"{' '.join(arguments)} ended with {finished.returncode}: {finished.stderr[-2000:]}")
    return time.monotonic() - began


def _count(world: World, table: str) -> int:
    with connected(world, OURS) as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())  # noqa: S608

"""Our pipeline through Dagster: the whole process of the command, with Dagster, the run and its checks.

`benchmarks.launch_to_finished` measures a run launched in the UI.
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
from benchmarks.datasets import Dataset

_PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class DagsterForDays:
    """`snapshot-pipeline materialize`: one run per month."""

    task: Days
    name: str = "ours through Dagster"
    schema: str = OURS
    compared: str = "true"

    def prepare(self) -> None:
        """See `ours`."""
        OursForDays(self.task).prepare()

    def clean(self) -> None:
        """See `ours`."""
        OursForDays(self.task).clean()

    def run(self) -> Run:
        """Time the process from start to exit."""
        seconds = _command(
            self.task.dataset, "materialize", "--from", str(self.task.first), "--to", str(self.task.last)
        )
        return Run(seconds, _count(self.task.dataset, SNAPSHOTS), process_seconds=seconds)


@dataclass(frozen=True)
class DagsterForWeek:
    """`snapshot-pipeline recommend`."""

    task: Week
    name: str = "ours through Dagster"
    schema: str = OURS
    compared: str = "true"

    def prepare(self) -> None:
        """Do nothing: `ours` has computed the days."""

    def clean(self) -> None:
        """See `ours`."""
        OursForWeek(self.task).clean()

    def run(self) -> Run:
        """Time the process from start to exit."""
        seconds = _command(self.task.dataset, "recommend", "--week", str(self.task.week_start))
        return Run(seconds, _count(self.task.dataset, RECOMMENDATIONS), process_seconds=seconds)


def _command(dataset: Dataset, *arguments: str) -> float:
    settings = dataset.settings(OURS)
    variables = {
        "DAGSTER_HOME": str(_PROJECT),
        "SNAPSHOT_HOME": str(dataset.home),
        "SNAPSHOT_DATABASE_URL": dataset.url.render_as_string(hide_password=False),
        "SNAPSHOT_DAGSTER_DATABASE_URL": dataset.dagster_url.render_as_string(hide_password=False),
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


def _count(dataset: Dataset, table: str) -> int:
    with connected(dataset, OURS) as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())  # noqa: S608

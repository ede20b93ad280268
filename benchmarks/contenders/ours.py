"""The pipeline itself, through the code path of its assets: `run_days` and `run_week`, each run in a fresh process.

Put here: how a run of ours is started and measured from outside. Do not put here: what happens in the process
(`benchmarks.one_run`), or a whole run through Dagster (`dagster`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import text

from benchmarks.contenders.protocol import OURS, Days, Run, Week
from benchmarks.contenders.tables import RECOMMENDATIONS, SNAPSHOTS, connected, empty
from benchmarks.worlds import World
from snapshot_pipeline.pipeline.installation import open_installation

_OF_DAYS = (SNAPSHOTS, "snapshot_failures", "snapshot_days", "snapshot_restatements")


class RunFailedError(Exception):
    """A timed run did not come to its end; the message is what its process said."""


@dataclass(frozen=True)
class OursForDays:
    """`pipeline.snapshots.run_days` for all days at once."""

    task: Days
    name: str = "ours"
    schema: str = OURS
    compared: str = "true"

    def prepare(self) -> None:
        """Our tables, by our migrations."""
        with open_installation(self.task.world.settings(OURS)):
            pass

    def clean(self) -> None:
        """As if no day had ever been computed."""
        empty(self.task.world, OURS, *_OF_DAYS)

    def run(self) -> Run:
        """In a process that is started for it."""
        return in_fresh_process(self.task.world, {"task": "days", "first": self.task.first, "last": self.task.last})


@dataclass(frozen=True)
class OursForWeek:
    """`pipeline.recommendations.run_week`, of snapshots that `compute_days` has left there."""

    task: Week
    name: str = "ours"
    schema: str = OURS
    compared: str = "true"

    def prepare(self) -> None:
        """The snapshots of the days that the week's rules look at."""
        compute_days(self.task)

    def clean(self) -> None:
        """As if no week had ever been recommended."""
        empty(self.task.world, OURS, RECOMMENDATIONS)

    def run(self) -> Run:
        """In a process that is started for it."""
        return in_fresh_process(self.task.world, {"task": "week", "week_start": self.task.week_start})


def compute_days(task: Week) -> None:
    """Compute the fourteen days that the rules of a week look at."""
    first = date.fromordinal(task.sunday.toordinal() - 13)
    ours = OursForDays(Days(task.world, first, task.sunday))
    ours.prepare()
    ours.clean()
    ours.run()
    with connected(task.world) as connection:
        connection.execute(text(f"VACUUM (ANALYZE) {OURS}.{SNAPSHOTS}"))


def in_fresh_process(world: World, what: dict[str, Any]) -> Run:
    """Run one task of ours in a process of its own, whose memory is then its own as well.

    Raises:
        RunFailedError: It did not come to its end.
    """
    order = {
        "students": world.students,
        "days": world.days,
        "bad_rate": world.bad_rate,
        "home": world.home,
        "url": world.url.render_as_string(hide_password=False),
        **what,
    }
    began = time.monotonic()
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.one_run"],
        input=json.dumps(order, default=str),
        capture_output=True,
        check=False,
        text=True,
    )
    process_seconds = time.monotonic() - began
    if finished.returncode:
        raise RunFailedError(f"a run of {what} ended with {finished.returncode}: {finished.stderr.strip()[-2000:]}")
    measured = json.loads(finished.stdout.splitlines()[-1])
    return Run(process_seconds=process_seconds, **measured)

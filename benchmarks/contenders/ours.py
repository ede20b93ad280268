"""The pipeline itself, through the code path of its assets: `run_days` and `run_week`, each run in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from benchmarks.contenders.protocol import OURS, Days, Run, Week
from benchmarks.contenders.tables import RECOMMENDATIONS, SNAPSHOTS, connected, empty
from benchmarks.datasets import Dataset
from snapshot_pipeline.pipeline.installation import open_installation

_OF_DAYS = (SNAPSHOTS, "snapshot_failures", "snapshot_days", "snapshot_restatements")


UNRANKED = "ours without engagement"


class RunFailedError(Exception):
    """A timed run failed; the message is its process's output."""


@dataclass(frozen=True)
class OursForDays:
    """`pipeline.snapshots.run_days` for all days at once."""

    task: Days
    name: str = "ours"
    schema: str = OURS
    compared: str = "true"
    kind: str = "days"

    def prepare(self) -> None:
        """Create our tables by the migration."""
        with open_installation(self.task.dataset.settings(OURS)):
            pass

    def clean(self) -> None:
        """Delete all computed days."""
        empty(self.task.dataset, OURS, *_OF_DAYS)

    def run(self) -> Run:
        """Run in a fresh process."""
        what = {"task": self.kind, "first": self.task.first, "last": self.task.last}
        return in_fresh_process(self.task.dataset, what)


def unranked(task: Days) -> OursForDays:
    """The same without the engagement score: each batch is published as soon as it is computed."""
    return OursForDays(task, UNRANKED, kind="unranked days")


@dataclass(frozen=True)
class OursForWeek:
    """`pipeline.recommendations.run_week`, on the snapshots of `compute_days`."""

    task: Week
    name: str = "ours"
    schema: str = OURS
    compared: str = "true"

    def prepare(self) -> None:
        """Compute the Sunday."""
        compute_days(self.task)

    def clean(self) -> None:
        """Delete all recommendations."""
        empty(self.task.dataset, OURS, RECOMMENDATIONS)

    def run(self) -> Run:
        """Run in a fresh process."""
        return in_fresh_process(self.task.dataset, {"task": "week", "week_start": self.task.week_start})


def compute_days(task: Week) -> None:
    """Compute the Sunday, without which there is no week."""
    ours = OursForDays(Days(task.dataset, task.sunday, task.sunday))
    ours.prepare()
    ours.clean()
    ours.run()
    with connected(task.dataset) as connection:
        connection.execute(text(f"VACUUM (ANALYZE) {OURS}.{SNAPSHOTS}"))


def in_fresh_process(dataset: Dataset, what: dict[str, Any]) -> Run:
    """Run one task in a fresh process, so that its memory can be measured.

    Raises:
        RunFailedError: The process failed.
    """
    order = {
        "students": dataset.students,
        "days": dataset.days,
        "bad_rate": dataset.bad_rate,
        "home": dataset.home,
        "url": dataset.url.render_as_string(hide_password=False),
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

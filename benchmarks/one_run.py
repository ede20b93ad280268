"""One timed run of our pipeline in a process of its own: `python -m benchmarks.one_run`, with the task on stdin.

The time starts when everything is imported and the installation is open, and ends with the last commit. Memory is that
of the whole process.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import make_url

from benchmarks.contenders.protocol import OURS
from benchmarks.datasets import Dataset
from snapshot_pipeline.pipeline import snapshots
from snapshot_pipeline.pipeline.batches import BatchExecutor, ProgressListener, memory_per_student
from snapshot_pipeline.pipeline.day_reports import DayReport
from snapshot_pipeline.pipeline.installation import Installation, open_installation
from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshot_work import SnapshotWork


def main() -> None:
    """Read the task, run it, print the result."""
    order = json.load(sys.stdin)
    dataset = Dataset(
        order["students"], order["days"], make_url(order["url"]), Path(order["home"]), order.get("bad_rate", 0.0)
    )
    with open_installation(dataset.settings(OURS)) as installation:
        began = time.monotonic()
        rows = _week(installation, order) if order["task"] == "week" else _days(installation, order)
        seconds = time.monotonic() - began
    print(json.dumps({"seconds": seconds, "rows": rows, "peak_bytes": peak_bytes()}))


def _days(installation: Installation, order: dict[str, Any]) -> int:
    if order["task"] == "unranked days":
        snapshots.publish_ranked = _publish_unranked  # type: ignore[attr-defined]
    first, last = date.fromisoformat(order["first"]), date.fromisoformat(order["last"])
    return sum(report.published for report in snapshots.run_days(installation, first, last, "benchmark").reports)


def _publish_unranked(
    executor: BatchExecutor,
    work: SnapshotWork,
    user_ids: NDArray[np.int64],
    events: float,
    check_lock: Callable[[], None],
    progress: ProgressListener,
) -> Iterator[DayReport]:
    """As `publish_ranked`, but publish each batch at once, without engagement."""
    for reports in executor.map_batches(
        executor.split(user_ids, memory_per_student(work.days.count, events)), work, check_lock
    ):
        yield from reports


def _week(installation: Installation, order: dict[str, Any]) -> int:
    return run_week(installation, date.fromisoformat(order["week_start"]), "benchmark").types.total()


def peak_bytes() -> int:
    """Peak memory of this process."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, getrusage starts with the parent's memory at the time of the fork
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()

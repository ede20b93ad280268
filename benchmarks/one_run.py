"""One timed run of our pipeline in a process of its own: `python -m benchmarks.one_run`, with the task on stdin.

The time starts when everything is imported and the installation is open, and ends with the last commit. Memory is that
of the whole process.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from benchmarks.contenders.protocol import OURS
from benchmarks.datasets import Dataset
from snapshot_pipeline.pipeline.installation import Installation, open_installation
from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshots import run_days


def main() -> None:
    """Read the task, run it, print the result."""
    order = json.load(sys.stdin)
    dataset = Dataset(
        order["students"], order["days"], make_url(order["url"]), Path(order["home"]), order.get("bad_rate", 0.0)
    )
    with open_installation(dataset.settings(OURS)) as installation:
        began = time.monotonic()
        rows = _days(installation, order) if order["task"] == "days" else _week(installation, order)
        seconds = time.monotonic() - began
    print(json.dumps({"seconds": seconds, "rows": rows, "peak_bytes": peak_bytes()}))


def _days(installation: Installation, order: dict[str, Any]) -> int:
    first, last = date.fromisoformat(order["first"]), date.fromisoformat(order["last"])
    return sum(report.published for report in run_days(installation, first, last, "benchmark").reports)


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

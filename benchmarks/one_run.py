"""One timed run of ours in the process that is started for it: `python -m benchmarks.one_run`, the order on stdin.

What is timed begins when everything is imported and the installation is open, and ends with the last commit. Memory is
that of the whole process.

Put here: what happens in that process. Do not put here: who starts it (`benchmarks.contenders.ours`).
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
from benchmarks.worlds import World
from snapshot_pipeline.pipeline.installation import Installation, open_installation
from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshots import run_days


def main() -> None:
    """Read the order, do it, print what it came to."""
    order = json.load(sys.stdin)
    world = World(
        order["students"], order["days"], make_url(order["url"]), Path(order["home"]), order.get("bad_rate", 0.0)
    )
    with open_installation(world.settings(OURS)) as installation:
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
    """The most memory that this process has held."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says begins, on Linux, with what the parent held when it started us
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()

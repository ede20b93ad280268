"""The tests with the marker `clock` again, at times at which programs that read the time go wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from snapshot_pipeline_tests.needed_programs import needed_program

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

UTC = ZoneInfo("UTC")

TIMES = {
    "half an hour after midnight of a leap day": datetime(2028, 2, 29, 0, 30, tzinfo=UTC),
    "clocks go forward at midnight in UTC": datetime(2026, 3, 27, 1, 59, 30, tzinfo=ZoneInfo("Asia/Jerusalem")),
    "clocks go back": datetime(2026, 10, 25, 2, 59, 30, tzinfo=ZoneInfo("Europe/Paris")),
}


@pytest.mark.parametrize("start", TIMES.values(), ids=TIMES.keys())
def test_tests_that_read_the_time_pass_at(start: datetime) -> None:
    environment = faked_clock(start)
    read = subprocess.run(
        [sys.executable, "-c", "from datetime import datetime, timezone as z; print(datetime.now(z.utc).isoformat())"],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    passed_since = datetime.fromisoformat(read.stdout.strip()) - start
    assert abs(passed_since.total_seconds()) < 30, "the clock is not faked"
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "clock", "-p", "no:cacheprovider", "--no-header"],
        env=environment, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert tests.returncode == 0, tests.stdout[-8000:] + tests.stderr[-2000:]
    assert re.search(r"^\d{2,} passed", tests.stdout, re.MULTILINE), tests.stdout[-2000:]


def faked_clock(start: datetime) -> dict[str, str]:
    """Return an environment in which it is `start` now, and time passes; the monotonic clock is not faked.

    The offset from the real time is given, not the start: all processes, whenever they start, agree on the time.
    """
    needed_program("faketime", "apt-get install faketime")
    libraries = [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")]
    assert libraries, "the program faketime is installed, its library is not"
    offset = start.timestamp() - datetime.now(UTC).timestamp()
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        "PYTHONPATH": str(Path(__file__).parent / "faked_clock"),  # its sitecustomize.py
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME": f"{offset:+.0f}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "TZ": str(start.tzinfo),
    }

"""Loaded by Python at its start under a faked clock: `time.sleep` by `select`.

Since 3.11 Python sleeps until a time of the monotonic clock, from which libfaketime 0.9.10 subtracts its offset all the
same: `time.sleep` fails with "Invalid argument".
"""

import select
import time


def sleep(seconds: float) -> None:
    """Wait for `seconds`."""
    select.select([], [], [], seconds)


time.sleep = sleep

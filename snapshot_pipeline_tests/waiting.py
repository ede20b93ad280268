"""Wait for a condition; processes that may end at any moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import psutil

Value = TypeVar("Value")


def wait_for(poll: Callable[[], Value | None], condition: str, seconds: float, pause: float = 0.3) -> Value:
    """Call `poll` until it returns something other than None, for at most `seconds`; return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (value := poll()) is not None:
            return value
        time.sleep(pause)
    raise AssertionError(f"waited {seconds} s until {condition}: timeout")


def has_ended(process: psutil.Process) -> bool:
    """Return whether it has ended; a zombie has: many containers have no init process that reaps orphans."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_ended(processes: Sequence[psutil.Process], seconds: float) -> None:
    """Wait until all of them have ended, for at most `seconds`."""
    wait_for(lambda: all(map(has_ended, processes)) or None, "all processes have ended", seconds, pause=0.05)


def command_line(process: psutil.Process) -> str:
    """Return the command line; an empty text if the process has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""

"""The commands that check results and incidents name: of one day or week, and of several."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date

import dagster as dg

from snapshot_pipeline.metrics.days import contiguous_ranges
from snapshot_pipeline.orchestration.names import LEARNING_PLATFORM

_WEEKLY = {"adaptive_recommendations": "recommend", "at_risk_students": "recommend", "weekly_report": "report"}
"""The commands of the weekly assets."""

_SEPARATOR = "; "
"""Not `&&`: `materialize` exits with 3 if a day still fails, and the next range must be computed all the same."""

_MOST_RANGES = 3
"""With more, one command computes the days in between, too, which changes nothing there."""

_DAYS = re.compile(r"--from \S+ --to [^\s;]+")
_WEEK = re.compile(r"--week [^\s;]+")


def materialize_command(asset: dg.AssetKey, partitions: Iterable[str]) -> str:
    """Return the command that computes partitions of an asset; for a table of the platform the one that checks it."""
    if asset.path[0] == LEARNING_PLATFORM:
        return "snapshot-pipeline check"
    keys = [key for key in partitions if key]
    if not keys:
        return ""
    weekly = _WEEKLY.get(asset.to_user_string())
    one = f"{weekly} --week {keys[0]}" if weekly else f"materialize --from {keys[0]} --to {keys[0]}"
    return command_for(f"snapshot-pipeline {one}", keys)


def command_for(command: str, partitions: Iterable[str]) -> str:
    """Return a command that names days or a week for other days or weeks; any other command is unchanged.

    Several ranges of days, and several weeks, are commands in one line. `retry-failed` computes only what has failed,
    so it takes one range for any days.
    """
    keys = sorted(key for key in partitions if key)
    one = command.split(_SEPARATOR)[0]
    if not keys or not (_DAYS.search(one) or _WEEK.search(one)):
        return command
    if _WEEK.search(one):
        return _SEPARATOR.join(_WEEK.sub(f"--week {key}", one) for key in keys)
    ranges = contiguous_ranges([date.fromisoformat(key) for key in keys])
    if len(ranges) > _MOST_RANGES or " retry-failed " in one:
        ranges = [(ranges[0][0], ranges[-1][1])]
    return _SEPARATOR.join(_DAYS.sub(f"--from {first} --to {last}", one) for first, last in ranges)

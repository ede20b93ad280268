"""The days that somebody asks for in the launchpad, read and held against what there is.

Put here: from the text of a configuration to days, and the one line for what is wrong with it.
Do not put here: what is done with the days (`recompute_days`, `retry_failed`).

Dagster's launchpad checks names and types, not values: a day is a text to it, so this is where it is found out, before
anything is computed.
"""

from __future__ import annotations

from datetime import date, timedelta

from snapshot_pipeline.errors import SnapshotPipelineError


class RunConfigDaysError(SnapshotPipelineError):
    """What was given for a day is none, or is not there to be computed."""


def parse_day(name: str, text: str) -> date | None:
    """A day; None for an empty text.

    Args:
        name: The field of the configuration, for the message.
        text: What was written there.

    Raises:
        RunConfigDaysError: It is no day.
    """
    if not text.strip():
        return None
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise RunConfigDaysError(f"{name}: {text!r} is no day; expected one such as 2026-11-22, or nothing") from None


def require_in_order(names: tuple[str, str], first: date | None, last: date | None) -> None:
    """The first day is not after the last one.

    Raises:
        RunConfigDaysError: It is.
    """
    if first and last and first > last:
        raise RunConfigDaysError(f"{names[0]}: {first} is after {names[1]}: {last}; expected the earlier day first")


def days_to_compute(first: date, last: date, start: date, newest: date | None) -> list[date]:
    """The days `first … last`, all of which can be computed.

    Args:
        first: The first day.
        last: The last day, included.
        start: The first day that has a partition.
        newest: The last day that has ended; None while none has.

    Raises:
        RunConfigDaysError: One of the days is outside.
    """
    if first < start:
        raise RunConfigDaysError(f"{first} is before SNAPSHOT_START_DATE={start}; expected that day or a later one")
    if newest is None or last > newest:
        ended = f"the last day that has ended is {newest}" if newest else "no day has ended yet"
        raise RunConfigDaysError(f"{last} has not ended; {ended}, expected that day or an earlier one")
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]

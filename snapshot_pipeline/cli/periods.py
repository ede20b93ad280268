"""Which days and weeks can be asked for on the command line.

Put here: the bounds of `--from`, `--to` and `--week`, and the sentence when one is wrong.
Do not put here: partitions (`orchestration.partitions`), which say the same to Dagster.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

import click

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.settings import Settings

DAY = click.DateTime(formats=["%Y-%m-%d"])
"""An option that takes a calendar date."""

_MONDAY = 0


class PeriodError(SnapshotPipelineError):
    """A day or a week that cannot be computed."""


def last_closed_day(settings: Settings) -> date:
    """The last day that has ended, in the platform's time zone."""
    return datetime.now(settings.zone).date() - timedelta(days=1)


def last_closed_week(settings: Settings) -> date:
    """The Monday of the last week that has ended."""
    day = last_closed_day(settings)
    return day - timedelta(days=(day.weekday() + 1) % 7 + 6)


def require_closed_days(settings: Settings, first: date, last: date) -> None:
    """Refuse a range that is upside down, has not ended, or begins before the start date.

    Raises:
        PeriodError: One line that says which, and what is allowed.
    """
    closed = last_closed_day(settings)
    if first > last:
        raise PeriodError(f"--from {first} is after --to {last}; expected the earlier day first")
    if last > closed:
        raise PeriodError(
            f"--to {last} has not ended yet in {settings.timezone}; the last day that has is {closed}. A day is "
            "computed when it is over"
        )
    _require_started(settings, "--from", first)


def require_closed_day(settings: Settings, day: date) -> None:
    """Refuse a day that has not ended, or is before the start date.

    Raises:
        PeriodError: One line that says which, and what is allowed.
    """
    closed = last_closed_day(settings)
    if day > closed:
        raise PeriodError(
            f"--day {day} has not ended yet in {settings.timezone}; the last day that has is {closed}. A day is "
            "computed when it is over"
        )
    _require_started(settings, "--day", day)


def require_closed_week(settings: Settings, week_start: date) -> None:
    """Refuse a week that is not named by its Monday, has not ended, or begins before the start date.

    Raises:
        PeriodError: One line that says which, and what is allowed.
    """
    monday = week_start - timedelta(days=week_start.weekday())
    if week_start.weekday() != _MONDAY:
        raise PeriodError(f"--week {week_start} is a {week_start:%A}; a week is named by its Monday, here {monday}")
    closed = last_closed_week(settings)
    if week_start > closed:
        raise PeriodError(
            f"--week {week_start} has not ended yet in {settings.timezone}; the last week that has is that of {closed}"
        )
    _require_started(settings, "--week", week_start)


def _require_started(settings: Settings, option: str, day: date) -> None:
    if day < settings.start_date:
        raise PeriodError(
            f"{option} {day} is before SNAPSHOT_START_DATE={settings.start_date}; set an earlier start date to "
            "compute it"
        )

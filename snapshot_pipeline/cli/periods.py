"""Days and weeks on the command line: which ones have ended, and errors for those that cannot be computed."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import click

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.settings import Settings

_MONDAY = 0


class _Day(click.ParamType):  # type: ignore[type-arg]  # generic only in recent versions of click
    """A date as YYYY-MM-DD."""

    name = "YYYY-MM-DD"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            return datetime.strptime(str(value), "%Y-%m-%d").date()  # noqa: DTZ007  # a date has no time zone
        except ValueError:
            self.fail(f"'{value}' is not a date; expected YYYY-MM-DD, e.g. 2026-11-22", param, ctx)


DAY = _Day()
"""The type of an option that takes a date."""


class PeriodError(SnapshotPipelineError):
    """A day or a week cannot be computed. The message is one line that says why and what is allowed."""


def last_closed_day(settings: Settings) -> date:
    """Return the last day that has ended in the platform's time zone."""
    return datetime.now(settings.zone).date() - timedelta(days=1)


def last_closed_week(settings: Settings) -> date:
    """Return the Monday of the last week that has ended."""
    day = last_closed_day(settings)
    return day - timedelta(days=(day.weekday() + 1) % 7 + 6)


def require_ascending(first: date, last: date) -> None:
    """Raise `PeriodError` if --from is after --to."""
    if first > last:
        raise PeriodError(f"--from {first} is after --to {last}; expected the earlier day first")


def require_closed_days(settings: Settings, first: date, last: date) -> None:
    """Raise `PeriodError` if --from is after --to or before the start date, or --to has not ended."""
    require_ascending(first, last)
    _require_closed(settings, "--to", last)
    _require_started(settings, "--from", first)


def require_closed_day(settings: Settings, day: date) -> None:
    """Raise `PeriodError` if --day has not ended or is before the start date."""
    _require_closed(settings, "--day", day)
    _require_started(settings, "--day", day)


def require_closed_week(settings: Settings, week_start: date) -> None:
    """Raise `PeriodError` if --week is not a Monday, or the week has not ended or begins before the start date."""
    if week_start.weekday() != _MONDAY:
        monday = week_start - timedelta(days=week_start.weekday())
        raise PeriodError(f"--week {week_start} is a {week_start:%A}; expected the Monday of the week, {monday}")
    closed = last_closed_week(settings)
    if week_start > closed:
        raise PeriodError(
            f"--week {week_start} has not ended yet in {settings.timezone}; expected {closed} or an earlier Monday"
        )
    _require_started(settings, "--week", week_start)


def _require_closed(settings: Settings, option: str, day: date) -> None:
    closed = last_closed_day(settings)
    if day > closed:
        raise PeriodError(
            f"{option} {day} has not ended yet in {settings.timezone}; expected {closed} or an earlier day"
        )


def _require_started(settings: Settings, option: str, day: date) -> None:
    if day < settings.start_date:
        raise PeriodError(
            f"{option} {day} is before SNAPSHOT_START_DATE={settings.start_date}; expected a later day, or set an "
            "earlier start date"
        )

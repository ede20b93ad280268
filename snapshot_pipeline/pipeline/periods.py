"""Which days and weeks have ended or are due, and errors for days that cannot be computed. Imported without pandas."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.settings import Settings

_MONDAY = 0


class PeriodError(SnapshotPipelineError):
    """A day or a week cannot be computed. The message is one line that says why and what is allowed."""


def days_between(first: date, last: date) -> list[date]:
    """The days `first … last`, both included."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def days_text(first: date, last: date) -> str:
    """The days `first … last` as a person writes them, e.g. `2026-11-01 to 2026-11-22`."""
    return f"{first}" if first == last else f"{first} to {last}"


def last_closed_day(settings: Settings, now: datetime | None = None) -> date:
    """The last day that has ended in the platform's time zone, at a time or by now."""
    return (now or datetime.now(settings.zone)).astimezone(settings.zone).date() - timedelta(days=1)


def last_closed_week(settings: Settings, now: datetime | None = None) -> date:
    """The Monday of the last week that has ended, at a time or by now."""
    day = last_closed_day(settings, now)
    return day - timedelta(days=(day.weekday() + 1) % 7 + 6)


def newest_due_day(settings: Settings, now: datetime) -> date:
    """The newest day that ended at least `SNAPSHOT_OVERDUE_MINUTES` ago."""
    return last_closed_day(settings, now - timedelta(minutes=settings.overdue_minutes))


def due_days(settings: Settings, now: datetime) -> list[date]:
    """The due days among the last `SNAPSHOT_CATCH_UP_DAYS`, ascending."""
    newest = newest_due_day(settings, now)
    first = max(newest - timedelta(days=settings.catch_up_days - 1), settings.start_date)
    return days_between(first, newest)


def require_ascending(first: date, last: date, names: tuple[str, str] = ("--from", "--to")) -> None:
    """Raise `PeriodError` if the first day is after the last; `names` are the options or fields."""
    if first > last:
        raise PeriodError(f"{names[0]} {first} is after {names[1]} {last}; expected the earlier day first")


def require_closed_days(
    settings: Settings,
    first: date,
    last: date,
    names: tuple[str, str] = ("--from", "--to"),
    now: datetime | None = None,
) -> None:
    """Raise `PeriodError` if the days are in the wrong order, begin before the start date or have not ended."""
    require_ascending(first, last, names)
    _require_closed(settings, names[1], last, now)
    _require_started(settings, names[0], first)


def require_closed_day(settings: Settings, day: date) -> None:
    """Raise `PeriodError` if --day has not ended or is before the start date."""
    require_closed_days(settings, day, day, ("--day", "--day"))


def require_closed_week(
    settings: Settings, week_start: date, name: str = "--week", now: datetime | None = None
) -> None:
    """Raise `PeriodError` if it is not a Monday, or the week has not ended or begins before the start date."""
    if week_start.weekday() != _MONDAY:
        monday = week_start - timedelta(days=week_start.weekday())
        raise PeriodError(f"{name} {week_start} is a {week_start:%A}; expected the Monday of the week, {monday}")
    closed = last_closed_week(settings, now)
    if week_start > closed:
        raise PeriodError(
            f"{name} {week_start} has not ended yet in {settings.timezone}; expected {closed} or an earlier Monday"
        )
    _require_started(settings, name, week_start)


def _require_closed(settings: Settings, name: str, day: date, now: datetime | None) -> None:
    closed = last_closed_day(settings, now)
    if day > closed:
        raise PeriodError(f"{name} {day} has not ended yet in {settings.timezone}; expected {closed} or an earlier day")


def _require_started(settings: Settings, name: str, day: date) -> None:
    if day < settings.start_date:
        raise PeriodError(
            f"{name} {day} is before SNAPSHOT_START_DATE={settings.start_date}; expected a later day, or set an "
            "earlier start date"
        )

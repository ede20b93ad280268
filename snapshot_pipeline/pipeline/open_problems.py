"""What is broken now: the last days of an installation, as they stand in our tables.

Put here: the questions. Do not put here: how severe an answer is, or what to do (`orchestration.daily_checks`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.days import DayCount, day_counts
from snapshot_pipeline.store.failures import OpenFailures, failing_students, failures_by_reason

_WEEK = timedelta(days=7)
_TICK = timedelta(days=7, hours=6)
"""After a week's Monday at 00:00: when its recommendations are asked for."""


@dataclass(frozen=True)
class OpenProblems:
    """What is broken over the days `first … last`.

    Attributes:
        first: The first day that was looked at.
        last: The last day: the newest that should be there.
        missing: Days that were never computed, ascending.
        below: Days of which too few students were published, ascending.
        failures: Open failures by reason.
        failed_days: Days with an open failure, ascending.
        missing_weeks: Mondays of weeks whose recommendations should be there, ascending.
    """

    first: date
    last: date
    missing: list[date]
    below: list[DayCount]
    failures: list[OpenFailures]
    failed_days: list[date]
    missing_weeks: list[date]


def newest_due_day(settings: Settings, now: datetime) -> date:
    """The newest day that should be there: one that ended less than `SNAPSHOT_OVERDUE_MINUTES` ago need not be yet."""
    return (now - timedelta(minutes=settings.overdue_minutes)).astimezone(settings.zone).date() - timedelta(days=1)


def due_days(settings: Settings, now: datetime) -> list[date]:
    """Those of the last `SNAPSHOT_CATCH_UP_DAYS` days that should be there, ascending."""
    newest = newest_due_day(settings, now)
    days = (newest - timedelta(days=number) for number in reversed(range(settings.catch_up_days)))
    return [day for day in days if day >= settings.start_date]


def due_weeks(settings: Settings, now: datetime) -> list[date]:
    """The Mondays of the weeks that ended within the last `SNAPSHOT_CATCH_UP_DAYS` days and should be there."""
    local = (now - timedelta(minutes=settings.overdue_minutes)).astimezone(settings.zone).replace(tzinfo=None)
    oldest_end = local.date() - timedelta(days=settings.catch_up_days)
    monday = local.date() - timedelta(days=local.weekday())
    weeks: list[date] = []
    while monday + _WEEK > oldest_end and monday >= settings.start_date:
        if datetime(monday.year, monday.month, monday.day) + _TICK <= local:  # noqa: DTZ001  # both are wall clocks
            weeks.append(monday)
        monday -= _WEEK
    return weeks[::-1]


def look_at(installation: Installation, days: list[date], missing_weeks: list[date]) -> OpenProblems:
    """What is broken over some consecutive days, at least one.

    Args:
        installation: Where.
        days: The days that should be there, ascending.
        missing_weeks: Mondays of weeks that should be there and are not.
    """
    first, last = days[0], days[-1]
    minimum = installation.settings.min_success_rate
    with installation.engine.connect() as connection:
        counts = {count.day: count for count in day_counts(connection, installation.store, first, last)}
        failures = failures_by_reason(connection, installation.store, first, last)
        failing = failing_students(connection, installation.store, first, last)
    return OpenProblems(
        first,
        last,
        missing=[day for day in days if day not in counts],
        below=[one for one in counts.values() if one.success_rate is not None and one.success_rate < minimum],
        failures=failures,
        failed_days=list(failing),
        missing_weeks=missing_weeks,
    )

"""Open problems of an installation, from our tables: missing days and weeks, low success rates, failures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.days import DayCount, day_counts
from snapshot_pipeline.store.failures import OpenFailures, failing_students, failures_by_reason
from snapshot_pipeline.store.weeks import computed_weeks

_WEEK = timedelta(days=7)
_WEEKLY_RUN = timedelta(days=7, hours=6)
"""When the recommendations of a week are computed, after its Monday at 00:00."""


@dataclass(frozen=True)
class OpenProblems:
    """The open problems of the days `first … last`; the last one is the newest that is due.

    Attributes:
        missing: Days that were never computed, ascending.
        below: Days below the minimum success rate, ascending.
        failures: Open failures by reason.
        failed_days: Days with an open failure, ascending.
        missing_weeks: Mondays of weeks whose recommendations are due and missing, ascending.
    """

    first: date
    last: date
    missing: list[date]
    below: list[DayCount]
    failures: list[OpenFailures]
    failed_days: list[date]
    missing_weeks: list[date]


def newest_due_day(settings: Settings, now: datetime) -> date:
    """The newest day that ended at least `SNAPSHOT_OVERDUE_MINUTES` ago."""
    return (now - timedelta(minutes=settings.overdue_minutes)).astimezone(settings.zone).date() - timedelta(days=1)


def due_days(settings: Settings, now: datetime) -> list[date]:
    """The due days among the last `SNAPSHOT_CATCH_UP_DAYS`, ascending."""
    newest = newest_due_day(settings, now)
    days = (newest - timedelta(days=number) for number in reversed(range(settings.catch_up_days)))
    return [day for day in days if day >= settings.start_date]


def due_weeks(settings: Settings, now: datetime) -> list[date]:
    """The Mondays of the due weeks that ended within the last `SNAPSHOT_CATCH_UP_DAYS` days, ascending."""
    local = (now - timedelta(minutes=settings.overdue_minutes)).astimezone(settings.zone).replace(tzinfo=None)
    oldest_end = local.date() - timedelta(days=settings.catch_up_days)
    monday = local.date() - timedelta(days=local.weekday())
    weeks: list[date] = []
    while monday + _WEEK > oldest_end and monday >= settings.start_date:
        if datetime(monday.year, monday.month, monday.day) + _WEEKLY_RUN <= local:  # noqa: DTZ001  # both are local times
            weeks.append(monday)
        monday -= _WEEK
    return weeks[::-1]


def find_open_problems(installation: Installation, days: list[date], weeks: list[date]) -> OpenProblems:
    """The open problems of consecutive days that are due, at least one, and of weeks that are due."""
    first, last = days[0], days[-1]
    minimum = installation.settings.min_success_rate
    counts = {count.day: count for count in installation.transaction(day_counts, first, last)}
    recommended = installation.transaction(computed_weeks, weeks[0], weeks[-1]) if weeks else {}
    return OpenProblems(
        first,
        last,
        missing=[day for day in days if day not in counts],
        below=[count for count in counts.values() if count.success_rate is not None and count.success_rate < minimum],
        failures=installation.transaction(failures_by_reason, first, last),
        failed_days=list(installation.transaction(failing_students, first, last)),
        missing_weeks=[week for week in weeks if week not in recommended],
    )

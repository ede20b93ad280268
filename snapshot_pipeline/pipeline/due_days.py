"""Which days are due: those that ended at least SNAPSHOT_OVERDUE_MINUTES ago."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from snapshot_pipeline.settings import Settings


def newest_due_day(settings: Settings, now: datetime) -> date:
    """The newest day that ended at least `SNAPSHOT_OVERDUE_MINUTES` ago."""
    return (now - timedelta(minutes=settings.overdue_minutes)).astimezone(settings.zone).date() - timedelta(days=1)


def due_days(settings: Settings, now: datetime) -> list[date]:
    """The due days among the last `SNAPSHOT_CATCH_UP_DAYS`, ascending."""
    newest = newest_due_day(settings, now)
    days = (newest - timedelta(days=number) for number in reversed(range(settings.catch_up_days)))
    return [day for day in days if day >= settings.start_date]

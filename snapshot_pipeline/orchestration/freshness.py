"""The lights of freshness: by when the day and the week have to be there.

Put here: deadlines. Do not put here: who is told of a missing day (`observations.periods`).

A light in the UI and no guard: to Dagster any day's materialization is fresh, an old one's too.
See https://docs.dagster.io/guides/observe/asset-freshness-policies.
"""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from snapshot_pipeline.settings import Settings

_DAY_MINUTES = 24 * 60


def daily_freshness(settings: Settings) -> dg.FreshnessPolicy:
    """The day is there SNAPSHOT_OVERDUE_MINUTES after midnight."""
    return _due_after(0, "*", settings)


def weekly_freshness(settings: Settings) -> dg.FreshnessPolicy:
    """The week is there SNAPSHOT_OVERDUE_MINUTES after Monday, 06:00."""
    return _due_after(6 * 60, "1", settings)


def weekly_page_freshness(settings: Settings) -> dg.FreshnessPolicy:
    """The page of the week is there SNAPSHOT_OVERDUE_MINUTES after Monday, 06:30."""
    return _due_after(6 * 60 + 30, "1", settings)


def _due_after(minute_of_day: int, weekday: str, settings: Settings) -> dg.FreshnessPolicy:
    deadline = minute_of_day + settings.overdue_minutes
    if weekday != "*":
        weekday = str(int(weekday) + deadline // _DAY_MINUTES)
    hour, minute = divmod(deadline % _DAY_MINUTES, 60)
    return dg.FreshnessPolicy.cron(
        deadline_cron=f"{minute} {hour} * * {weekday}",
        lower_bound_delta=timedelta(minutes=settings.overdue_minutes),
        timezone=settings.timezone,
    )

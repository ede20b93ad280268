"""The five schedules and what a tick of each requests; their times are in `partitions`.

What a tick requests follows from its scheduled time, never from the clock.
See https://docs.dagster.io/guides/automate/schedules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, time, timedelta
from typing import TypeVar

import dagster as dg

from snapshot_pipeline.orchestration.assets import cohort_summary, performance_snapshots
from snapshot_pipeline.orchestration.jobs import (
    daily_checks_job,
    daily_snapshots_job,
    weekly_recommendations_job,
    weekly_report_job,
)
from snapshot_pipeline.orchestration.names import PRIORITY_TAG, REASON_TAG, SCHEDULE_PRIORITY, SEED_TAG
from snapshot_pipeline.orchestration.partitions import (
    CHECKS_AT,
    HOUSEKEEPING_AT,
    REPORT_AT,
    SNAPSHOTS_AT,
    WEEKLY_AT,
    daily_partitions,
    in_progress,
    range_tags,
    run_ranges,
    weekly_partitions,
)
from snapshot_pipeline.pipeline.installation import open_installation
from snapshot_pipeline.pipeline.reasons import NIGHTLY
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.days import day_counts
from snapshot_pipeline.store.recommendations import computed_weeks

Tick = Callable[[dg.ScheduleEvaluationContext], dg.RunRequest | list[dg.RunRequest] | dg.SkipReason]
Status = TypeVar("Status", dg.DefaultScheduleStatus, dg.DefaultSensorStatus)

_NIGHTLY_TAGS = {REASON_TAG: NIGHTLY, PRIORITY_TAG: SCHEDULE_PRIORITY}


def default_status(status: type[Status], settings: Settings) -> Status:
    """Return whether schedules and sensors run from the first start, or wait to be switched on in the UI."""
    return status["RUNNING" if settings.schedules else "STOPPED"]


def build_schedules(settings: Settings, housekeeping_job: dg.JobDefinition) -> list[dg.ScheduleDefinition]:
    """Build the five schedules, in the time zone of the settings."""

    def clock(at: time) -> str:
        return f"{at:%H:%M} ({settings.timezone})"

    def schedule(
        name: str,
        job: dg.JobDefinition | dg.UnresolvedAssetJobDefinition,
        at: time,
        weekday: str,
        description: str,
        tick: Tick,
    ) -> dg.ScheduleDefinition:
        decorate = dg.schedule(
            name=name,
            job=job,
            cron_schedule=f"{at.minute} {at.hour} * * {weekday}",
            execution_timezone=settings.timezone,
            default_status=default_status(dg.DefaultScheduleStatus, settings),
            description=description,
        )
        return decorate(tick)

    return [
        schedule(
            "daily_snapshots_schedule",
            daily_snapshots_job,
            SNAPSHOTS_AT,
            "*",
            f"Every night at {clock(SNAPSHOTS_AT)}: computes the day that has just ended, the missing days of the last "
            f"{settings.catch_up_days}, and the {settings.late_days} days before again, because rows may arrive late.",
            lambda context: _request_days(context, settings),
        ),
        schedule(
            "weekly_recommendations_schedule",
            weekly_recommendations_job,
            WEEKLY_AT,
            "1",
            f"Every Monday at {clock(WEEKLY_AT)}: computes recommendations and students at risk of last week.",
            lambda context: _request_week(context, settings),
        ),
        schedule(
            "weekly_report_schedule",
            weekly_report_job,
            REPORT_AT,
            "1",
            f"Every Monday at {clock(REPORT_AT)}: writes the report of the week that has just ended.",
            lambda context: _request_report(context, settings),
        ),
        schedule(
            "daily_checks_schedule",
            daily_checks_job,
            CHECKS_AT,
            "*",
            f"Every day at {clock(CHECKS_AT)}: compares a random day with its recomputation, and checks the "
            "platform's tables.",
            _request_checks,
        ),
        schedule(
            "daily_housekeeping_schedule",
            housekeeping_job,
            HOUSEKEEPING_AT,
            "*",
            f"Every day at {clock(HOUSEKEEPING_AT)}: deletes expired rows and creates upcoming monthly partitions.",
            lambda context: dg.RunRequest(tags={PRIORITY_TAG: SCHEDULE_PRIORITY}),
        ),
    ]


def waits_for_sunday(week: date) -> str:
    """Return why a week is not requested yet."""
    sunday = week + timedelta(days=6)
    return f"the week of {week} waits for its Sunday, {sunday}, which is not computed yet; catch_up_sensor requests it"


def waits_for_recommendations(week: date) -> str:
    """Return why the report of a week is not requested yet."""
    return f"the report waits for the recommendations of the week of {week}; catch_up_sensor requests it then"


def _request_days(context: dg.ScheduleEvaluationContext, settings: Settings) -> list[dg.RunRequest] | dg.SkipReason:
    """Request missing days, late days and outdated summaries.

    After a downtime Dagster launches only the latest missed tick, so each tick looks back: it requests every day of the
    last `SNAPSHOT_CATCH_UP_DAYS` that is neither in `snapshot_days` nor in progress, contiguous days in one run. The
    `SNAPSHOT_LATE_DAYS` before the newest day are requested even if they are computed: their rows may have arrived
    late, and unchanged figures are not written.

    Each run also summarizes its days. Where a summary failed, or snapshots were materialized without it, the next tick
    requests the summary alone, for any of the last `SNAPSHOT_LATE_WINDOW_DAYS` days.
    """
    days, tick = daily_partitions(settings), context.scheduled_execution_time
    keys = days.get_partition_keys(current_time=tick)
    if not keys:
        return dg.SkipReason("no day has ended yet")
    recent = keys[-max(settings.catch_up_days, settings.late_days + 1) :]
    window = keys[-settings.late_window_days :]
    with open_installation(settings) as installation:
        oldest = date.fromisoformat(min(recent[0], window[0]))
        counts = installation.transaction(day_counts, oldest, date.fromisoformat(keys[-1]))
    computed = {count.day.isoformat() for count in counts}
    running = in_progress(context.instance, performance_snapshots.KEY, recent, days)
    missing = set(recent[-settings.catch_up_days :]) - computed
    late = set(recent[-1 - settings.late_days : -1])
    wanted = [date.fromisoformat(day) for day in recent if day in (missing | late) - running]
    outdated = [
        day
        for day in _outdated_summaries(context.instance, settings, [day for day in window if day in computed])
        if day not in wanted
    ]
    if not wanted and not outdated:
        return dg.SkipReason(f"the last {len(recent)} days are all computed or in progress")
    # The run key contains the tick: a day that failed must be requested again the next night.
    at = f"{tick:%Y-%m-%dT%H:%M%z}"
    return [
        dg.RunRequest(run_key=f"{first}..{last}@{at}", tags={**range_tags(first, last), **_NIGHTLY_TAGS})
        for first, last in run_ranges(wanted, settings)
    ] + [
        dg.RunRequest(
            run_key=f"summary {first}..{last}@{at}",
            tags={**range_tags(first, last), **_NIGHTLY_TAGS},
            asset_selection=[cohort_summary.KEY],
        )
        for first, last in run_ranges(outdated, settings)
    ]


def _outdated_summaries(instance: dg.DagsterInstance, settings: Settings, days: Sequence[str]) -> list[date]:
    """Return the days whose snapshots are newer than their summary and that are not in progress, ascending."""
    if not days:  # Dagster takes an empty set for all partitions
        return []
    event = dg.DagsterEventType.ASSET_MATERIALIZATION
    computed = instance.get_latest_storage_id_by_partition(performance_snapshots.KEY, event, set(days))
    summarized = instance.get_latest_storage_id_by_partition(cohort_summary.KEY, event, set(days))
    outdated = [day for day in days if day in computed and summarized.get(day, -1) < computed[day]]
    running = in_progress(instance, cohort_summary.KEY, outdated, daily_partitions(settings))
    return [date.fromisoformat(day) for day in outdated if day not in running]


def _request_week(context: dg.ScheduleEvaluationContext, settings: Settings) -> dg.RunRequest | dg.SkipReason:
    """Request the week that ended the day before the tick, if its Sunday is computed."""
    week = _ended_week(context, settings)
    if isinstance(week, dg.SkipReason):
        return week
    sunday = week + timedelta(days=6)
    with open_installation(settings) as installation:
        if not installation.transaction(day_counts, sunday, sunday):
            return dg.SkipReason(waits_for_sunday(week))
    return _request_partition(context, week)


def _request_report(context: dg.ScheduleEvaluationContext, settings: Settings) -> dg.RunRequest | dg.SkipReason:
    """Request the report of the week that ended the day before the tick, if its recommendations are computed."""
    week = _ended_week(context, settings)
    if isinstance(week, dg.SkipReason):
        return week
    with open_installation(settings) as installation:
        if not installation.transaction(computed_weeks, week, week):
            return dg.SkipReason(waits_for_recommendations(week))
    return _request_partition(context, week)


def _ended_week(context: dg.ScheduleEvaluationContext, settings: Settings) -> date | dg.SkipReason:
    tick = context.scheduled_execution_time
    week = tick.date() - timedelta(days=7)
    if week.isoformat() not in weekly_partitions(settings).get_partition_keys(current_time=tick):
        return dg.SkipReason(f"the week of {week} began before SNAPSHOT_START_DATE={settings.start_date}")
    return week


def _request_partition(context: dg.ScheduleEvaluationContext, week: date) -> dg.RunRequest:
    at = f"{context.scheduled_execution_time:%Y-%m-%dT%H:%M%z}"
    tags = {PRIORITY_TAG: SCHEDULE_PRIORITY}
    return dg.RunRequest(run_key=f"{week}@{at}", partition_key=week.isoformat(), tags=tags)


def _request_checks(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    tick = context.scheduled_execution_time.isoformat()
    return dg.RunRequest(run_key=tick, tags={SEED_TAG: tick, PRIORITY_TAG: SCHEDULE_PRIORITY})

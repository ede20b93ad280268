"""When the jobs run by themselves: the night at 00:00, what follows it at 03:00 and 04:00, the week on Monday at 06:00.

Put here: the ticks and what each asks for. Everything follows from the tick's scheduled time, never from the clock.
Do not put here: what a run does.
See https://docs.dagster.io/guides/automate/schedules.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import dagster as dg

from snapshot_pipeline.orchestration.assets import cohort_summary, performance_snapshots
from snapshot_pipeline.orchestration.descriptions import described_plainly
from snapshot_pipeline.orchestration.jobs import (
    daily_checks_job,
    daily_snapshots_job,
    weekly_recommendations_job,
    weekly_report_job,
)
from snapshot_pipeline.orchestration.partitions import daily_partitions, range_tags, ranges, weekly_partitions
from snapshot_pipeline.orchestration.tags import REASON, SEED
from snapshot_pipeline.pipeline.reasons import NIGHTLY
from snapshot_pipeline.settings import Settings

_MISSED = "the tick's error says why; what one tick missed, the next one asks for."

_LEFT_ALONE = {dg.AssetPartitionStatus.MATERIALIZED, dg.AssetPartitionStatus.IN_PROGRESS}


def build_daily_snapshots_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """The schedule of the snapshots.

    After a downtime Dagster launches the last missed tick only, so each tick looks back: it asks for every day of the
    last `SNAPSHOT_CATCH_UP_DAYS` that is neither there nor in progress, neighbours joined into one run. The last
    `SNAPSHOT_LATE_DAYS` before the newest are asked for even when they are there: their rows may have come late, and
    what comes out the same is not written.

    Each run summarizes its days as well. Where a summary could not be made, or snapshots were materialized without it,
    the next tick asks for the summary alone, of any of the last `SNAPSHOT_LATE_WINDOW_DAYS` days.
    """
    days = daily_partitions(settings)

    @dg.schedule(
        name="daily_snapshots_schedule",
        job=daily_snapshots_job,
        cron_schedule="0 0 * * *",
        execution_timezone=settings.timezone,
        default_status=_default_status(settings),
        description=described_plainly(
            f"The day that has just ended, the {settings.late_days} days before it again, since rows may have come "
            f"late, and whichever of the last {settings.catch_up_days} days is missing; each with its summary. Of the "
            f"last {settings.late_window_days} days also the summaries that are older than their snapshots.",
            reads="which of these days Dagster knows as materialized or in progress.",
            runs=f"every night at 00:00 ({settings.timezone}), while it is switched on.",
            remediation=_MISSED,
        ),
    )
    def daily_snapshots_schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        tick = context.scheduled_execution_time
        recent = days.get_partition_keys(current_time=tick)[-max(settings.catch_up_days, settings.late_days + 1) :]
        status = context.instance.get_status_by_partition(performance_snapshots.KEY, recent, days) or {}
        caught_up = set(recent[-settings.catch_up_days :])
        late = set(recent[-1 - settings.late_days : -1])
        wanted = [
            date.fromisoformat(day)
            for day in recent
            if (day in caught_up and status.get(day) not in _LEFT_ALONE)
            or (day in late and status.get(day) != dg.AssetPartitionStatus.IN_PROGRESS)
        ]
        window = days.get_partition_keys(current_time=tick)[-settings.late_window_days :]
        unsummarized = [day for day in _unsummarized(context.instance, settings, window) if day not in wanted]
        if not wanted and not unsummarized:
            return dg.SkipReason(f"all of the last {len(recent)} days are there or in progress")
        # The tick belongs in the key: a day that failed must be asked for again the next night.
        at = f"{tick:%Y-%m-%dT%H:%M%z}"
        return [
            dg.RunRequest(run_key=f"{first}..{last}@{at}", tags={**range_tags(first, last), REASON: NIGHTLY})
            for first, last in ranges(wanted, settings)
        ] + [
            dg.RunRequest(
                run_key=f"summary {first}..{last}@{at}",
                tags={**range_tags(first, last), REASON: NIGHTLY},
                asset_selection=[cohort_summary.KEY],
            )
            for first, last in ranges(unsummarized, settings)
        ]

    return daily_snapshots_schedule


def _unsummarized(instance: dg.DagsterInstance, settings: Settings, window: Sequence[str]) -> list[date]:
    """Those of the days whose snapshots are newer than their summary, and that are not being summarized; ascending."""
    if not window:  # Dagster takes an empty set for all partitions
        return []
    event = dg.DagsterEventType.ASSET_MATERIALIZATION
    computed = instance.get_latest_storage_id_by_partition(performance_snapshots.KEY, event, set(window))
    summarized = instance.get_latest_storage_id_by_partition(cohort_summary.KEY, event, set(window))
    behind = [day for day in window if day in computed and summarized.get(day, -1) < computed[day]]
    status = instance.get_status_by_partition(cohort_summary.KEY, behind, daily_partitions(settings)) or {}
    return [date.fromisoformat(day) for day in behind if status.get(day) != dg.AssetPartitionStatus.IN_PROGRESS]


def build_weekly_recommendations_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """The schedule of the recommendations: the newest week only, since an older one is never shown."""

    @dg.schedule(
        name="weekly_recommendations_schedule",
        job=weekly_recommendations_job,
        cron_schedule="0 6 * * 1",
        execution_timezone=settings.timezone,
        default_status=_default_status(settings),
        description=described_plainly(
            "The recommendations of the week that has just ended; an older week is never shown, and not asked for.",
            reads="nothing but the time of its tick.",
            runs=f"every Monday at 06:00 ({settings.timezone}), while it is switched on.",
            remediation="launch the job `weekly_recommendations_job` for the week; the next tick is for the next one.",
        ),
    )
    def weekly_recommendations_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return _newest_week(context, settings)

    return weekly_recommendations_schedule


def build_weekly_report_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """The schedule of the weekly page: half an hour after the recommendations, which it counts."""

    @dg.schedule(
        name="weekly_report_schedule",
        job=weekly_report_job,
        cron_schedule="30 6 * * 1",
        execution_timezone=settings.timezone,
        default_status=_default_status(settings),
        description=described_plainly(
            "The page of the week that has just ended, after its recommendations, which it counts.",
            reads="nothing but the time of its tick.",
            runs=f"every Monday at 06:30 ({settings.timezone}), while it is switched on.",
            remediation="launch the job `weekly_report_job` for the week; the next tick is for the next one.",
        ),
    )
    def weekly_report_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return _newest_week(context, settings)

    return weekly_report_schedule


def build_daily_checks_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """The schedule of the checks that look at many days."""

    @dg.schedule(
        name="daily_checks_schedule",
        job=daily_checks_job,
        cron_schedule="0 3 * * *",
        execution_timezone=settings.timezone,
        default_status=_default_status(settings),
        description=described_plainly(
            "What is broken now, and a day drawn by lot, computed again to compare.",
            reads="nothing but the time of its tick, which the day is drawn by.",
            runs=f"every day at 03:00 ({settings.timezone}), while it is switched on.",
            remediation=_MISSED,
        ),
    )
    def daily_checks_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        tick = context.scheduled_execution_time.isoformat()
        return dg.RunRequest(run_key=tick, tags={SEED: tick})

    return daily_checks_schedule


def build_daily_housekeeping_schedule(settings: Settings, housekeeping: dg.JobDefinition) -> dg.ScheduleDefinition:
    """The schedule of what removes old rows: when the night's runs are long over."""
    return dg.ScheduleDefinition(
        name="daily_housekeeping_schedule",
        job=housekeeping,
        cron_schedule="0 4 * * *",
        execution_timezone=settings.timezone,
        default_status=_default_status(settings),
        description=described_plainly(
            "Removes what has had its time, and makes the partitions of the months to come.",
            reads="nothing but the time of its tick.",
            runs=f"every day at 04:00 ({settings.timezone}), while it is switched on.",
            remediation=_MISSED,
        ),
    )


def _newest_week(context: dg.ScheduleEvaluationContext, settings: Settings) -> dg.RunRequest | dg.SkipReason:
    """Ask for the week that ended on the day before the tick."""
    tick = context.scheduled_execution_time
    week = (tick.date() - timedelta(days=7)).isoformat()
    if week not in weekly_partitions(settings).get_partition_keys(current_time=tick):
        return dg.SkipReason(f"the week of {week} began before SNAPSHOT_START_DATE={settings.start_date}")
    return dg.RunRequest(run_key=f"{week}@{tick:%Y-%m-%dT%H:%M%z}", partition_key=week)


def _default_status(settings: Settings) -> dg.DefaultScheduleStatus:
    return dg.DefaultScheduleStatus.RUNNING if settings.schedules else dg.DefaultScheduleStatus.STOPPED

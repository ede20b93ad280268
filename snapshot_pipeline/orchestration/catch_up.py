"""`catch_up_sensor` requests due days and weeks that are missing, so that nobody has to act after an outage.

Each schedule has one tick. A day whose run failed in a database outage, a week that waits for its Sunday and a report
that waits for its recommendations are requested again until they are computed, at most once an hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone

import dagster as dg

from snapshot_pipeline.orchestration.assets import adaptive_recommendations, performance_snapshots, weekly_report
from snapshot_pipeline.orchestration.jobs import daily_snapshots_job, weekly_recommendations_job, weekly_report_job
from snapshot_pipeline.orchestration.names import PRIORITY_TAG, REASON_TAG, SCHEDULE_PRIORITY
from snapshot_pipeline.orchestration.partitions import (
    REPORT_AT,
    WEEKLY_AT,
    daily_partitions,
    in_progress,
    range_tags,
    run_ranges,
    weekly_partitions,
)
from snapshot_pipeline.orchestration.schedules import default_status, waits_for_recommendations, waits_for_sunday
from snapshot_pipeline.pipeline.installation import Installation, open_installation
from snapshot_pipeline.pipeline.periods import due_days, last_closed_week
from snapshot_pipeline.pipeline.reasons import NIGHTLY
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.days import day_counts
from snapshot_pipeline.store.recommendations import computed_weeks

SECONDS = 120

_GRACE = timedelta(minutes=10)
"""How long a schedule may take before this sensor requests what is still missing."""

_TAGS = {REASON_TAG: NIGHTLY, PRIORITY_TAG: SCHEDULE_PRIORITY}


def build_catch_up_sensor(settings: Settings) -> dg.SensorDefinition:
    """Build the sensor that requests due days and weeks that are missing."""

    @dg.sensor(
        jobs=[daily_snapshots_job, weekly_recommendations_job, weekly_report_job],
        minimum_interval_seconds=SECONDS,
        default_status=default_status(dg.DefaultSensorStatus, settings),
        description=(
            f"Requests each due day of the last {settings.catch_up_days} that is missing, the newest week once "
            "its Sunday is computed, and the report of that week once its recommendations are; at most once an hour. "
            "What was due before the sensor was first switched on is left to the schedules."
        ),
    )
    def catch_up_sensor(context: dg.SensorEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        now = datetime.now(timezone.utc)  # a sensor has no scheduled time
        since = datetime.fromisoformat(context.cursor) if context.cursor else now
        context.update_cursor(since.isoformat())
        with open_installation(settings) as installation:
            return request_missing(installation, context.instance, since, now)

    return catch_up_sensor


def request_missing(
    installation: Installation, instance: dg.DagsterInstance, since: datetime, now: datetime
) -> list[dg.RunRequest] | dg.SkipReason:
    """Request what became due after `since` and is neither computed nor in progress.

    The run keys contain the hour: whatever is still missing then is requested again.
    """
    requests: list[dg.RunRequest] = []
    waiting: list[str] = []
    for request in (
        *_missing_days(installation, instance, since, now),
        _missing_week(installation, instance, since, now),
        _missing_report(installation, instance, since, now),
    ):
        if isinstance(request, dg.RunRequest):
            requests.append(request)
        elif request is not None:
            waiting.append(request)
    return requests or dg.SkipReason("; ".join(waiting) or "everything that is due is computed or in progress")


def _missing_days(
    installation: Installation, instance: dg.DagsterInstance, since: datetime, now: datetime
) -> Iterator[dg.RunRequest]:
    settings = installation.settings
    old = set(due_days(settings, since))
    due = [day for day in due_days(settings, now) if day not in old]
    if not due:
        return
    computed = {count.day for count in installation.transaction(day_counts, due[0], due[-1])}
    missing = [day for day in due if day not in computed]
    keys = [day.isoformat() for day in missing]
    running = in_progress(instance, performance_snapshots.KEY, keys, daily_partitions(settings))
    wanted = [day for day in missing if day.isoformat() not in running]
    for first, last in run_ranges(wanted, settings):
        yield dg.RunRequest(
            run_key=f"{first}..{last}@{now:%Y-%m-%dT%H}",
            job_name=daily_snapshots_job.name,
            tags={**range_tags(first, last), **_TAGS},
        )


def _missing_week(
    installation: Installation, instance: dg.DagsterInstance, since: datetime, now: datetime
) -> dg.RunRequest | str | None:
    settings = installation.settings
    week = _due_week(settings, WEEKLY_AT, since, now)
    if week is None or installation.transaction(computed_weeks, week, week):
        return None
    sunday = week + timedelta(days=6)
    if not installation.transaction(day_counts, sunday, sunday):
        return waits_for_sunday(week)
    if in_progress(instance, adaptive_recommendations.KEY, [week.isoformat()], weekly_partitions(settings)):
        return None
    return _week_request(weekly_recommendations_job.name, week, now)


def _missing_report(
    installation: Installation, instance: dg.DagsterInstance, since: datetime, now: datetime
) -> dg.RunRequest | str | None:
    settings = installation.settings
    week = _due_week(settings, REPORT_AT, since, now)
    if week is None:
        return None
    computed_at = installation.transaction(computed_weeks, week, week).get(week)
    if computed_at is None:
        return waits_for_recommendations(week)
    if in_progress(instance, weekly_report.KEY, [week.isoformat()], weekly_partitions(settings)):
        return None
    filter_ = dg.AssetRecordsFilter(asset_key=weekly_report.KEY, asset_partitions=[week.isoformat()])
    written = instance.fetch_materializations(filter_, limit=1).records
    if written and written[0].timestamp >= computed_at.timestamp():
        return None
    return _week_request(weekly_report_job.name, week, now)


def _due_week(settings: Settings, at: time, since: datetime, now: datetime) -> date | None:
    """Return the week that ended last, if its schedule was after `since` and long enough ago."""
    week = last_closed_week(settings, now)
    due_at = datetime.combine(week + timedelta(weeks=1), at, settings.zone)
    exists = week.isoformat() in weekly_partitions(settings).get_partition_keys(current_time=now)
    return week if exists and since < due_at <= now - _GRACE else None


def _week_request(job_name: str, week: date, now: datetime) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"{job_name} {week}@{now:%Y-%m-%dT%H}",
        job_name=job_name,
        partition_key=week.isoformat(),
        tags=_TAGS,
    )

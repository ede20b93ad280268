"""Asks for days again whose rows in the platform have changed since they were computed.

Put here: when it looks, and which runs it asks for. Do not put here: how a change is found (`pipeline.late_data`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import dagster as dg

from snapshot_pipeline.orchestration.assets import performance_snapshots
from snapshot_pipeline.orchestration.jobs import daily_snapshots
from snapshot_pipeline.orchestration.partitions import daily_partitions, range_tags, ranges
from snapshot_pipeline.orchestration.tags import REASON
from snapshot_pipeline.pipeline.installation import open_installation
from snapshot_pipeline.pipeline.late_data import changed_days
from snapshot_pipeline.pipeline.reasons import LATE_DATA
from snapshot_pipeline.settings import Settings

NAME = "late_data"


def build_late_data(settings: Settings) -> dg.SensorDefinition:
    """The sensor of one installation."""
    days = daily_partitions(settings)
    running = dg.DefaultSensorStatus.RUNNING if settings.schedules else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        name=NAME,
        job=daily_snapshots,
        minimum_interval_seconds=settings.late_check_minutes * 60,
        default_status=running,
        description=(
            f"Every {settings.late_check_minutes} minutes: whether rows of the last {settings.late_window_days} days "
            "were added, changed or removed since their day was computed. From the earliest such day on all days are "
            "computed again; what comes out the same is not written."
        ),
    )
    def late_data(context: dg.SensorEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        # What has changed by now is asked for; a sensor has no scheduled time.
        window = [date.fromisoformat(day) for day in days.get_partition_keys()[-settings.late_window_days :]]
        return ask_for_late_data(context.instance, settings, window)

    return late_data


def ask_for_late_data(
    instance: dg.DagsterInstance, settings: Settings, window: Sequence[date]
) -> list[dg.RunRequest] | dg.SkipReason:
    """Ask for all days from the earliest changed one on, unless one of them is on its way already.

    The runs have no run key: a change that was computed is none any more, one that is on its way is seen by the state
    of its days, from the moment its run is created on, and one whose run has failed is to be asked for again.

    Args:
        instance: Where the state of the days is.
        settings: The installation.
        window: The days to look at, ascending, without a gap, up to the last that has ended.
    """
    if not window:
        return dg.SkipReason("no day has ended yet")
    with open_installation(settings) as installation:
        changed = changed_days(installation, window[0], window[-1])
    if not changed:
        return dg.SkipReason(f"no row of {window[0]} to {window[-1]} has changed since its day was computed")
    wanted = [changed[0] + timedelta(days=number) for number in range((window[-1] - changed[0]).days + 1)]
    busy = _in_progress(instance, settings, wanted)
    if busy:
        return dg.SkipReason(
            f"rows of {', '.join(map(str, changed))} have changed; {busy[0]} is being computed right now, so the next "
            "look decides"
        )
    return [dg.RunRequest(tags={**range_tags(first, last), REASON: LATE_DATA}) for first, last in ranges(wanted)]


def _in_progress(instance: dg.DagsterInstance, settings: Settings, days: Sequence[date]) -> list[date]:
    keys = [day.isoformat() for day in days]
    status = instance.get_status_by_partition(performance_snapshots.KEY, keys, daily_partitions(settings)) or {}
    return [day for day in days if status.get(day.isoformat()) == dg.AssetPartitionStatus.IN_PROGRESS]

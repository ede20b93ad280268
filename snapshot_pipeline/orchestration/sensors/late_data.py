"""Asks for days again whose rows in the platform have changed since they were computed.

Put here: when it looks, and which runs it asks for. Do not put here: how a change is found (`pipeline.late_data`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import dagster as dg

from snapshot_pipeline.orchestration.assets import performance_snapshots
from snapshot_pipeline.orchestration.descriptions import described_plainly
from snapshot_pipeline.orchestration.jobs import daily_snapshots_job
from snapshot_pipeline.orchestration.partitions import daily_partitions, range_tags, ranges
from snapshot_pipeline.orchestration.tags import REASON
from snapshot_pipeline.pipeline.installation import open_installation
from snapshot_pipeline.pipeline.late_data import LateDataScan, scan_for_late_data
from snapshot_pipeline.pipeline.reasons import LATE_DATA
from snapshot_pipeline.settings import Settings

NAME = "late_data_sensor"

LOOK_SECONDS = 20.0
"""How long one tick looks at the most, but for its last slice: Dagster gives a sensor a minute. A platform that takes
longer is looked at over several ticks, the newest days first."""


def build_late_data_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor of one installation."""
    days = daily_partitions(settings)
    running = dg.DefaultSensorStatus.RUNNING if settings.schedules else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        name=NAME,
        job=daily_snapshots_job,
        minimum_interval_seconds=settings.late_check_minutes * 60,
        default_status=running,
        description=described_plainly(
            f"Asks for days again of which rows were added, changed or removed since they were computed, of the last "
            f"{settings.late_window_days} days. From the earliest such day on all days are computed again; what comes "
            "out the same is not written.",
            reads="a fingerprint of the platform's rows of each day, and the one that its run has noted.",
            runs=f"every {settings.late_check_minutes} minutes, while it is switched on.",
            remediation="the tick's error is one line that says what to do; the next tick looks at all of it again.",
        ),
    )
    def late_data_sensor(context: dg.SensorEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        # What has changed by now is asked for; a sensor has no scheduled time.
        window = [date.fromisoformat(day) for day in days.get_partition_keys()[-settings.late_window_days :]]
        if not window:
            return dg.SkipReason("no day has ended yet")
        with open_installation(settings) as installation:
            look = scan_for_late_data(installation, still_to_be_looked_at(window, context.cursor), LOOK_SECONDS)
        is_through = look.scanned_from == window[0]
        context.update_cursor("" if is_through else look.scanned_from.isoformat())
        return ask_for_late_data(context.instance, settings, look, window[-1])

    return late_data_sensor


def still_to_be_looked_at(window: Sequence[date], cursor: str | None) -> Sequence[date]:
    """The days before the one at which the look of the last tick ended; all of them when it came to the end."""
    return [day for day in window if cursor and day.isoformat() < cursor] or window


def ask_for_late_data(
    instance: dg.DagsterInstance, settings: Settings, look: LateDataScan, last: date
) -> list[dg.RunRequest] | dg.SkipReason:
    """Ask for all days from the earliest changed one on, unless one of them is on its way already.

    The runs have no run key: a change that was computed is none any more, one that is on its way is seen by the state
    of its days, from the moment its run is created on, and one whose run has failed is to be asked for again.

    Args:
        instance: Where the state of the days is.
        settings: The installation.
        look: What was found.
        last: The last day that has ended.
    """
    changed = look.changed
    if not changed:
        return dg.SkipReason(f"no row from {look.scanned_from} on has changed since its day was computed")
    wanted = [changed[0] + timedelta(days=number) for number in range((last - changed[0]).days + 1)]
    busy = _in_progress(instance, settings, wanted)
    if busy:
        return dg.SkipReason(
            f"rows of {', '.join(map(str, changed))} have changed; {busy[0]} is being computed right now, so the next "
            "look decides"
        )
    return [
        dg.RunRequest(tags={**range_tags(first, last), REASON: LATE_DATA}) for first, last in ranges(wanted, settings)
    ]


def _in_progress(instance: dg.DagsterInstance, settings: Settings, days: Sequence[date]) -> list[date]:
    keys = [day.isoformat() for day in days]
    status = instance.get_status_by_partition(performance_snapshots.KEY, keys, daily_partitions(settings)) or {}
    return [day for day in days if status.get(day.isoformat()) == dg.AssetPartitionStatus.IN_PROGRESS]

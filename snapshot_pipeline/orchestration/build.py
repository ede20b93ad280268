"""Puts the Dagster objects of one installation together.

Put here: the list. Do not put here: the objects.
"""

from __future__ import annotations

import re
import warnings

import dagster as dg

from snapshot_pipeline.orchestration.assets.adaptive_recommendations import build_adaptive_recommendations
from snapshot_pipeline.orchestration.assets.cohort_summary import build_cohort_summary
from snapshot_pipeline.orchestration.assets.learning_platform import build_learning_platform
from snapshot_pipeline.orchestration.assets.performance_snapshots import build_performance_snapshots
from snapshot_pipeline.orchestration.assets.weekly_report import build_weekly_report
from snapshot_pipeline.orchestration.daily_checks import build_no_open_incidents, build_recompute_matches
from snapshot_pipeline.orchestration.housekeeping import build_housekeeping
from snapshot_pipeline.orchestration.jobs import (
    daily_checks_job,
    daily_snapshots_job,
    weekly_recommendations_job,
    weekly_report_job,
)
from snapshot_pipeline.orchestration.recompute_days import build_recompute_days
from snapshot_pipeline.orchestration.retry_failed import build_retry_failed
from snapshot_pipeline.orchestration.schedules import (
    build_daily_checks_schedule,
    build_daily_housekeeping_schedule,
    build_daily_snapshots_schedule,
    build_weekly_recommendations_schedule,
    build_weekly_report_schedule,
)
from snapshot_pipeline.orchestration.sensors.incidents import build_alert_delivery_sensor, build_incident_scan_sensor
from snapshot_pipeline.orchestration.sensors.late_data import build_late_data_sensor
from snapshot_pipeline.orchestration.source_links import linked_to_source
from snapshot_pipeline.settings import Settings

_KNOWN_MARKS = (
    "Specifying a partitions_def on an AssetCheckSpec is currently in preview",  # all of it is in `checks_by_day`
    # A link to the source that is missing breaks nothing.
    "Function `with_source_code_references` is currently in beta",
    "Class `LocalFileCodeReference` is currently in beta",
    "Class `CodeReferencesMetadataValue` is currently in beta",
    "Parameter `backfill_policy` of function `asset` is currently in beta",  # tested by a backfill on a real instance
)


def build_defs(settings: Settings) -> dg.Definitions:
    """Fresh definitions for these settings; nothing is connected to, nothing is started."""
    with warnings.catch_warnings():
        for message in _KNOWN_MARKS:
            warnings.filterwarnings("ignore", message=re.escape(message))
        return _definitions(settings)


def _definitions(settings: Settings) -> dg.Definitions:
    housekeeping = build_housekeeping(settings)
    return dg.Definitions(
        assets=linked_to_source(
            [
                *build_learning_platform(settings),
                build_performance_snapshots(settings),
                build_cohort_summary(settings),
                build_adaptive_recommendations(settings),
                build_weekly_report(settings),
            ]
        ),
        asset_checks=[build_no_open_incidents(settings), build_recompute_matches(settings)],
        jobs=[
            daily_snapshots_job,
            weekly_recommendations_job,
            weekly_report_job,
            daily_checks_job,
            build_recompute_days(settings),
            build_retry_failed(settings),
            housekeeping,
        ],
        schedules=[
            build_daily_snapshots_schedule(settings),
            build_weekly_recommendations_schedule(settings),
            build_weekly_report_schedule(settings),
            build_daily_checks_schedule(settings),
            build_daily_housekeeping_schedule(settings, housekeeping),
        ],
        sensors=[
            build_incident_scan_sensor(settings),
            build_alert_delivery_sensor(settings),
            build_late_data_sensor(settings),
        ],
        # One process a run: a child that outlives its killed parent could go on writing, and costs two seconds.
        executor=dg.in_process_executor,
    )

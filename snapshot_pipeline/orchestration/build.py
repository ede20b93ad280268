"""Builds the definitions of one installation from its settings."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from snapshot_pipeline.orchestration.assets.adaptive_recommendations import build_adaptive_recommendations
from snapshot_pipeline.orchestration.assets.at_risk_students import build_at_risk_students
from snapshot_pipeline.orchestration.assets.cohort_summary import build_cohort_summary
from snapshot_pipeline.orchestration.assets.incidents import build_incidents
from snapshot_pipeline.orchestration.assets.learning_platform import build_learning_platform
from snapshot_pipeline.orchestration.assets.performance_snapshots import build_performance_snapshots
from snapshot_pipeline.orchestration.assets.recomputed_day import build_recomputed_day
from snapshot_pipeline.orchestration.assets.weekly_report import build_weekly_report
from snapshot_pipeline.orchestration.catch_up import build_catch_up_sensor
from snapshot_pipeline.orchestration.housekeeping import build_housekeeping_job
from snapshot_pipeline.orchestration.jobs import (
    daily_checks_job,
    daily_snapshots_job,
    weekly_recommendations_job,
    weekly_report_job,
)
from snapshot_pipeline.orchestration.manual_jobs import (
    build_late_data_job,
    build_recompute_days_job,
    build_retry_failed_job,
)
from snapshot_pipeline.orchestration.platform_checks import build_platform_contract
from snapshot_pipeline.orchestration.resources import build_resources
from snapshot_pipeline.orchestration.schedules import build_schedules
from snapshot_pipeline.orchestration.sensors import (
    build_alert_delivery_sensor,
    build_incident_scan_sensor,
    build_late_data_sensor,
)
from snapshot_pipeline.settings import Settings

_ACCEPTED_WARNINGS = (
    "Specifying a partitions_def on an AssetCheckSpec is currently in preview",  # used by `partitioned_checks` only
    # A missing link to the source breaks nothing.
    "Function `with_source_code_references` is currently in beta",
    "Class `LocalFileCodeReference` is currently in beta",
    "Class `CodeReferencesMetadataValue` is currently in beta",
    "Parameter `backfill_policy` of function `asset` is currently in beta",  # tested by a backfill on a real instance
)

_CHECKOUT = Path(__file__).parents[2]


def build_defs(settings: Settings) -> dg.Definitions:
    """Build new definitions from these settings; connect to nothing and start nothing."""
    with warnings.catch_warnings():
        for message in _ACCEPTED_WARNINGS:
            warnings.filterwarnings("ignore", message=re.escape(message))
        return _definitions(settings)


def _definitions(settings: Settings) -> dg.Definitions:
    housekeeping_job = build_housekeeping_job(settings)
    return dg.Definitions(
        assets=_link_to_source(
            [
                *build_learning_platform(settings),
                build_performance_snapshots(settings),
                build_cohort_summary(settings),
                build_adaptive_recommendations(settings),
                build_at_risk_students(settings),
                build_weekly_report(settings),
                build_recomputed_day(settings),
                build_incidents(settings),
            ]
        ),
        asset_checks=[build_platform_contract(settings)],
        jobs=[
            daily_snapshots_job,
            weekly_recommendations_job,
            weekly_report_job,
            daily_checks_job,
            build_recompute_days_job(settings),
            build_retry_failed_job(settings),
            build_late_data_job(settings),
            housekeeping_job,
        ],
        schedules=build_schedules(settings, housekeeping_job),
        sensors=[
            build_incident_scan_sensor(settings),
            build_alert_delivery_sensor(settings),
            build_late_data_sensor(settings),
            build_catch_up_sensor(settings),
        ],
        resources=build_resources(settings),
        # One process per run: a child process that outlives its killed parent could go on writing, and costs 2 s.
        executor=dg.in_process_executor,
    )


def _link_to_source(assets: Sequence[dg.AssetsDefinition | dg.AssetSpec]) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """Add the links behind "Open in editor" when this is a checkout and not an installed package."""
    if not (_CHECKOUT / "pyproject.toml").is_file():
        return list(assets)
    return list(dg.with_source_code_references(assets))  # type: ignore[arg-type]

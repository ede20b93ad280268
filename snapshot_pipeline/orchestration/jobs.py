"""The asset jobs: daily snapshots, weekly recommendations, the weekly report and the daily checks.

Jobs that an operator launches with a configuration are in `manual_jobs`, housekeeping is in `housekeeping`.
See https://docs.dagster.io/guides/build/jobs/asset-jobs.
"""

from __future__ import annotations

import dagster as dg

from snapshot_pipeline.orchestration.assets import (
    adaptive_recommendations,
    at_risk_students,
    cohort_summary,
    performance_snapshots,
    recomputed_day,
    weekly_report,
)
from snapshot_pipeline.orchestration.platform_checks import CONTRACT_CHECKS

# Daily and weekly assets have separate jobs: the assets of a job share one partitions definition.
daily_snapshots_job = dg.define_asset_job(
    "daily_snapshots_job",
    selection=dg.AssetSelection.assets(performance_snapshots.KEY, cohort_summary.KEY),
    description=(
        "Computes the snapshots of a day or a range of days, and their summaries. "
        "Safe to run again: only differences are written."
    ),
)

daily_checks_job = dg.define_asset_job(
    "daily_checks_job",
    selection=dg.AssetSelection.assets(recomputed_day.KEY) | dg.AssetSelection.checks(*CONTRACT_CHECKS),
    description=(
        "Compares a random day with its recomputation, and checks the platform's tables. Writes no snapshots."
    ),
)

weekly_recommendations_job = dg.define_asset_job(
    "weekly_recommendations_job",
    selection=dg.AssetSelection.assets(adaptive_recommendations.KEY, at_risk_students.KEY),
    description=(
        "Computes the recommendations and the students at risk of a week that has ended. "
        "Safe to run again: unchanged recommendations are kept."
    ),
)

# A separate job, so that a report that cannot be written does not fail the recommendations.
weekly_report_job = dg.define_asset_job(
    "weekly_report_job",
    selection=dg.AssetSelection.assets(weekly_report.KEY),
    description="Writes the report of a week. Safe to run again: it replaces the earlier report.",
)

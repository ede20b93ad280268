"""What can be launched by name: the night, the week and the checks of the morning.

Put here: a name, a sentence and a selection. Do not put here: when it runs (`schedules`).
See https://docs.dagster.io/guides/build/jobs/asset-jobs.
"""

from __future__ import annotations

import dagster as dg

from snapshot_pipeline.orchestration import daily_checks
from snapshot_pipeline.orchestration.assets import (
    adaptive_recommendations,
    cohort_summary,
    performance_snapshots,
    weekly_report,
)

# Two jobs and not one: Dagster does not let daily and weekly partitions share a job.
daily_snapshots = dg.define_asset_job(
    "daily_snapshots",
    # Without the checks of the morning, which belong to no day.
    selection=dg.AssetSelection.assets(performance_snapshots.KEY, cohort_summary.KEY)
    - dg.AssetSelection.checks(daily_checks.STANDING, daily_checks.REBUILD),
    description=(
        "Computes the snapshots of a day or a range of days, and summarizes them. Safe to run again: only what differs "
        "is written."
    ),
)

daily_checks_job = dg.define_asset_job(
    "daily_checks",
    selection=dg.AssetSelection.checks(daily_checks.STANDING, daily_checks.REBUILD),
    description="Looks for what is broken now, and computes a day drawn by lot again to compare. Writes no snapshot.",
)

weekly_recommendations = dg.define_asset_job(
    "weekly_recommendations",
    selection=dg.AssetSelection.assets(adaptive_recommendations.KEY),
    description="Computes the recommendations of a week. Safe to run again: what still holds is kept.",
)

# A job of its own: a page that cannot be written must not make the recommendations red.
weekly_page = dg.define_asset_job(
    "weekly_page",
    selection=dg.AssetSelection.assets(weekly_report.KEY),
    description="Writes the page of a week. Safe to run again: it takes the place of the page of before.",
)

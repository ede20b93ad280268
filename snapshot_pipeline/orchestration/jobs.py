"""What can be launched by name: the night, the week and the checks of the morning.

Put here: a name, a description and a selection. Do not put here: when it runs (`schedules`), or jobs with a step of
their own (`recompute_days`, `retry_failed`, `housekeeping`).
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
from snapshot_pipeline.orchestration.descriptions import described

# Two jobs and not one: Dagster does not let daily and weekly partitions share a job.
daily_snapshots_job = dg.define_asset_job(
    "daily_snapshots_job",
    # Without the checks of the morning, which belong to no day.
    selection=dg.AssetSelection.assets(performance_snapshots.KEY, cohort_summary.KEY)
    - dg.AssetSelection.checks(daily_checks.NO_OPEN_INCIDENTS, daily_checks.RECOMPUTE_MATCHES),
    description=described(
        "Computes the snapshots of a day or a range of days, and summarizes them. Safe to run again: only what differs "
        "is written.",
        reads="the platform's users, progress, quiz attempts and exercises.",
        runs=(
            "every night at 00:00 by the schedule `daily_snapshots_schedule`, whenever rows came late by the sensor "
            "`late_data_sensor`, and by "
            "*Launch backfill* for the days chosen there."
        ),
        remediation="the failed step has one line that says what to do; then launch it again for the same days.",
    ),
)

daily_checks_job = dg.define_asset_job(
    "daily_checks_job",
    selection=dg.AssetSelection.checks(daily_checks.NO_OPEN_INCIDENTS, daily_checks.RECOMPUTE_MATCHES),
    description=described(
        "Looks for what is broken now, and computes a day drawn by lot again to compare. Writes no snapshot.",
        reads="our tables, and the platform's rows of the day drawn.",
        runs="every morning at 03:00 by the schedule `daily_checks_schedule`, and at any time by hand.",
        remediation="a check that is red says what to do. A run that is red could not look: its one line says why.",
    ),
)

weekly_recommendations_job = dg.define_asset_job(
    "weekly_recommendations_job",
    selection=dg.AssetSelection.assets(adaptive_recommendations.KEY),
    description=described(
        "Computes the recommendations of a week. Safe to run again: what still holds is kept.",
        reads="the week's snapshots, and the platform's users, lessons, progress, quizzes and attempts.",
        runs="every Monday at 06:00 by the schedule `weekly_recommendations_schedule`, and for any week by hand.",
        remediation="its one line names the missing days; materialize them, then launch it again for the week.",
    ),
)

# A job of its own: a page that cannot be written must not make the recommendations red.
weekly_report_job = dg.define_asset_job(
    "weekly_report_job",
    selection=dg.AssetSelection.assets(weekly_report.KEY),
    description=described(
        "Writes the page of a week. Safe to run again: it takes the place of the page of before.",
        reads="the summaries of the week's days and of the week before, the week's recommendations and failures.",
        runs="every Monday at 06:30 by the schedule `weekly_report_schedule`, and for any week by hand.",
        remediation="its one line says what to do: materialize the days that it names, then launch it again.",
    ),
)

"""`snapshot-pipeline recommend`: compute the recommendations of a week, through Dagster."""

from __future__ import annotations

from datetime import date, datetime

import click

from snapshot_pipeline.cli.periods import DAY, require_closed_week
from snapshot_pipeline.settings import Settings, load_settings


@click.command(name="recommend", epilog="Example: snapshot-pipeline recommend --week 2026-11-16")
@click.option("--week", type=DAY, required=True, help="The week's Monday.")
def command(week: datetime) -> None:
    """Compute the recommendations of a week that has ended.

    The snapshots of its Sunday must be there. An older week than the newest one is computed, but not shown to students.
    """
    settings = load_settings()
    require_closed_week(settings, week.date())
    recommend(settings, week.date())


def recommend(settings: Settings, week_start: date) -> None:
    """Compute the week and print its recommendations by type."""
    from snapshot_pipeline.cli.dagster_runs import ShownRuns, execute
    from snapshot_pipeline.cli.progress import shown_progress
    from snapshot_pipeline.cli.readings import read_week
    from snapshot_pipeline.cli.tables import print_week
    from snapshot_pipeline.pipeline.installation import open_installation

    with shown_progress("starting Dagster") as show:
        watch = ShownRuns(show).begin(f"week of {week_start}")
        execute(settings, "weekly_recommendations_job", {}, watch, partition_key=week_start.isoformat())
    with open_installation(settings) as installation:
        print_week(read_week(installation, week_start))

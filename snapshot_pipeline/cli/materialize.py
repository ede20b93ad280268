"""`snapshot-pipeline materialize`: compute the snapshots of a range of days, through Dagster."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import click

from snapshot_pipeline.cli.periods import DAY, require_closed_days
from snapshot_pipeline.settings import Settings, load_settings


@click.command(name="materialize", epilog="Example: snapshot-pipeline materialize --from 2026-11-01 --to 2026-11-22")
@click.option("--from", "first", type=DAY, required=True, help="The first day.")
@click.option("--to", "last", type=DAY, required=True, help="The last day, included.")
def command(first: datetime, last: datetime) -> None:
    """Compute the snapshots of the days FROM to TO, both included, SNAPSHOT_DAYS_PER_RUN of them a run.

    The runs are Dagster's: the UI shows them, their checks and their plots. Days that are there already are computed
    again: what differs is written, and noted in snapshot_restatements.
    """
    settings = load_settings()
    require_closed_days(settings, first.date(), last.date())
    materialize(settings, first.date(), last.date())


def materialize(settings: Settings, first: date, last: date) -> None:
    """Compute the days, SNAPSHOT_DAYS_PER_RUN of them a run, and print a table of them."""
    from snapshot_pipeline.cli.dagster_runs import ShownRuns, execute
    from snapshot_pipeline.cli.progress import shown_progress
    from snapshot_pipeline.cli.readings import read_days
    from snapshot_pipeline.cli.tables import print_days
    from snapshot_pipeline.orchestration.partitions import range_tags, ranges
    from snapshot_pipeline.orchestration.tags import REASON
    from snapshot_pipeline.pipeline.installation import open_installation
    from snapshot_pipeline.pipeline.reasons import COMMAND_LINE

    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    with shown_progress("starting Dagster") as show:
        runs = ShownRuns(show)
        for start, end in ranges(days, settings):
            watch = runs.begin(f"{start} to {end}", others_to_come=(last - end) / (end - start + timedelta(days=1)))
            execute(settings, "daily_snapshots_job", {**range_tags(start, end), REASON: COMMAND_LINE}, watch)
    with open_installation(settings) as installation:
        print_days(read_days(installation, first, last))

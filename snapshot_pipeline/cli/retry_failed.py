"""`snapshot-pipeline retry-failed`: compute only the students that failed, through Dagster."""

from __future__ import annotations

from datetime import date, datetime

import click

from snapshot_pipeline.cli.periods import DAY, PeriodError
from snapshot_pipeline.settings import Settings, load_settings


@click.command(name="retry-failed", epilog="Example: snapshot-pipeline retry-failed --from 2026-11-01 --to 2026-11-22")
@click.option("--from", "first", type=DAY, help="The first day; left out, from the oldest open failure.")
@click.option("--to", "last", type=DAY, help="The last day, included; left out, to the newest.")
def command(first: datetime | None, last: datetime | None) -> None:
    """Compute the students with an open failure again, for the days on which they failed and no others.

    For when their rows in the platform were mended. The success rates of their days follow; the run is Dagster's, and
    the UI shows each day as it stands.
    """
    settings = load_settings()
    days = (first.date() if first else None, last.date() if last else None)
    if days[0] and days[1] and days[0] > days[1]:
        raise PeriodError(f"--from {days[0]} is after --to {days[1]}; expected the earlier day first")
    retry(settings, *days)


def retry(settings: Settings, first: date | None, last: date | None) -> None:
    """Compute the failed students and print what was open, and what still is."""
    from snapshot_pipeline.cli.readings import read_days, read_failed_period, read_failures
    from snapshot_pipeline.cli.tables import print_days, print_failures
    from snapshot_pipeline.pipeline.installation import open_installation

    with open_installation(settings) as installation:
        period = read_failed_period(installation, first, last)
    if period is None:
        click.echo("No student has an open failure there; nothing to do.")
        return
    from snapshot_pipeline.cli.dagster_runs import ShownRuns, execute
    from snapshot_pipeline.cli.progress import shown_progress
    from snapshot_pipeline.orchestration.retry_failed import NAME, run_config

    with shown_progress("starting Dagster") as show:
        watch = ShownRuns(show).begin(f"{period[0]} to {period[1]}")
        execute(settings, NAME, {}, watch, run_config=run_config(first, last))
    with open_installation(settings) as installation:
        print_days(read_days(installation, *period))
        click.echo()
        print_failures(read_failures(installation, *period), *period, settings.zone)

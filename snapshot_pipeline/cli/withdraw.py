"""`snapshot-pipeline withdraw`: take back days or a week that should not have been published."""

from __future__ import annotations

from datetime import date

import click

from snapshot_pipeline.cli.terminal import DAY
from snapshot_pipeline.pipeline.periods import require_ascending
from snapshot_pipeline.settings import load_settings


@click.command(epilog="Example: snapshot-pipeline withdraw --week 2026-11-30")
@click.option("--from", "first", type=DAY, help="The first day.")
@click.option("--to", "last", type=DAY, help="The last day, inclusive.  [default: the first day]")
@click.option("--week", type=DAY, help="The day that names the week, usually its Monday.")
def withdraw(first: date | None, last: date | None, week: date | None) -> None:
    """Delete the days from --from to --to, or a published week.

    Deletes snapshots, failures, issues and summaries of the days; restatements stay. For a week, deletes the
    recommendations, the students at risk, and the report and lists on this machine, and shows the newest remaining
    week again. The days and the week are
    missing then: those that have ended are computed again by the schedules, like any missing day of the last
    SNAPSHOT_CATCH_UP_DAYS and the newest week.
    """
    if (first is None) == (week is None) or (week and last):
        raise click.UsageError("expected either --from and --to, or --week")
    from snapshot_pipeline.pipeline.installation import open_installation
    from snapshot_pipeline.pipeline.withdrawal import withdraw_days, withdraw_week
    from snapshot_pipeline.plots.text import count_noun

    settings = load_settings()
    if week:
        with open_installation(settings) as installation:
            withdrawn = withdraw_week(installation, week)
        click.echo(f"week of {week}: {count_noun(withdrawn.recommendations, 'recommendation')} deleted")
        newest = f"the week of {withdrawn.newest} is shown" if withdrawn.newest else "no week is shown"
        click.echo(f"{newest} now")
    elif first:
        last = last or first
        require_ascending(first, last)
        with open_installation(settings) as installation:
            snapshots = withdraw_days(installation, first, last)
        click.echo(f"{first} to {last}: {count_noun(snapshots, 'snapshot')} deleted")

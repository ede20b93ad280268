"""`snapshot-pipeline status`: the last days, the latest week, what is wrong and who is told of it."""

from __future__ import annotations

from datetime import timedelta

import click

from snapshot_pipeline.cli.periods import last_closed_day
from snapshot_pipeline.settings import load_settings


@click.command(name="status", epilog="Example: snapshot-pipeline status --days 30")
@click.option(
    "--days", type=click.IntRange(1, 366), default=14, show_default=True, help="How many of the last days to show."
)
def command(days: int) -> None:
    """Show the last days, the open failures, the latest week, the open incidents and who is told.

    Days: students, published, failed, missing days. Incidents: their number, since when, what; and what waits for a
    channel that is down.
    """
    from snapshot_pipeline.cli.tables import print_days, print_failures, print_incidents, print_newest_week

    settings = load_settings()
    last = last_closed_day(settings)
    first = max(settings.start_date, last - timedelta(days=days - 1))
    print_days(settings, first, last)
    click.echo()
    print_failures(settings, first, last)
    click.echo()
    print_newest_week(settings)
    click.echo()
    print_incidents(settings)

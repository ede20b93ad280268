"""`snapshot-pipeline report`: write the page of a week, through Dagster, and open it."""

from __future__ import annotations

from datetime import datetime

import click

from snapshot_pipeline.cli.periods import DAY, last_closed_week, require_closed_week
from snapshot_pipeline.settings import load_settings


@click.command(name="report", epilog="Example: snapshot-pipeline report --week 2026-11-16 --open")
@click.option("--week", type=DAY, help="The week's Monday; the last week that has ended, where it is not given.")
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
def command(week: datetime | None, opens: bool) -> None:
    """Write the page of a week that has ended: words, six pictures, three tables, against the week before.

    One HTML file below SNAPSHOT_HOME, whose path is printed. Days of the week that are missing are named on it.
    """
    settings = load_settings()
    week_start = week.date() if week else last_closed_week(settings)
    require_closed_week(settings, week_start)

    from snapshot_pipeline.cli.dagster_runs import ShownRuns, execute
    from snapshot_pipeline.cli.progress import shown_progress
    from snapshot_pipeline.pipeline.weekly_report import report_path

    with shown_progress("starting Dagster") as show:
        watch = ShownRuns(show).begin(f"the page of the week of {week_start}")
        execute(settings, "weekly_report_job", {}, watch, partition_key=week_start.isoformat())
    path = report_path(settings, week_start)
    click.echo(path)
    if opens:
        import webbrowser

        if not webbrowser.open(path.as_uri()):
            click.echo("no browser was found on this machine; open the file yourself, or copy it to yours", err=True)

"""`snapshot-pipeline demo`: try the whole pipeline on one machine."""

from __future__ import annotations

import os
import sys
from datetime import date, timedelta

import click

from snapshot_pipeline.pipeline.periods import days_between, last_closed_day, last_closed_week
from snapshot_pipeline.settings import Settings, load_settings

_DEMO_DAYS = 30


@click.command(epilog="Example: snapshot-pipeline demo --students 500")
@click.option("--students", type=int, default=5_000, show_default=True, help="How many students to generate.")
@click.option("--days", type=int, default=60, show_default=True, help="How many days of activity to generate.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed generates the same students.")
@click.pass_context
def demo(context: click.Context, students: int, days: int, seed: int) -> None:
    """Generate sample students, compute and show 30 days and a week, and write the week's report.

    Without settings this uses the embedded database. A database whose platform tables were created by anything other
    than `sample` or `load` is refused and not changed.
    """
    from snapshot_pipeline.cli.platform_data import sample
    from snapshot_pipeline.cli.runs import compute_days, compute_week, report

    settings = load_settings()
    last, week = last_closed_day(settings), last_closed_week(settings)
    first = max(settings.start_date, last - timedelta(days=_DEMO_DAYS - 1))
    _print_command(f"sample --students {students} --days {days} --seed {seed}")
    context.invoke(sample, students=students, days=days, seed=seed)
    _print_command(f"materialize --from {first} --to {last}")
    compute_days(settings, days_between(first, last))
    _print_command(f"recommend --week {week}")
    compute_week(settings, week)
    _print_command(f"report --week {week}")
    context.invoke(report, week=week, opens=False)
    _print_next_steps(settings, last, week)


def _print_command(command_line: str) -> None:
    click.secho(f"\n$ snapshot-pipeline {command_line}", bold=True)


def _print_next_steps(settings: Settings, last: date, week: date) -> None:
    from snapshot_pipeline.pipeline.installation import open_installation
    from snapshot_pipeline.store.snapshot_queries import largest_pace_changes

    program = os.path.relpath(sys.argv[0])
    with open_installation(settings) as installation:
        changes = installation.transaction(largest_pace_changes, last, 1)
    student_id = changes[0].user_id if changes else "ID"
    click.echo(
        f"""
The snapshots up to {last} are in the table performance_snapshots, the
recommendations of the week of {week} in adaptive_recommendations.

Some students of the sample have an invalid row, such as a negative score or a
completion before the start. Their snapshots are computed from corrected rows.
The table data_issues lists the rows to fix on the platform; the check
data_quality counts the students who have one, by day.

Next steps:
  Query the database:                          psql "$({program} db url)"
  Show the last days again:                    {program} status
  List the students at risk, with reasons:     {program} at-risk
  Show how one student's score is computed:    {program} student {student_id}
  Open the Dagster UI, http://127.0.0.1:3000:  make dev"""
    )

"""`snapshot-pipeline demo`: the whole way, on sample students.

Put here: the commands that a user would type one after the other. Do not put here: anything else.
"""

from __future__ import annotations

import os
import sys
from datetime import date, datetime, time, timedelta

import click

from snapshot_pipeline.cli import report, sample
from snapshot_pipeline.cli.periods import last_closed_day, last_closed_week
from snapshot_pipeline.settings import load_settings

_DAYS = 30


@click.command(name="demo", epilog="Example: snapshot-pipeline demo --students 500")
@click.option("--students", type=int, default=5_000, show_default=True, help="How many sample students.")
@click.option("--days", type=int, default=60, show_default=True, help="How many days of their studies.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same students.")
@click.pass_context
def command(context: click.Context, students: int, days: int, seed: int) -> None:
    """Fill the database with sample students, compute and show 30 days and a week, and write its page.

    With no settings this uses the embedded database. A database whose platform tables were made by anything but
    `sample` or `load` is refused and stays as it is.
    """
    from snapshot_pipeline.cli.materialize import materialize
    from snapshot_pipeline.cli.recommend import recommend

    settings = load_settings()
    last, week = last_closed_day(settings), last_closed_week(settings)
    first = max(settings.start_date, last - timedelta(days=_DAYS - 1))
    _announce(f"sample --students {students} --days {days} --seed {seed}")
    context.invoke(sample.command, students=students, days=days, seed=seed)
    _announce(f"materialize --from {first} --to {last}")
    materialize(settings, first, last)
    _announce(f"recommend --week {week}")
    recommend(settings, week)
    _announce(f"report --week {week}")
    context.invoke(report.command, week=datetime.combine(week, time()), opens=False)
    _say_what_next(last, week)


def _announce(command_line: str) -> None:
    click.secho(f"\n$ snapshot-pipeline {command_line}", bold=True)


def _say_what_next(last: date, week: date) -> None:
    program = os.path.relpath(sys.argv[0])
    click.echo(
        f"""
The snapshots up to {last} are in the table performance_snapshots, the
recommendations of the week of {week} in adaptive_recommendations.

  Ask the database, with psql or any other client:  psql "$({program} db url)"
  See the last days again:                          {program} status
  How one student's score comes about:              {program} student 1001
  Open the Dagster UI, http://127.0.0.1:3000:       make dev"""
    )

"""`snapshot-pipeline demo`: twelve weeks of a platform, with a bad night that is over and one that is not."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from textwrap import fill, wrap
from urllib.parse import quote

import click

from snapshot_pipeline.cli.terminal import is_drawable
from snapshot_pipeline.home import create_home
from snapshot_pipeline.pipeline.periods import days_between, last_closed_day, last_closed_week
from snapshot_pipeline.settings import Settings, demo_file, load_settings

_DAYS_BEFORE = 28
"""Days of activity before the first computed day: the windows of all figures are full on it."""

_SHOWN_DAYS = 7
_WIDTH = 79

_SWAP_BACK = (
    "UPDATE user_lesson_progress SET started_at = completed_at, completed_at = started_at "
    "WHERE completed_at < started_at AND started_at >= '{day}' AND started_at < DATE '{day}' + 1"
)
_NOT_GRADED = "UPDATE quiz_attempts SET score = NULL WHERE score = -1"


@dataclass(frozen=True)
class _Periods:
    """What the demo computes.

    Attributes:
        first: A Monday.
        swapped: The day on which an import swapped start and completion.
        last: The last day that has ended.
        weeks: The Mondays of the weeks with recommendations and a report, ascending.
    """

    first: date
    swapped: date
    last: date
    weeks: list[date]


@click.command(epilog="Example: snapshot-pipeline demo --students 500")
@click.option("--students", type=int, default=2_000, show_default=True, help="How many students to generate.")
@click.option(
    "--weeks", type=click.IntRange(4, 52), default=12, show_default=True, help="How many full weeks to compute."
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed generates the same students.")
@click.pass_context
def demo(context: click.Context, students: int, weeks: int, seed: int) -> None:
    """Generate sample students, compute twelve weeks of snapshots, and show how incidents open and are resolved.

    One night brings invalid rows: an alert is sent, the rows are corrected, the day is recomputed. The last night
    brings more; that incident stays open for you to resolve. One cohort loses its students: the weekly reports show it.

    Without settings this uses the embedded database, and saves the first day and the alert channel in
    SNAPSHOT_HOME/demo.env. A database whose platform tables were created by anything other than `sample` or `load` is
    refused and not changed.
    """
    from snapshot_pipeline.cli.platform_data import sample
    from snapshot_pipeline.cli.runs import print_days_of, run_days, run_job
    from snapshot_pipeline.platform.sample.story import SWAPPED_DAYS_AGO

    periods = _periods(load_settings(), weeks, SWAPPED_DAYS_AGO)
    settings = _keep_settings(periods.first)
    since = datetime.now(timezone.utc)
    days = (periods.last - periods.first).days + 1 + _DAYS_BEFORE
    _print_command(f"sample --students {students} --days {days} --seed {seed} --story")
    context.invoke(sample, students=students, days=days, seed=seed, story=True)

    _print_command(f"materialize --from {periods.first} --to {periods.swapped}")
    run_days(settings, days_between(periods.first, periods.swapped))
    _say("One night an import swaps the start and completion times of lessons. An alert is sent:")
    _scan(settings, since)
    _say("The rows are corrected on the platform, and the day is recomputed:")
    _correct(settings, periods.swapped)
    _print_command(f"materialize --from {periods.swapped} --to {periods.swapped}")
    run_days(settings, [periods.swapped])
    _scan(settings, since)

    after = days_between(periods.swapped + timedelta(days=1), periods.last)
    _print_command(f"materialize --from {after[0]} --to {after[-1]}")
    run_days(settings, after)
    print_days_of(settings, days_between(periods.last - timedelta(days=_SHOWN_DAYS - 1), periods.last))
    for week in periods.weeks:
        key = week.isoformat()
        _print_command(f"recommend --week {week}", f"report --week {week}")
        run_job(settings, "weekly_recommendations_job", f"week of {week}", partition_key=key)
        run_job(settings, "weekly_report_job", f"report of the week of {week}", partition_key=key)
    run_job(settings, "daily_checks_job", "checks of the platform")
    _say("Last night also brought invalid rows. This incident is yours to resolve:")
    _scan(settings, since)
    _print_next_steps(settings, periods)


def _periods(settings: Settings, weeks: int, swapped_days_ago: int) -> _Periods:
    last, week = last_closed_day(settings), last_closed_week(settings)
    first = max(settings.start_date, week - timedelta(weeks=weeks - 1))
    mondays = [week - timedelta(weeks=number) for number in reversed(range(4))]
    return _Periods(
        first, last - timedelta(days=swapped_days_ago), last, [monday for monday in mondays if monday >= first]
    )


def _keep_settings(first: date) -> Settings:
    """Keep the first day and the channel for the commands that follow, and return the settings of this one."""
    settings = load_settings()
    create_home(settings.home)
    channel = f"file://{quote(str(settings.home / 'alerts.txt'))}"
    file = demo_file(settings.home)
    file.touch(mode=0o600)
    file.write_text(
        "# Written by `snapshot-pipeline demo`. Read while SNAPSHOT_DATABASE_URL is not set, after all other sources.\n"
        f"SNAPSHOT_START_DATE={first}\nSNAPSHOT_ALERT_URLS={channel}\n"
    )
    # Not to the channels of another installation, whose settings may be in the environment.
    return load_settings(alert_urls=channel)


def _correct(settings: Settings, day: date) -> None:
    """Correct the swapped rows of a day, as the platform's engineers would."""
    from sqlalchemy import text

    from snapshot_pipeline.pipeline.installation import open_installation

    statement = _SWAP_BACK.format(day=day)
    _print_command(f'db psql -c "{statement}"')
    with open_installation(settings) as installation, installation.engine.begin() as connection:
        connection.execute(text(f"SET LOCAL timezone = '{settings.timezone}'"))
        rows = connection.execute(text(statement)).rowcount
    click.echo(f"UPDATE {rows}")


def _scan(settings: Settings, since: datetime) -> None:
    from snapshot_pipeline.cli.dagster_runs import scan_for_incidents

    messages = scan_for_incidents(settings, since).messages
    if not messages:
        click.echo("  | No new alert: an earlier demo sent it, and the incident is still open.")
    for message in messages:
        click.secho(_quoted(message.title, "  | "), fg="yellow")
        for line in message.body.strip().splitlines():
            if not line.startswith("Result: "):  # a link that is longer than a line; `alerts list` has it
                click.echo(_quoted(line, "  |   "))


def _quoted(text: str, indent: str) -> str:
    """Return a text of a message in lines, without a break before a percent sign."""
    lines = wrap(text.replace(" %", "\u00a0%"), _WIDTH, initial_indent="  | ", subsequent_indent=indent)
    return "\n".join(lines).replace("\u00a0", " ")


def _say(sentence: str) -> None:
    click.echo(f"\n{fill(sentence, _WIDTH)}")


def _print_command(*command_lines: str) -> None:
    """Print commands as a shell takes them, broken at 80 columns."""
    click.echo()
    for line in command_lines:
        lines = wrap(f"$ snapshot-pipeline {line}", _WIDTH - 2, subsequent_indent="    ", break_on_hyphens=False)
        click.secho(" \\\n".join(lines), bold=True)


def _print_next_steps(settings: Settings, periods: _Periods) -> None:
    from snapshot_pipeline.pipeline.installation import open_for_reading
    from snapshot_pipeline.pipeline.report_files import report_path
    from snapshot_pipeline.pipeline.student_lists import read_student_list

    program, week, last = os.path.relpath(sys.argv[0]), periods.weeks[-1], periods.last
    rows = f"SELECT * FROM data_issues WHERE day = '{last}' LIMIT 5"  # noqa: S608  # printed
    with open_for_reading(settings) as installation:
        listed = read_student_list(installation, week).students
    student_id = listed[0].user_id if listed else "ID"
    recomputed, week_commands = " the day", ""
    if last == week + timedelta(days=6):
        recomputed = " day and week"
        week_commands = "".join(f"\n  {program} {command} --week {week}" for command in ("recommend", "report"))
    click.echo(
        f"""
The weekly report, which shows the cohort that loses its students:
  {_link(report_path(settings, week))}

Open the Dagster UI; the open incident is red:
  make dev
  http://127.0.0.1:3000/assets/incidents?view=checks

Resolve the incident: view the rows, correct them, recompute{recomputed}:
  {program} db psql -c \\
    "{rows}"
  {program} db psql -c \\
    "{_NOT_GRADED}"
  {program} materialize --from {last} --to {last}{week_commands}

More:
  {program} status
  {program} at-risk --specialization web --level 1
  {program} student {student_id}
  {program} alerts list"""
    )


def _link(path: Path) -> str:
    """Return a path as short as it can be; a link to the file where the output is a terminal that may know links."""
    name = os.path.relpath(path)
    return f"\033]8;;{path.as_uri()}\033\\{name}\033]8;;\033\\" if is_drawable(sys.stdout) else name

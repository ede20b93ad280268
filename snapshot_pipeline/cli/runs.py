"""Commands that start a run: `materialize`, `retry-failed`, `recommend`, `report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import click

from snapshot_pipeline.cli.terminal import DAY, PROBLEM_STATUS, SHOWN_DAYS
from snapshot_pipeline.pipeline.periods import (
    days_between,
    days_text,
    last_closed_day,
    last_closed_week,
    require_ascending,
    require_closed_days,
    require_closed_week,
)
from snapshot_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:  # imported late, so that a help text is fast
    from snapshot_pipeline.cli.dagster_runs import FailedCheck


@click.command(epilog="Example: snapshot-pipeline materialize --from 2026-11-01 --to 2026-11-22")
@click.option("--from", "first", type=DAY, help=f"The first day.  [with --missing by default {SHOWN_DAYS} days ago]")
@click.option("--to", "last", type=DAY, help="The last day, inclusive.  [with --missing by default yesterday]")
@click.option("--missing", is_flag=True, help="Compute only the days that `status` calls missing.")
@click.option(
    "--allow-student-drop",
    is_flag=True,
    help="Publish even if that removes more rows of a day than SNAPSHOT_MAX_STUDENT_DROP.",
)
def materialize(first: date | None, last: date | None, *, missing: bool, allow_student_drop: bool) -> None:
    """Compute the snapshots of the days from --from to --to, and show them.

    Each Dagster run computes SNAPSHOT_DAYS_PER_RUN days; the UI shows the runs, their checks and their plots. Days that
    exist are computed again: figures that differ are updated, and recorded in snapshot_restatements.

    The exit status is 3 if one of the days has too few students published or too many students with invalid rows.
    """
    settings = load_settings()
    if missing:
        last = last or last_closed_day(settings)
        first = first or max(settings.start_date, last - timedelta(days=SHOWN_DAYS - 1))
    if first is None or last is None:
        raise click.UsageError(
            f"Missing option '{'--to' if first else '--from'}'; expected both --from and --to, or --missing"
        )
    require_closed_days(settings, first, last)
    days = days_between(first, last)
    if missing:
        days = _missing_days(settings, days)
        if not days:
            click.echo(f"No day from {first} to {last} is missing; nothing to do.")
            return
    run_days(settings, days, allow_student_drop=allow_student_drop)
    _exit_if_any(print_days_of(settings, days))


def _missing_days(settings: Settings, days: Sequence[date]) -> list[date]:
    from snapshot_pipeline.cli.tables import read_days
    from snapshot_pipeline.pipeline.installation import open_installation

    with open_installation(settings) as installation:
        return [day.day for day in read_days(installation, days[0], days[-1]) if day.state == "missing"]


def _exit_if_any(problems: Sequence[str]) -> None:
    """Print the problems in one line and exit with 3, as `status` does; return if there are none."""
    if problems:
        click.secho(f"\nProblems: {'; '.join(problems)}.", fg="red")
        raise click.exceptions.Exit(PROBLEM_STATUS)


def run_days(settings: Settings, days: Sequence[date], *, allow_student_drop: bool = False) -> None:
    """Compute ascending days, SNAPSHOT_DAYS_PER_RUN per run, and show the progress."""
    from snapshot_pipeline.cli.dagster_runs import RunSeries, execute
    from snapshot_pipeline.cli.progress import progress_display
    from snapshot_pipeline.orchestration.names import ALLOW_STUDENT_DROP_TAG
    from snapshot_pipeline.orchestration.partitions import range_tags, run_ranges

    tags = {ALLOW_STUDENT_DROP_TAG: "true"} if allow_student_drop else {}
    with progress_display("starting Dagster") as show:
        series = RunSeries(show)
        for start, end in run_ranges(days, settings):
            left = sum(day > end for day in days)
            listener = series.start_run(f"{start} to {end}", runs_left=left / ((end - start).days + 1))
            execute(settings, "daily_snapshots_job", {**range_tags(start, end), **tags}, listener)


def print_days_of(settings: Settings, days: Sequence[date]) -> list[str]:
    """Print a table of computed days; return their problems, as phrases without a full stop."""
    from snapshot_pipeline.cli.tables import day_problems, print_days, read_days
    from snapshot_pipeline.pipeline.installation import open_installation

    with open_installation(settings) as installation:
        shown = [day for day in read_days(installation, days[0], days[-1]) if day.day in set(days)]
    print_days(shown)
    return day_problems(shown)


@click.command(epilog="Example: snapshot-pipeline retry-failed --from 2026-11-01 --to 2026-11-22")
@click.option("--from", "first", type=DAY, help="The first day.  [default: the oldest with an open failure]")
@click.option("--to", "last", type=DAY, help="The last day, inclusive.  [default: the newest with an open failure]")
def retry_failed(first: date | None, last: date | None) -> None:
    """Compute the students with open failures again, only for the days on which they failed.

    Use this after the cause of their errors was fixed. It is one Dagster run, and updates the success rates of the
    days. The exit status is 3 if one of the days still has too few students published.
    """
    from snapshot_pipeline.cli.tables import print_failures
    from snapshot_pipeline.pipeline.installation import open_installation
    from snapshot_pipeline.store.failures import failing_students, failures_by_reason

    settings = load_settings()
    if first and last:
        require_ascending(first, last)
    with open_installation(settings) as installation:
        days = list(installation.transaction(failing_students, first, last))
    if not days:
        click.echo("No open failures; nothing to do.")
        return
    from snapshot_pipeline.orchestration.manual_jobs import retry_run_config  # imports Dagster, which is slow
    from snapshot_pipeline.orchestration.names import DAYS_TAG

    oldest, newest = days[0], days[-1]
    text = days_text(oldest, newest)
    run_job(settings, "retry_failed_job", text, run_config=retry_run_config(first, last), tags={DAYS_TAG: text})
    problems = print_days_of(settings, days_between(oldest, newest))
    with open_installation(settings) as installation:
        click.echo()
        failures = installation.transaction(failures_by_reason, oldest, newest)
        print_failures(failures, oldest, newest, settings.zone)
    _exit_if_any(problems)


@click.command(epilog="Example: snapshot-pipeline recommend --week 2026-11-16")
@click.option("--week", type=DAY, required=True, help="The week's Monday.")
def recommend(week: date) -> None:
    """Compute the recommendations and the students at risk of a week that has ended, in one Dagster run.

    The snapshots of its Sunday must exist. If a newer week has recommendations, students keep seeing those. A student
    whose computation fails keeps the earlier ones; the exit status is 3 if too many fail.
    """
    settings = load_settings()
    require_closed_week(settings, week)
    _exit_if_any(_compute_week(settings, week))


def _compute_week(settings: Settings, week_start: date) -> list[str]:
    """Compute the week's recommendations, print their number by type and the failed students; return the problems."""
    from snapshot_pipeline.cli.tables import WeekCounts, print_week
    from snapshot_pipeline.pipeline.installation import open_installation
    from snapshot_pipeline.store.recommendations import active_counts, counts_by_week

    task = f"week of {week_start}"
    checks = run_job(settings, "weekly_recommendations_job", task, partition_key=week_start.isoformat())
    with open_installation(settings) as installation:
        counts = installation.transaction(active_counts, week_start)
        if not counts:  # a newer week is shown, so none of this one is active
            counts = installation.transaction(counts_by_week, week_start, week_start).get(week_start, {})
            print_week(WeekCounts(week_start, counts, is_newest=False))
        else:
            print_week(WeekCounts(week_start, counts))
    for check in checks:
        if not check.is_error:
            click.echo(f"\n{check.description}.")
    return [check.description for check in checks if check.is_error]


@click.command(epilog="Example: snapshot-pipeline report --week 2026-11-16 --open")
@click.option("--week", type=DAY, help="The week's Monday.  [default: the last week that has ended]")
@click.option("--open", "opens", is_flag=True, help="Open the report in the browser.")
def report(week: date | None, opens: bool) -> None:
    """Write the report of a week that has ended, in one Dagster run, and print its path.

    The report is one HTML file in SNAPSHOT_HOME/reports: a summary, six plots and three tables that compare the week
    with the one before. It names the days of the week that are missing.
    """
    settings = load_settings()
    week_start = week or last_closed_week(settings)
    require_closed_week(settings, week_start)
    from snapshot_pipeline.pipeline.report_files import report_path

    task = f"report of the week of {week_start}"
    run_job(settings, "weekly_report_job", task, partition_key=week_start.isoformat())
    path = report_path(settings, week_start)
    click.echo(path)
    if opens:
        import webbrowser

        if not webbrowser.open(path.as_uri()):
            click.echo("there is no browser on this machine; open the file yourself", err=True)


def run_job(
    settings: Settings,
    job_name: str,
    task: str,
    partition_key: str | None = None,
    run_config: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
) -> list[FailedCheck]:
    """Execute one run and show its progress as `task`."""
    from snapshot_pipeline.cli.dagster_runs import RunSeries, execute
    from snapshot_pipeline.cli.progress import progress_display

    with progress_display("starting Dagster") as show:
        return execute(settings, job_name, tags or {}, RunSeries(show).start_run(task), partition_key, run_config)

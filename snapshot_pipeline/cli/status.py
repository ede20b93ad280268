"""`snapshot-pipeline status`: the last days, the latest week, what is wrong and who is told of it.

Put here: what counts as wrong, the document of `--json`, the exit status. Do not put here: what is read (`readings`),
or how it looks (`tables`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import click

from snapshot_pipeline.cli.documents import json_option, print_document
from snapshot_pipeline.cli.periods import last_closed_day
from snapshot_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:  # a help text does without what a look needs
    from snapshot_pipeline.cli.readings import Day, Incidents, WeekCounts
    from snapshot_pipeline.store.failures import OpenFailures

WRONG = 3
"""The exit status when something is wrong; 1 is for a look that failed, 2 is click's for a wrong option."""


@dataclass(frozen=True)
class Status:
    """What `status` shows of the days `first … last`."""

    first: date
    last: date
    days: list[Day]
    failures: list[OpenFailures]
    week: WeekCounts | None
    incidents: Incidents

    @property
    def wrong(self) -> list[str]:
        """What is wrong, one phrase each; empty when all is well.

        Open failures are not: they wait for their rows to be mended, and too many of them make a day `too few`.
        """
        missing = sum(day.state == "missing" for day in self.days)
        too_few = sum(day.state == "too few" for day in self.days)
        counts = (
            (missing, "day is missing", "days are missing"),
            (too_few, "day has too few students published", "days have too few students published"),
            (len(self.incidents.lasting), "incident is open", "incidents are open"),
            (len(self.incidents.held_up), "channel does not take its messages", "channels do not take their messages"),
            (len(self.incidents.problems), "channel cannot be read", "channels cannot be read"),
        )
        return [f"{count:,} {one if count == 1 else many}" for count, one, many in counts if count]


@click.command(name="status", epilog="Example: snapshot-pipeline status --days 30 --json | jq '.wrong'")
@click.option(
    "--days", type=click.IntRange(1, 366), default=14, show_default=True, help="How many of the last days to show."
)
@json_option
def command(days: int, as_json: bool) -> None:
    """Show the last days, the open failures, the latest week, the open incidents and who is told.

    Days: students, published, failed, missing days. Incidents: their number, since when, what; and what waits for a
    channel that is down.

    \b
    Exit status:
      0  all is well
      1  it cannot be told: an error
      3  something is wrong: a day is missing or has too few students, an
         incident is open, a channel does not take its messages

    \b
    The JSON document:
      is_well, wrong            whether all is well; what is not, in phrases
      first_day, last_day, timezone, min_success_rate
      days                      day, state (ok, too few, missing, not yet),
                                students, published, failed, success_rate,
                                mean_pace
      open_failures             reason, student_days, first_seen, attempts
      newest_week               week_start, active (a number by type); or null
      incidents                 id, kind, subject, title, detail, run_id,
                                opened_at
      channels                  name, and of what waits for it: messages,
                                oldest_at, attempts, last_error
      channel_problems          one line for each that cannot be read
    """  # noqa: D301  # the backspace tells click to keep the lines that follow
    settings = load_settings()
    status = _read(settings, days)
    if as_json:
        print_document(_document(status, settings))
    else:
        _print(status, settings)
    if status.wrong:
        raise click.exceptions.Exit(WRONG)


def _read(settings: Settings, days: int) -> Status:
    from snapshot_pipeline.cli import readings
    from snapshot_pipeline.pipeline.installation import open_installation

    last = last_closed_day(settings)
    first = max(settings.start_date, last - timedelta(days=days - 1))
    with open_installation(settings) as installation:
        return Status(
            first,
            last,
            days=readings.read_days(installation, first, last),
            failures=readings.read_failures(installation, first, last),
            week=readings.read_newest_week(installation),
            incidents=readings.read_incidents(installation),
        )


def _print(status: Status, settings: Settings) -> None:
    from snapshot_pipeline.cli import tables

    tables.print_days(status.days)
    click.echo()
    tables.print_failures(status.failures, status.first, status.last, settings.zone)
    click.echo()
    tables.print_week(status.week)
    click.echo()
    tables.print_incidents(status.incidents, settings.zone)
    click.echo()
    if status.wrong:
        click.secho(f"Not well: {', '.join(status.wrong)}.", fg="red")
    else:
        click.echo("All is well.")


def _document(status: Status, settings: Settings) -> dict[str, object]:
    waiting = {one.channel: one for one in status.incidents.waiting}
    return {
        "is_well": not status.wrong,
        "wrong": status.wrong,
        "first_day": status.first,
        "last_day": status.last,
        "timezone": settings.timezone,
        "min_success_rate": settings.min_success_rate,
        "days": [_day(day) for day in status.days],
        "open_failures": [
            {
                "reason": one.reason,
                "student_days": one.student_days,
                "first_seen": one.first_seen.astimezone(settings.zone),
                "attempts": one.attempts,
            }
            for one in status.failures
        ],
        "newest_week": status.week and {"week_start": status.week.week_start, "active": status.week.active},
        "incidents": [
            {
                **{name: getattr(one, name) for name in ("id", "kind", "subject", "title", "detail", "run_id")},
                "opened_at": one.opened_at.astimezone(settings.zone),
            }
            for one in status.incidents.lasting
        ],
        "channels": [
            {
                "name": name,
                "messages": waiting[channel].messages if channel in waiting else 0,
                "oldest_at": waiting[channel].oldest_at.astimezone(settings.zone) if channel in waiting else None,
                "attempts": waiting[channel].attempts if channel in waiting else 0,
                "last_error": waiting[channel].last_error if channel in waiting else None,
            }
            for channel, name in status.incidents.channels.items()
        ],
        "channel_problems": list(status.incidents.problems),
    }


def _day(day: Day) -> dict[str, Any]:
    count = day.count
    return {
        "day": day.day,
        "state": day.state,
        "students": count and count.students,
        "published": count and count.published,
        "failed": count and count.failed,
        "success_rate": count and count.success_rate,
        "mean_pace": day.mean_pace,
    }

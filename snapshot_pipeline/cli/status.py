"""`snapshot-pipeline status`: the last days, the newest week, open incidents, and a summary of the problems."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from snapshot_pipeline.cli.terminal import (
    PROBLEM_STATUS,
    SHOWN_DAYS,
    BoundedInteger,
    json_option,
    print_json,
    print_sources,
)
from snapshot_pipeline.pipeline.periods import last_closed_day
from snapshot_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:  # imported late, so that a help text is fast
    from snapshot_pipeline.cli.daemon_state import DaemonState
    from snapshot_pipeline.cli.tables import DayStatus, IncidentOverview, WeekCounts
    from snapshot_pipeline.store.failures import OpenFailures
    from snapshot_pipeline.store.outbox import Undelivered


@dataclass(frozen=True)
class Status:
    """The status of the days `first … last`."""

    first: date
    last: date
    days: list[DayStatus]
    failures: list[OpenFailures]
    week: WeekCounts | None
    incidents: IncidentOverview
    warnings: list[str]
    daemon: DaemonState

    @property
    def problems(self) -> list[str]:
        """One phrase per kind of problem, e.g. `3 days missing`.

        Open failures are not a problem: they wait for a fix of their cause, and many of them make a day `too few`.
        """
        from snapshot_pipeline.cli.tables import day_problems
        from snapshot_pipeline.plots.text import count_noun

        counts = {
            "open incident": len(self.incidents.open),
            "failing channel": len(self.incidents.failing_channels),
            "invalid channel URL": len(self.incidents.channel_problems),
        }
        others = [count_noun(count, noun) for noun, count in counts.items() if count]
        return day_problems(self.days) + others + ([self.daemon.problem] if self.daemon.problem else [])


@click.command(epilog="Example: snapshot-pipeline status --days 30 --json | jq '.problems'")
@click.option(
    "--days", type=BoundedInteger(1, 366), default=SHOWN_DAYS, show_default=True, help="How many days to show."
)
@json_option
def status(days: int, as_json: bool) -> None:
    """Show the last days, open failures, the newest week and open incidents.

    The first line lists the problems.

    \b
    Exit status:
      0  no problems
      1  an error: the status could not be read
      3  problems: a day is missing, has too few students published or too many
         students with invalid rows, an incident is open, a channel
         fails or its URL is invalid, the daemon is dead

    \b
    The JSON document:
      ok, problems              whether there are no problems; one phrase
                                per kind of problem
      first_day, last_day, timezone, min_success_rate
      days                      day, state (ok, too few, invalid, missing,
                                not yet), students, published, failed,
                                success_rate, students_with_issues, mean_pace
      open_failures             reason, student_days, first_seen, attempts
      newest_week               week_start, active (a number by type); or null
      incidents                 id, kind, subject, title, detail, command,
                                days (what was found on each), run_id,
                                opened_at
      channels                  name; of its undelivered messages: messages,
                                oldest_at, attempts, last_error
      channel_problems          one line per invalid URL
      warnings                  one line per range of days computed with
                                another formula, time zone or maximum score
      daemon                    state (alive, dead, never started, unknown),
                                heartbeat_at, age_seconds
    """  # noqa: D301  # click keeps the line breaks of a paragraph that starts with a backspace
    settings = load_settings()
    current = _read(settings, days)
    if as_json:
        print_json(_document(current, settings))
    else:
        _print_verdict(current)
        print_sources(settings)
        click.echo()
        _print(current, settings)
    if current.problems:
        raise click.exceptions.Exit(PROBLEM_STATUS)


def _read(settings: Settings, days: int) -> Status:
    from snapshot_pipeline.cli import tables
    from snapshot_pipeline.cli.daemon_state import read_daemon_state
    from snapshot_pipeline.pipeline.installation import open_for_reading
    from snapshot_pipeline.pipeline.outdated import outdated_days
    from snapshot_pipeline.store.failures import failures_by_reason

    last = last_closed_day(settings)
    first = max(settings.start_date, last - timedelta(days=days - 1))
    with open_for_reading(settings) as installation:
        return Status(
            first,
            last,
            days=tables.read_days(installation, first, last),
            failures=installation.transaction(failures_by_reason, first, last),
            week=tables.read_newest_week(installation),
            incidents=tables.read_incidents(installation),
            warnings=[str(days) for days in outdated_days(installation)],
            daemon=read_daemon_state(settings),
        )


def _print_verdict(status: Status) -> None:
    if status.problems:
        click.secho(f"Problems: {', '.join(status.problems)}.", fg="red")
    else:
        click.echo("No problems.")


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
    for warning in status.warnings:
        click.secho(f"Warning: {warning}.", fg="yellow")
    click.echo(status.daemon.sentence)


def _document(status: Status, settings: Settings) -> dict[str, object]:
    undelivered = {messages.channel: messages for messages in status.incidents.undelivered}
    return {
        "ok": not status.problems,
        "problems": status.problems,
        "first_day": status.first,
        "last_day": status.last,
        "timezone": settings.timezone,
        "min_success_rate": settings.min_success_rate,
        "days": [_day_document(day) for day in status.days],
        "open_failures": [
            {
                "reason": failure.reason,
                "student_days": failure.student_days,
                "first_seen": failure.first_seen.astimezone(settings.zone),
                "attempts": failure.attempts,
            }
            for failure in status.failures
        ],
        "newest_week": status.week and {"week_start": status.week.week_start, "active": status.week.active},
        "incidents": [
            {
                **{
                    name: getattr(incident, name)
                    for name in ("id", "kind", "subject", "title", "detail", "command", "run_id")
                },
                "days": dict(incident.partitions),
                "opened_at": incident.opened_at.astimezone(settings.zone),
            }
            for incident in status.incidents.open
        ],
        "channels": [
            _channel_document(name, undelivered.get(channel), settings.zone)
            for channel, name in status.incidents.channels.items()
        ],
        "channel_problems": list(status.incidents.channel_problems),
        "warnings": status.warnings,
        "daemon": {
            "state": status.daemon.state,
            "heartbeat_at": status.daemon.heartbeat and status.daemon.heartbeat.sent_at.astimezone(settings.zone),
            "age_seconds": status.daemon.heartbeat and round(status.daemon.heartbeat.age.total_seconds()),
        },
    }


def _channel_document(name: str, waiting: Undelivered | None, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "name": name,
        "messages": waiting.messages if waiting else 0,
        "oldest_at": waiting and waiting.oldest_at.astimezone(zone),
        "attempts": waiting.attempts if waiting else 0,
        "last_error": waiting and waiting.last_error,
    }


def _day_document(day: DayStatus) -> dict[str, Any]:
    count = day.count
    return {
        "day": day.day,
        "state": day.state,
        "students": count and count.students,
        "published": count and count.published,
        "failed": count and count.failed,
        "success_rate": count and count.success_rate,
        "students_with_issues": count and count.with_issues,
        "mean_pace": day.mean_pace,
    }

"""The tables that commands print: days, weeks, incidents, at most 80 columns wide.

Put here: how what was read looks in a terminal. Do not put here: what is read (`readings`).

Red is what is wrong, and it says so in words as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from snapshot_pipeline.cli.readings import Day, Incidents, WeekCounts
from snapshot_pipeline.store.failures import OpenFailures
from snapshot_pipeline.store.incidents import Incident
from snapshot_pipeline.store.outbox import Undelivered

if TYPE_CHECKING:  # what computes is imported by the command that needs it
    from snapshot_pipeline.pipeline.student import StudentDay

_WIDTH = 80


def print_days(days: Sequence[Day]) -> None:
    """One line per day: students, published, failed, rate, mean pace; what is wrong with it."""
    table = _table("day", "students", "published", "failed", "rate", "mean pace")
    table.add_column("", no_wrap=True)
    for one in days:
        name, remark = f"{one.day:%a} {one.day}", "" if one.state == "ok" else one.state
        style = "red" if one.state in ("missing", "too few") else None
        if one.count is None:
            table.add_row(name, *[""] * 5, remark, style=style)
            continue
        count = one.count
        numbers = (f"{number:,}" for number in (count.students, count.published, count.failed))
        rate = "nobody" if count.success_rate is None else _rate(count.success_rate)
        pace = "" if one.mean_pace is None else f"{one.mean_pace:.2f}"
        table.add_row(name, *numbers, rate, pace, remark, style=style)
    _print(table)


def _rate(rate: float) -> str:
    """In percent, rounded down: what is below 99 % is not shown as 99.00%."""
    return f"{math.floor(rate * 10_000) / 10_000:.2%}"


def print_week(week: WeekCounts | None) -> None:
    """One line per type of recommendation that is active for the week."""
    if week is None:
        click.echo("No week has been recommended yet: see `snapshot-pipeline recommend --help`.")
        return
    if not week.active:
        click.echo(f"No recommendation of the week of {week.week_start} is active.")
        return
    table = _table(f"week of {week.week_start}", "active")
    for kind, count in week.active.items():
        table.add_row(kind, f"{count:,}")
    _print(table)


def print_student_days(days: Sequence[StudentDay]) -> None:
    """One line per day of a student; one that failed shows what an earlier run published, if there is any."""
    table = _table("day", "pace", "quiz average", "lessons", "minutes", "")
    for day in days:
        name, state = f"{day.day:%a} {day.day}", "" if day.state == "published" else day.state
        style = "red" if day.state in ("failed", "missing") else None
        one = day.snapshot
        if one is None:
            table.add_row(name, "", "", "", "", state, style=style)
            continue
        average = "" if one.quiz_average is None else f"{one.quiz_average:.2f}"
        pace = f"{one.pace_score:.2f} {one.learning_pace:<11}"
        lessons, minutes = f"{one.lessons_completed_count:,}", f"{one.time_spent_minutes_today:,}"
        table.add_row(name, pace, average, lessons, minutes, state, style=style)
    _print(table)


def print_failures(failures: Sequence[OpenFailures], first: date, last: date, zone: ZoneInfo) -> None:
    """How many failures of the days are open, by reason, since when and after how many attempts."""
    if not failures:
        click.echo(f"No student has an open failure from {first} to {last}.")
        return
    table = _table("open failures", "student days", "first seen", "attempts")
    for one in failures:
        seen = one.first_seen.astimezone(zone)
        table.add_row(one.reason, f"{one.student_days:,}", f"{seen:%Y-%m-%d %H:%M}", f"{one.attempts:,}")
    _print(table)


def print_incidents(incidents: Incidents, zone: ZoneInfo) -> None:
    """The incidents that last, by number, and who is told: nobody, or what waits for which channel."""
    if incidents.lasting:
        _print(_incidents(incidents.lasting, zone))
    else:
        click.echo("No incident is open.")
    if not incidents.channels:
        click.echo("Nobody is told of incidents: set SNAPSHOT_ALERT_URLS, then try")
        click.echo("`snapshot-pipeline alerts test`.")
    for one in incidents.waiting:
        click.echo(_waiting(incidents.channels[one.channel], one, zone))
    for problem in incidents.problems:
        click.secho(f"error: {problem}", fg="red", err=True)


def _incidents(lasting: Sequence[Incident], zone: ZoneInfo) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("incident", justify="right", no_wrap=True)
    table.add_column("open since", no_wrap=True)
    table.add_column("what", overflow="fold")
    for incident in lasting:
        since = incident.opened_at.astimezone(zone)
        what = Text(f"{incident.title}; {incident.detail}")  # as it stands: a title may look like markup
        table.add_row(str(incident.id), f"{since:%Y-%m-%d %H:%M}", what)
    return table


def _waiting(name: str, one: Undelivered, zone: ZoneInfo) -> str:
    count = f"{one.messages:,} message{'' if one.messages == 1 else 's'}"
    since = f"{one.oldest_at.astimezone(zone):%Y-%m-%d %H:%M}"
    why = f", tried {one.attempts:,} times: {one.last_error}" if one.last_error else ""
    return f"{name} waits for {count} since {since}{why}"


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _print(table: Table) -> None:
    console = Console()
    console.print(table, width=min(_WIDTH, console.width))

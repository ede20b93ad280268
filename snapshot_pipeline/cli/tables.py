"""The tables that commands print: days, weeks, incidents, at most 80 columns wide.

Put here: how rows of our own tables look in a terminal. Do not put here: the queries (`store`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from snapshot_pipeline.pipeline.installation import open_installation
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.failures import failing_students, failures_by_reason
from snapshot_pipeline.store.incidents import Incident, open_incidents
from snapshot_pipeline.store.outbox import Undelivered, undelivered
from snapshot_pipeline.store.recommendations import active_counts, newest_week
from snapshot_pipeline.store.snapshots import day_counts, mean_pace_by_day

if TYPE_CHECKING:  # what computes is imported by the command that needs it
    from snapshot_pipeline.pipeline.student import StudentDay

_WIDTH = 80


def print_days(settings: Settings, first: date, last: date) -> None:
    """One line per day: students, published, failed, rate, mean pace; a day that was never computed says so."""
    with open_installation(settings) as installation, installation.engine.connect() as connection:
        counts = {count.day: count for count in day_counts(connection, installation.store, first, last)}
        paces = mean_pace_by_day(connection, installation.store, first, last)
    table = _table("day", "students", "published", "failed", "rate", "mean pace")
    for day in (first + timedelta(days=n) for n in range((last - first).days + 1)):
        count = counts.get(day)
        if count is None:
            table.add_row(f"{day:%a} {day}", "missing", style="red")
            continue
        rate = "nobody" if count.success_rate is None else f"{count.success_rate:.2%}"
        pace = "" if day not in paces else f"{paces[day]:.2f}"
        below = count.success_rate is not None and count.success_rate < settings.min_success_rate
        table.add_row(
            f"{day:%a} {day}",
            f"{count.students:,}",
            f"{count.published:,}",
            f"{count.failed:,}",
            rate,
            pace,
            style="red" if below else None,
        )
    _print(table)


def print_week(settings: Settings, week_start: date) -> None:
    """One line per type of recommendation that is active for the week."""
    with open_installation(settings) as installation, installation.engine.connect() as connection:
        counts = active_counts(connection, installation.store, week_start)
    if not counts:
        click.echo(f"No recommendation of the week of {week_start} is active.")
        return
    table = _table(f"week of {week_start}", "active")
    for kind, count in counts.items():
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


def print_newest_week(settings: Settings) -> None:
    """The recommendations of the newest week, by type."""
    with open_installation(settings) as installation, installation.engine.connect() as connection:
        newest = newest_week(connection, installation.store)
    if newest is None:
        click.echo("No week has been recommended yet: see `snapshot-pipeline recommend --help`.")
        return
    print_week(settings, newest)


def print_failures(settings: Settings, first: date, last: date) -> None:
    """How many failures of the days are open, by reason, since when and after how many attempts."""
    with open_installation(settings) as installation, installation.engine.connect() as connection:
        failures = failures_by_reason(connection, installation.store, first, last)
    if not failures:
        click.echo(f"No student has an open failure from {first} to {last}.")
        return
    table = _table("open failures", "student days", "first seen", "attempts")
    for one in failures:
        seen = one.first_seen.astimezone(settings.zone)
        table.add_row(one.reason, f"{one.student_days:,}", f"{seen:%Y-%m-%d %H:%M}", f"{one.attempts:,}")
    _print(table)


def print_incidents(settings: Settings) -> None:
    """The incidents that last, by number, and who is told: nobody, or what waits for which channel."""
    names, problems = _channels(settings)
    with open_installation(settings) as installation, installation.engine.connect() as connection:
        lasting = open_incidents(connection, installation.store)
        waiting = undelivered(connection, installation.store, list(names))
    if lasting:
        _print(_incidents(settings, lasting))
    else:
        click.echo("No incident is open.")
    if not names:
        click.echo("Nobody is told of incidents: set SNAPSHOT_ALERT_URLS, then try `snapshot-pipeline alerts test`.")
    for one in waiting:
        click.echo(_waiting(settings, names[one.channel], one))
    for problem in problems:
        click.secho(f"error: {problem}", fg="red", err=True)


def _channels(settings: Settings) -> tuple[dict[str, str], Sequence[str]]:
    """The names of the channels by id, and one line for each that cannot be read."""
    if not settings.alert_urls:
        return {}, []
    # Here, because importing Apprise takes half a second.
    from snapshot_pipeline.alerts.channels import read_channels

    told = read_channels(settings)
    return {channel.id: channel.name for channel in told.channels}, told.problems


def _incidents(settings: Settings, lasting: list[Incident]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("incident", justify="right")
    table.add_column("open since", no_wrap=True)
    table.add_column("what")
    for incident in lasting:
        since = incident.opened_at.astimezone(settings.zone)
        what = Text(f"{incident.title}; {incident.detail}")  # as it stands: a title may look like markup
        table.add_row(str(incident.id), f"{since:%Y-%m-%d %H:%M}", what)
    return table


def _waiting(settings: Settings, name: str, one: Undelivered) -> str:
    count = f"{one.messages} message{'' if one.messages == 1 else 's'}"
    since = f"{one.oldest_at.astimezone(settings.zone):%Y-%m-%d %H:%M}"
    why = f", tried {one.attempts} times: {one.last_error}" if one.last_error else ""
    return f"{name} waits for {count} since {since}{why}"


def failed_period(settings: Settings, first: date | None, last: date | None) -> tuple[date, date] | None:
    """The first and the last day, within the bounds, that has an open failure; None where there is none."""
    with open_installation(settings) as installation, installation.engine.connect() as connection:
        days = list(failing_students(connection, installation.store, first, last))
    return (days[0], days[-1]) if days else None


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _print(table: Table) -> None:
    console = Console()
    console.print(table, width=min(_WIDTH, console.width))

"""What several commands show: days, open failures, recommendations of a week, incidents. How it is read and printed.

Tables are at most 80 columns wide. Problems are red, and also named in words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.periods import days_between, newest_due_day
from snapshot_pipeline.plots.text import count_noun, plain
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.days import DayCount, day_counts
from snapshot_pipeline.store.failures import OpenFailures
from snapshot_pipeline.store.incidents import Incident, open_incidents
from snapshot_pipeline.store.outbox import Undelivered, undelivered
from snapshot_pipeline.store.recommendations import active_counts, newest_week
from snapshot_pipeline.store.snapshot_queries import mean_pace_by_day

if TYPE_CHECKING:  # imports pandas
    from snapshot_pipeline.pipeline.student import StudentDay

_WIDTH = 80

DayState = Literal["ok", "too few", "invalid", "missing", "not yet"]


@dataclass(frozen=True)
class DayStatus:
    """The status of a day.

    Attributes:
        state: `too few`: the success rate is below SNAPSHOT_MIN_SUCCESS_RATE. `missing`: not computed although it is
            due. `not yet`: not computed, and not due yet.
        count: Published and failed students; None if the day was not computed.
        mean_pace: The mean pace score; None without snapshots.
    """

    day: date
    state: DayState
    count: DayCount | None
    mean_pace: float | None


@dataclass(frozen=True)
class WeekCounts:
    """The number of recommendations of a week, by type: of the newest week the active ones, of an older one all."""

    week_start: date
    active: dict[str, int]
    is_newest: bool = True


@dataclass(frozen=True)
class IncidentOverview:
    """Open incidents, and the channels of incidents and of the weekly report.

    Attributes:
        open: The open incidents, by number.
        channels: The names of the channels, by id.
        channel_problems: One line per invalid URL.
        has_alert_channels: Whether incidents are sent to anybody.
        undelivered: Messages that have not been sent yet, one entry per channel.
    """

    open: list[Incident] = field(default_factory=list)
    channels: dict[str, str] = field(default_factory=dict)
    channel_problems: Sequence[str] = ()
    has_alert_channels: bool = False
    undelivered: list[Undelivered] = field(default_factory=list)

    @property
    def failing_channels(self) -> list[Undelivered]:
        """The channels whose last message could not be sent."""
        return [messages for messages in self.undelivered if messages.last_error]


def read_days(installation: Installation, first: date, last: date) -> list[DayStatus]:
    """Return the status of every day `first … last`, ascending."""
    settings = installation.settings
    counts = {count.day: count for count in installation.transaction(day_counts, first, last)}
    paces = installation.transaction(mean_pace_by_day, first, last)
    newest_due = newest_due_day(settings, datetime.now(timezone.utc))
    days = days_between(first, last)
    return [
        DayStatus(day, _state(counts.get(day), day <= newest_due, settings), counts.get(day), paces.get(day))
        for day in days
    ]


def _state(count: DayCount | None, is_due: bool, settings: Settings) -> DayState:
    if count is None:
        return "missing" if is_due else "not yet"
    rate = count.success_rate
    if rate is not None and rate < settings.min_success_rate:
        return "too few"
    return "invalid" if (count.issue_rate or 0) > settings.max_issue_rate else "ok"


def day_problems(days: Sequence[DayStatus]) -> list[str]:
    """Return one phrase per kind of problem of the days, e.g. `3 days missing`."""
    phrases = {"missing": "missing", "too few": "with too few students published", "invalid": "with many invalid rows"}
    counts = {state: sum(day.state == state for day in days) for state in phrases}
    return [f"{count_noun(count, 'day')} {phrases[state]}" for state, count in counts.items() if count]


def read_newest_week(installation: Installation) -> WeekCounts | None:
    """Return the active recommendations of the newest week; None if no week has been computed."""
    newest = installation.transaction(newest_week)
    return None if newest is None else WeekCounts(newest, dict(installation.transaction(active_counts, newest)))


def read_incidents(installation: Installation) -> IncidentOverview:
    """Return the open incidents, the alert channels and their undelivered messages."""
    channels: dict[str, str] = {}
    problems: Sequence[str] = ()
    settings = installation.settings
    if settings.alert_urls or settings.report_recipients:
        from snapshot_pipeline.alerts.channels import read_all_channels  # imports Apprise, which takes half a second

        channel_list = read_all_channels(settings)
        channels = {channel.id: channel.name for channel in channel_list.channels}
        problems = channel_list.problems
    waiting = installation.transaction(undelivered, list(channels))
    still_open = installation.transaction(open_incidents)
    return IncidentOverview(still_open, channels, problems, bool(settings.alert_urls), waiting)


def print_days(days: Sequence[DayStatus]) -> None:
    """Print one line per day: its counts, success rate, mean pace, and its state unless `ok`."""
    table = _table("day", "students", "published", "failed", "rate", "mean pace")
    table.add_column("", no_wrap=True)
    for status in days:
        name, state = f"{status.day:%a} {status.day}", "" if status.state == "ok" else status.state
        style = "red" if status.state in ("missing", "too few", "invalid") else None
        if status.count is None:
            table.add_row(name, *[""] * 5, state, style=style)
            continue
        count = status.count
        numbers = (f"{number:,}" for number in (count.students, count.published, count.failed))
        rate = "" if count.success_rate is None else _percent(count.success_rate)
        pace = "" if status.mean_pace is None else f"{status.mean_pace:.2f}"
        table.add_row(name, *numbers, rate, pace, state, style=style)
    _print(table)


def _percent(rate: float) -> str:
    """Round down, so that a rate below 99 % is not shown as 99.00%."""
    return f"{math.floor(rate * 10_000) / 10_000:.2%}"


def print_week(week: WeekCounts | None) -> None:
    """Print one line per type of recommendation."""
    if week is None:
        click.echo("No recommendations yet; see `snapshot-pipeline recommend --help`.")
        return
    if not week.active:
        click.echo(f"No active recommendations of the week of {week.week_start}.")
        return
    table = _table(f"week of {week.week_start}", "active" if week.is_newest else "not active: a newer week is shown")
    for recommendation_type, count in week.active.items():
        table.add_row(recommendation_type, f"{count:,}")
    _print(table)


def student_id(user_id: int, student_url: str | None) -> Text:
    """Return an id, as a link to the student's page where the terminal supports it."""
    link = student_url.replace("{user_id}", str(user_id)) if student_url else None
    return Text(str(user_id), style=f"link {link}" if link else "")


def print_student(user_id: int, student_url: str | None, what: str) -> None:
    Console(highlight=False).print(Text.assemble("Student ", student_id(user_id, student_url), what), soft_wrap=True)


def print_student_days(days: Sequence[StudentDay]) -> None:
    """Print one line per day of a student; a failed day shows the snapshot of an earlier run, if there is one."""
    table = _table("day", "pace", "quiz average", "lessons", "minutes", "")
    for day in days:
        name, state = f"{day.day:%a} {day.day}", "" if day.state == "published" else day.state
        style = "red" if day.state in ("failed", "missing") else None
        snapshot = day.snapshot
        if snapshot is None:
            table.add_row(name, "", "", "", "", state, style=style)
            continue
        average = "" if snapshot.quiz_average is None else f"{snapshot.quiz_average:.2f}"
        pace = f"{snapshot.pace_score:.2f} {snapshot.learning_pace:<11}"
        lessons, minutes = f"{snapshot.lessons_completed_count:,}", f"{snapshot.time_spent_minutes_today:,}"
        table.add_row(name, pace, average, lessons, minutes, state, style=style)
    _print(table)


def print_failures(failures: Sequence[OpenFailures], first: date, last: date, zone: ZoneInfo) -> None:
    """Print one line per reason: how many student-days failed, since when, after how many attempts."""
    if not failures:
        click.echo(f"No open failures from {first} to {last}.")
        return
    table = _table("open failures", "student-days", "first seen", "attempts")
    for failure in failures:
        first_seen = failure.first_seen.astimezone(zone)
        table.add_row(
            failure.reason, f"{failure.student_days:,}", f"{first_seen:%Y-%m-%d %H:%M}", f"{failure.attempts:,}"
        )
    _print(table)


def print_incidents(overview: IncidentOverview, zone: ZoneInfo) -> None:
    """Print one line per open incident, and the undelivered messages of each channel."""
    if overview.open:
        for incident in overview.open:
            click.echo(_incident_line(incident, zone))
        click.echo("Causes and commands: the asset incidents in the UI, or `status --json`.")
    else:
        click.echo("No open incidents.")
    if not overview.has_alert_channels:
        click.echo("No messages about incidents are sent: set SNAPSHOT_ALERT_URLS, then run")
        click.echo("`snapshot-pipeline alerts test`.")
    for messages in overview.undelivered:
        click.echo(f"{overview.channels[messages.channel]}: {_undelivered(messages, zone)}")
    for problem in overview.channel_problems:
        click.secho(f"error: {problem}", fg="red", err=True)


def _incident_line(incident: Incident, zone: ZoneInfo) -> str:
    start = f"Incident {incident.id}, since {incident.opened_at.astimezone(zone):%Y-%m-%d %H:%M}: "
    return f"{start}{plain(incident.title, max(_WIDTH - len(start), 20))}"


def _undelivered(messages: Undelivered, zone: ZoneInfo) -> str:
    count = f"{count_noun(messages.messages, 'message')} waiting"
    since = f"{messages.oldest_at.astimezone(zone):%Y-%m-%d %H:%M}"
    if not messages.last_error:
        return f"{count} since {since}"
    return f"{count} since {since}, after {count_noun(messages.attempts, 'attempt')}: {messages.last_error}"


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _print(table: Table) -> None:
    console = Console()
    console.print(table, width=min(_WIDTH, console.width))

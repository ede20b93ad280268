"""What commands show of our tables, before it is a line or a document.

Put here: the readings, each of them a few queries. Do not put here: how they look (`tables`), or SQL (`store`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import Literal

from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.open_problems import newest_due_day
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.days import DayCount, day_counts
from snapshot_pipeline.store.failures import OpenFailures, failing_students, failures_by_reason
from snapshot_pipeline.store.incidents import Incident, open_incidents
from snapshot_pipeline.store.outbox import Undelivered, undelivered
from snapshot_pipeline.store.recommendations import active_counts, newest_week
from snapshot_pipeline.store.snapshot_queries import mean_pace_by_day

DayState = Literal["ok", "too few", "missing", "not yet"]


@dataclass(frozen=True)
class Day:
    """A day as it stands.

    Attributes:
        day: The day.
        state: `ok`; `too few`: a smaller share of the students was published than is wanted; `missing`: it was never
            computed; `not yet`: neither, and it need not be.
        count: Published and failed; None where it was never computed.
        mean_pace: The mean pace score; None where nobody has a snapshot.
    """

    day: date
    state: DayState
    count: DayCount | None
    mean_pace: float | None


@dataclass(frozen=True)
class WeekCounts:
    """The recommendations of a week that are active, by type."""

    week_start: date
    active: dict[str, int]


@dataclass(frozen=True)
class Incidents:
    """What lasts, and who is told of it.

    Attributes:
        lasting: The incidents that are open, by number.
        channels: The names of the channels, by id.
        problems: One line for each channel that cannot be read.
        waiting: What waits for a channel.
    """

    lasting: list[Incident] = field(default_factory=list)
    channels: dict[str, str] = field(default_factory=dict)
    problems: Sequence[str] = ()
    waiting: list[Undelivered] = field(default_factory=list)

    @property
    def held_up(self) -> list[Undelivered]:
        """What waits although it was tried."""
        return [one for one in self.waiting if one.last_error]


def read_days(installation: Installation, first: date, last: date) -> list[Day]:
    """The days `first … last`, ascending, those that are missing included."""
    settings = installation.settings
    with installation.engine.connect() as connection:
        counts = {count.day: count for count in day_counts(connection, installation.store, first, last)}
        paces = mean_pace_by_day(connection, installation.store, first, last)
    due = newest_due_day(settings, datetime.now(timezone.utc))
    days = (first + timedelta(days=n) for n in range((last - first).days + 1))
    return [Day(day, _state(counts.get(day), day <= due, settings), counts.get(day), paces.get(day)) for day in days]


def _state(count: DayCount | None, is_due: bool, settings: Settings) -> DayState:
    if count is None:
        return "missing" if is_due else "not yet"
    rate = count.success_rate
    return "too few" if rate is not None and rate < settings.min_success_rate else "ok"


def read_failures(installation: Installation, first: date, last: date) -> list[OpenFailures]:
    """The open failures of the days, by reason."""
    with installation.engine.connect() as connection:
        return failures_by_reason(connection, installation.store, first, last)


def read_failed_period(installation: Installation, first: date | None, last: date | None) -> tuple[date, date] | None:
    """The first and the last day, within the bounds, that has an open failure; None where there is none."""
    with installation.engine.connect() as connection:
        days = list(failing_students(connection, installation.store, first, last))
    return (days[0], days[-1]) if days else None


def read_week(installation: Installation, week_start: date) -> WeekCounts:
    """The active recommendations of a week."""
    with installation.engine.connect() as connection:
        return WeekCounts(week_start, dict(active_counts(connection, installation.store, week_start)))


def read_newest_week(installation: Installation) -> WeekCounts | None:
    """The active recommendations of the newest week; None where no week has any."""
    with installation.engine.connect() as connection:
        newest = newest_week(connection, installation.store)
    return None if newest is None else read_week(installation, newest)


def read_incidents(installation: Installation) -> Incidents:
    """The open incidents, and who is told of them."""
    channels, problems = _channels(installation.settings)
    with installation.engine.connect() as connection:
        lasting = open_incidents(connection, installation.store)
        waiting = undelivered(connection, installation.store, list(channels))
    return Incidents(lasting, channels, problems, waiting)


def _channels(settings: Settings) -> tuple[dict[str, str], Sequence[str]]:
    """The names of the channels by id, and one line for each that cannot be read."""
    if not settings.alert_urls:
        return {}, []
    # Here, because importing Apprise takes half a second.
    from snapshot_pipeline.alerts.channels import read_channels

    told = read_channels(settings)
    return {channel.id: channel.name for channel in told.channels}, told.problems

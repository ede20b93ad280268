"""Texts of alert messages: an incident has opened, is still open, is resolved; monitoring is down or restored.

Incidents of one kind that one scan finds share a message. No message contains a student's id or name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from snapshot_pipeline.alerts.incidents import (
    CAUSE_SEPARATOR,
    FAILED_BACKFILL,
    FAILED_CHECK,
    FAILED_RUN,
    MISSED_WEEK,
    MISSING_DAY,
    SLOW_RUN,
    Observation,
)
from snapshot_pipeline.store.incidents import Incident

FAILURE, WARNING, SUCCESS = "failure", "warning", "success"
"""Severities, in Apprise's terms: an incident opens, is still open, is resolved."""

_PLURALS = {
    FAILED_CHECK: "failed checks",
    FAILED_RUN: "causes of failed runs",
    FAILED_BACKFILL: "failed backfills",
    SLOW_RUN: "slow runs",
    MISSING_DAY: "missing days",
    MISSED_WEEK: "missed weeks",
}

_REMEDIATION = {
    FAILED_RUN: "Fix the cause; if it is not named here, the run's log has it. Then compute the days or weeks again.",
    FAILED_BACKFILL: "Open the backfill under Runs > Backfills, and relaunch the partitions that are left.",
    SLOW_RUN: (
        "The command names missing indexes. If the platform has simply grown, raise SNAPSHOT_MAX_RUN_SECONDS. The "
        "incident closes when the next run is fast enough."
    ),
    MISSING_DAY: (
        "Check that the daemon is running, that daily_snapshots_schedule is on, and that no run of the day failed. "
        "Then compute what is missing."
    ),
    MISSED_WEEK: (
        "Check that the daemon is running, that weekly_recommendations_schedule is on, and that no run of the week "
        "failed. Then compute the week."
    ),
}
"""What to do, by kind; the detail of a failed check says it itself."""

_LISTED_PARTITIONS = 7


@dataclass(frozen=True)
class Message:
    """A message to every channel, not yet truncated."""

    title: str
    body: str
    severity: str


@dataclass(frozen=True)
class MessageFormat:
    """How messages show links and times.

    Attributes:
        ui_url: The address of the Dagster UI, without a slash at the end.
        zone: The time zone of all times.
    """

    ui_url: str
    zone: ZoneInfo

    def link(self, incident: Incident, run_id: str | None) -> str:
        """Return the line with the address to open: the result of a check, a run, or the open incidents.

        Dagster 1.13 has no address for the result of one day, so the line names the tab and the days.
        """
        if incident.kind == FAILED_CHECK:
            asset, _, check = incident.subject.partition(CAUSE_SEPARATOR)[0].rpartition("/")
            days = [partition for partition in incident.partitions if partition]
            tab = f" (tab Partitions: {_listed(days)})" if days else ""
            return f"Result: {self.ui_url}/assets/{asset}?view=checks&checkDetail={check}{tab}"
        if run_id:
            return f"Run: {self.ui_url}/runs/{run_id}"
        return f"Incidents: {self.ui_url}/assets/incidents?view=checks&checkDetail=no_open_incidents"

    def time(self, moment: datetime) -> str:
        """Return a time to the minute with its zone, e.g. `2026-03-10 02:00 CET`."""
        return f"{moment.astimezone(self.zone):%Y-%m-%d %H:%M %Z}"


def opened_messages(incidents: Sequence[Incident], message_format: MessageFormat) -> list[Message]:
    """Return one message per kind: what and how bad, why and what to do, the command, the link."""
    return [
        Message(_title(group, ""), _body(group, partial(_opened, message_format), _REMEDIATION.get(kind)), FAILURE)
        for kind, group in _by_kind(incidents)
    ]


def reminder_messages(incidents: Sequence[Incident], message_format: MessageFormat) -> list[Message]:
    """Return one message per kind: since when which incidents are open, the command, the link."""

    def lines(incident: Incident) -> list[str]:
        since = f"Open since {message_format.time(incident.opened_at)}."
        return [since, *_command(incident), message_format.link(incident, incident.run_id)]

    return [Message(_title(group, "Still open: "), _body(group, lines), WARNING) for _, group in _by_kind(incidents)]


def resolved_messages(
    closed: Sequence[tuple[Incident, Observation]], now: datetime, message_format: MessageFormat
) -> list[Message]:
    """Return one message per kind: which incidents are resolved, after how long, and what was observed."""
    observations = {incident.id: observation for incident, observation in closed}

    def lines(incident: Incident) -> list[str]:
        return [f"Resolved after {_duration(now - incident.opened_at)}: {observations[incident.id].detail}"]

    groups = _by_kind([incident for incident, _ in closed])
    return [Message(_title(group, "Resolved: "), _body(group, lines), SUCCESS) for _, group in groups]


def monitoring_down(reason: str, is_expected: bool, since: datetime, message_format: MessageFormat) -> Message:
    """Return the message that incidents can be neither found nor recorded.

    Args:
        reason: The error in one line, or only its class.
        is_expected: Whether the reason says what to do; otherwise only the sensor's log has the error.
    """
    remediation = (
        "restore access to the database"
        if is_expected
        else "open incident_scan_sensor in the Dagster UI; the log of its last tick has the error. Please report it"
    )
    return Message(
        "snapshot_pipeline cannot scan for incidents",
        f"Since {message_format.time(since)}: {reason}\n\nWhat to do: {remediation}. Until then no alerts about "
        "failed checks, failed runs or missing days are sent; they follow afterwards.",
        FAILURE,
    )


def monitoring_restored(since: datetime, now: datetime) -> Message:
    """Return the message that incidents are scanned for again."""
    text = f"Scanning for incidents works again after {_duration(now - since)}. Delayed alerts follow."
    return Message("Resolved: snapshot_pipeline scans for incidents again", text, SUCCESS)


def _by_kind(incidents: Sequence[Incident]) -> Iterator[tuple[str, list[Incident]]]:
    groups: dict[str, list[Incident]] = defaultdict(list)
    for incident in incidents:
        groups[incident.kind].append(incident)
    yield from sorted(groups.items())


def _title(group: Sequence[Incident], prefix: str) -> str:
    first, last = group[0], group[-1]
    if len(group) == 1:
        return f"{prefix}{first.title}"
    return f"{prefix}{len(group)} {_PLURALS[first.kind]} (incidents {first.id} to {last.id})"


def _body(group: Sequence[Incident], lines: Callable[[Incident], list[str]], remediation: str | None = None) -> str:
    """Return the lines of each incident; with several what to do comes first, as a channel may truncate the end."""
    advice = [remediation] if remediation else []
    if len(group) == 1:
        (incident,) = group
        first, *others = lines(incident)
        return "\n".join(line for line in (first, *advice, *others, f"Incident {incident.id}") if line)
    entries = ["\n".join([f"Incident {incident.id}: {incident.title}", *lines(incident)]) for incident in group]
    return "\n\n".join([*advice, *entries])


def _opened(message_format: MessageFormat, incident: Incident) -> list[str]:
    keys = [partition for partition in incident.partitions if partition]
    # The link of a failed check lists its days.
    listed = [f"Partitions: {_listed(keys)}"] if len(keys) > 1 and incident.kind != FAILED_CHECK else []
    return [incident.detail, *listed, *_command(incident), message_format.link(incident, incident.run_id)]


def _command(incident: Incident) -> list[str]:
    return [f"Command: {incident.command}"] if incident.command else []


def _listed(partitions: Sequence[str]) -> str:
    if len(partitions) <= _LISTED_PARTITIONS:
        return ", ".join(partitions)
    return f"{len(partitions)} from {partitions[0]} to {partitions[-1]}"


def _duration(duration: timedelta) -> str:
    minutes = max(int(duration.total_seconds() // 60), 0)
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"

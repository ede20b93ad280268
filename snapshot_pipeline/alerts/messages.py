"""Texts of alert messages: an incident has opened, is still open, is resolved; monitoring is down or restored.

Incidents of one kind that one scan finds share a message. No message contains a student's id or name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from snapshot_pipeline.alerts.incidents import (
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
    FAILED_RUN: "failed runs",
    FAILED_BACKFILL: "failed backfills",
    SLOW_RUN: "slow runs",
    MISSING_DAY: "missing days",
    MISSED_WEEK: "missed weeks",
}

_REMEDIATION = {
    FAILED_CHECK: (
        "Open the run: the check's result says what was found, and its description what to do. Fix the cause, then "
        "materialize the same days again. The incident closes when the check passes."
    ),
    FAILED_RUN: (
        "Fix the cause: the incident names it, or else the run's log does. Then materialize the same days or weeks "
        "again. The incident closes when they have been materialized."
    ),
    FAILED_BACKFILL: (
        "Open the backfill under Runs, Backfills in the Dagster UI: it shows which days or weeks are left. Launch them "
        "again. The incident closes when they have been materialized."
    ),
    SLOW_RUN: (
        "Run `snapshot-pipeline check`: it names missing indexes. If the platform has simply grown, raise "
        "SNAPSHOT_MAX_RUN_SECONDS. The incident closes when the next run is fast enough."
    ),
    MISSING_DAY: (
        "Check in the Dagster UI that the daemon is running, that `daily_snapshots_schedule` is on, and whether a run "
        "of the day failed. Then materialize the day, in the UI or with `snapshot-pipeline materialize`."
    ),
    MISSED_WEEK: (
        "Check in the Dagster UI that the daemon is running, that `weekly_recommendations_schedule` is on, and whether "
        "a run of the week failed. Then materialize the week, in the UI or with `snapshot-pipeline recommend`."
    ),
}


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

    def run_link(self, run_id: str | None) -> list[str]:
        """Return the line that links to a run, or nothing without a run."""
        return [f"Run: {self.ui_url}/runs/{run_id}"] if run_id else []

    def time(self, moment: datetime) -> str:
        """Return a time to the minute with its zone, e.g. `2026-03-10 02:00 CET`."""
        return f"{moment.astimezone(self.zone):%Y-%m-%d %H:%M %Z}"


def opened_messages(incidents: Sequence[Incident], message_format: MessageFormat) -> list[Message]:
    """Return one message per kind: what is wrong, observed and expected values, the run, what to do."""

    def entry(incident: Incident) -> str:
        return _entry(incident, incident.detail, message_format.run_link(incident.run_id))

    return [Message(_title(group, ""), _body(group, entry, kind), FAILURE) for kind, group in _by_kind(incidents)]


def reminder_messages(incidents: Sequence[Incident], message_format: MessageFormat) -> list[Message]:
    """Return one message per kind: which incidents are still open."""

    def entry(incident: Incident) -> str:
        since = f"{incident.detail}\nOpen since {message_format.time(incident.opened_at)}."
        return _entry(incident, since, message_format.run_link(incident.run_id))

    return [
        Message(_title(group, "Still open: "), _body(group, entry, kind), WARNING)
        for kind, group in _by_kind(incidents)
    ]


def resolved_messages(
    closed: Sequence[tuple[Incident, Observation]], now: datetime, message_format: MessageFormat
) -> list[Message]:
    """Return one message per kind: which incidents are resolved, after how long, and what was observed."""
    observations = {incident.id: observation for incident, observation in closed}

    def entry(incident: Incident) -> str:
        observation = observations[incident.id]
        resolution = f"Resolved after {_duration(now - incident.opened_at)}: {observation.detail}"
        return _entry(incident, resolution, message_format.run_link(observation.run_id))

    return [
        Message(_title(group, "Resolved: "), "\n\n".join(map(entry, group)), SUCCESS)
        for _, group in _by_kind([incident for incident, _ in closed])
    ]


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
        f"Since {message_format.time(since)}: {reason}\n\nWhat to do: {remediation}. Until then there are no alerts "
        "about failed checks, failed runs or missing days; they are sent afterwards.",
        FAILURE,
    )


def monitoring_restored(since: datetime, now: datetime) -> Message:
    """Return the message that incidents are scanned for again."""
    text = f"Scanning for incidents works again after {_duration(now - since)}. Alerts of the meantime follow."
    return Message("Resolved: snapshot_pipeline scans for incidents again", text, SUCCESS)


def _by_kind(incidents: Sequence[Incident]) -> Iterator[tuple[str, list[Incident]]]:
    groups: dict[str, list[Incident]] = defaultdict(list)
    for incident in incidents:
        groups[incident.kind].append(incident)
    yield from sorted(groups.items())


def _title(group: Sequence[Incident], prefix: str) -> str:
    first, last = group[0], group[-1]
    if len(group) == 1:
        return f"{prefix}{first.title} (incident {first.id})"
    return f"{prefix}{len(group)} {_PLURALS[first.kind]} (incidents {first.id} … {last.id})"


def _body(group: Sequence[Incident], entry: Callable[[Incident], str], kind: str) -> str:
    # With several incidents the remediation comes first: a channel may truncate the end.
    entries = [entry(incident) for incident in group]
    remediation = f"What to do: {_REMEDIATION[kind]}"
    return "\n\n".join([*entries, remediation] if len(group) == 1 else [remediation, *entries])


def _entry(incident: Incident, text: str, links: Sequence[str]) -> str:
    return "\n".join([f"Incident {incident.id}: {incident.title}", text, *links])


def _duration(duration: timedelta) -> str:
    minutes = max(int(duration.total_seconds() // 60), 0)
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"

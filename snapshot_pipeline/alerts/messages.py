"""What is said of incidents: that they have begun, that they last, that they are over.

Put here: every sentence that leaves the house. What one look finds of the same kind is one message, however many days
it is about. Do not put here: the length a channel takes (`channels`), or a student's id or name, anywhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from snapshot_pipeline.alerts.incidents import FAILED_CHECK, FAILED_RUN, MISSED_WEEK, MISSING_DAY, SLOW_RUN, Observation
from snapshot_pipeline.store.incidents import Incident

FAILURE, WARNING, SUCCESS = "failure", "warning", "success"
"""The severities, in the words of Apprise: an incident begins, it lasts, it is over."""

_SEVERAL = {
    FAILED_CHECK: "failed checks",
    FAILED_RUN: "failed runs",
    SLOW_RUN: "runs over their time",
    MISSING_DAY: "missing days",
    MISSED_WEEK: "missed weeks",
}

_WHAT_TO_DO = {
    FAILED_CHECK: (
        "Open the run: the check's result says what was found, and its description what to do. Mend the cause, then "
        "materialize the same days again. A check that passes closes the incident."
    ),
    FAILED_RUN: (
        "Open the run: its error is one line that says what to do. Then materialize the same days or weeks again. The "
        "incident is over as soon as they are there."
    ),
    SLOW_RUN: (
        "`snapshot-pipeline check` says which indexes are missing. If the platform has simply grown, raise "
        "SNAPSHOT_MAX_RUN_SECONDS. The next run that ends in time closes the incident."
    ),
    MISSING_DAY: (
        "See in the Dagster UI that the daemon runs, that `daily_snapshots_schedule` is on, and whether a run of the "
        "day has failed. Then materialize the day: in the UI, or by `snapshot-pipeline materialize`."
    ),
    MISSED_WEEK: (
        "See in the Dagster UI that the daemon runs, that `weekly_recommendations_schedule` is on, and whether a run "
        "of the week has failed. Then materialize the week: in the UI, or by `snapshot-pipeline recommend`."
    ),
}


@dataclass(frozen=True)
class Message:
    """A text for every channel, of any length."""

    title: str
    body: str
    severity: str


@dataclass(frozen=True)
class Wording:
    """What all messages of an installation share.

    Attributes:
        ui_url: Where the Dagster UI is, without a slash at the end.
        zone: The zone that times are given in.
    """

    ui_url: str
    zone: ZoneInfo

    def run(self, run_id: str | None) -> list[str]:
        """The line that links to a run."""
        return [f"Run: {self.ui_url}/runs/{run_id}"] if run_id else []

    def time(self, moment: datetime) -> str:
        """A time as people read it."""
        return f"{moment.astimezone(self.zone):%Y-%m-%d %H:%M %Z}"


def opened(incidents: Sequence[Incident], wording: Wording) -> list[Message]:
    """One message a kind: what has begun, observed against expected, the run, what to do."""
    return [
        Message(
            _title(group, ""),
            _body(group, lambda incident: _entry(incident, incident.detail, wording.run(incident.run_id)), kind),
            FAILURE,
        )
        for kind, group in _by_kind(incidents)
    ]


def reminders(incidents: Sequence[Incident], wording: Wording) -> list[Message]:
    """One message a kind: what still lasts."""

    def entry(incident: Incident) -> str:
        since = f"{incident.detail}\nOpen since {wording.time(incident.opened_at)}."
        return _entry(incident, since, wording.run(incident.run_id))

    return [
        Message(_title(group, "Still: "), _body(group, entry, kind), WARNING) for kind, group in _by_kind(incidents)
    ]


def all_clear(closed: Sequence[tuple[Incident, Observation]], now: datetime, wording: Wording) -> list[Message]:
    """One message a kind: what is over, after how long, and what was seen instead."""
    seen = {incident.id: observation for incident, observation in closed}

    def entry(incident: Incident) -> str:
        observation = seen[incident.id]
        after = f"Over after {_length(now - incident.opened_at)}: {observation.detail}"
        return _entry(incident, after, wording.run(observation.run_id))

    return [
        Message(_title(group, "Over: "), "\n\n".join(map(entry, group)), SUCCESS)
        for _, group in _by_kind([incident for incident, _ in closed])
    ]


def monitoring_down(reason: str, since: datetime, wording: Wording) -> Message:
    """Incidents can neither be found nor recorded, and so nobody would be told of any."""
    return Message(
        "snapshot_pipeline cannot look for incidents",
        f"Since {wording.time(since)}: {reason}\n\nWhat to do: bring the database back. Until then nobody is told of "
        "failing checks, failed runs or missing days; what happens meanwhile is told afterwards.",
        FAILURE,
    )


def monitoring_restored(since: datetime, now: datetime) -> Message:
    """Incidents are looked for again."""
    text = f"After {_length(now - since)} incidents are looked for again; what happened meanwhile is told now."
    return Message("Over: snapshot_pipeline looks for incidents again", text, SUCCESS)


def _by_kind(incidents: Sequence[Incident]) -> Iterator[tuple[str, list[Incident]]]:
    groups: dict[str, list[Incident]] = defaultdict(list)
    for incident in incidents:
        groups[incident.kind].append(incident)
    yield from sorted(groups.items())


def _title(group: Sequence[Incident], prefix: str) -> str:
    first, last = group[0], group[-1]
    if len(group) == 1:
        return f"{prefix}{first.title} (incident {first.id})"
    return f"{prefix}{len(group)} {_SEVERAL[first.kind]} (incidents {first.id} … {last.id})"


def _body(group: Sequence[Incident], entry: Callable[[Incident], str], kind: str) -> str:
    # What to do comes first when there are many: a channel may cut the end.
    entries = [entry(incident) for incident in group]
    what_to_do = f"What to do: {_WHAT_TO_DO[kind]}"
    return "\n\n".join([*entries, what_to_do] if len(group) == 1 else [what_to_do, *entries])


def _entry(incident: Incident, said: str, links: Sequence[str]) -> str:
    return "\n".join([f"Incident {incident.id}: {incident.title}", said, *links])


def _length(duration: timedelta) -> str:
    minutes = max(int(duration.total_seconds() // 60), 0)
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"

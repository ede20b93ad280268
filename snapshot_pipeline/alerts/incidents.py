"""What an incident is, and what an observation does to it: it opens, lasts, is reminded of, is over.

Put here: the kinds, and the decision, which is pure: the same observations and incidents give the same changes.
Do not put here: where observations come from (`orchestration.observations`), or the tables (`store.incidents`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from snapshot_pipeline.store.incidents import Incident

FAILED_CHECK = "failed_check"
"""A check of severity ERROR does not pass. Over when the same check of the same partition passes."""

FAILED_RUN = "failed_run"
"""A run failed and is not retried. Over when the same was run successfully, or its partitions are there since."""

SLOW_RUN = "slow_run"
"""A run takes, or took, more than SNAPSHOT_MAX_RUN_SECONDS. Over when a later run of the same ends in time."""

MISSING_DAY = "missing_day"
"""A day is not there SNAPSHOT_OVERDUE_MINUTES after it has ended. Over when it is there."""

MISSED_WEEK = "missed_week"
"""A week is not there SNAPSHOT_OVERDUE_MINUTES after its schedule. Over when it, or a newer week, is there."""

KINDS = (FAILED_CHECK, FAILED_RUN, SLOW_RUN, MISSING_DAY, MISSED_WEEK)

REMIND_AFTER = timedelta(days=1)
"""How long after it was last told of an incident that lasts is told of again."""

GATHER_AFTER = timedelta(hours=12)
"""How long after it was last told of an incident joins a reminder of another one, so that there is one a day of all."""


@dataclass(frozen=True)
class Observation:
    """What was found about one thing at one look. Neither of its texts may hold a student's id or name.

    Attributes:
        kind: One of `KINDS`.
        subject: What it is about, e.g. a day; with the kind, what makes it the same incident at the next look.
        is_trouble: Whether something is wrong with it; if not, an incident that is open is over.
        title: What, and which day, in one line.
        detail: Observed against expected.
        run_id: The Dagster run, where there is one.
        event_at: When the event happened that was observed; None for what is simply true now.
    """

    kind: str
    subject: str
    is_trouble: bool
    title: str
    detail: str
    run_id: str | None = None
    event_at: datetime | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What it has in common with its incident."""
        return self.kind, self.subject


@dataclass(frozen=True)
class Decision:
    """What one look changes.

    Attributes:
        opened: What becomes an incident.
        lasting: Incidents that were seen again and what was seen; nobody is told.
        closed: Incidents that are over, and what was seen instead.
        reminded: Incidents that have lasted for another day.
    """

    opened: Sequence[Observation]
    lasting: Sequence[tuple[Incident, Observation]]
    closed: Sequence[tuple[Incident, Observation]]
    reminded: Sequence[Incident]


def decide(
    observations: Sequence[Observation],
    still_open: Sequence[Incident],
    last_events: Mapping[tuple[str, str], datetime],
    now: datetime,
) -> Decision:
    """Decide what the observations of one look change.

    An event that is not newer than the last one known of its subject was taken into account already, at a look whose
    place was lost: it changes nothing. What is simply true now has no event and is always taken into account.

    Args:
        observations: At most one per kind and subject.
        still_open: All incidents that last.
        last_events: The last known event of each kind and subject, of closed incidents too.
        now: When the look was made.
    """
    incidents = {(incident.kind, incident.subject): incident for incident in still_open}
    opened: list[Observation] = []
    lasting: list[tuple[Incident, Observation]] = []
    closed: list[tuple[Incident, Observation]] = []
    for observation in observations:
        known = last_events.get(observation.key)
        if known is not None and observation.event_at is not None and observation.event_at <= known:
            continue
        incident = incidents.get(observation.key)
        if incident is None:
            if observation.is_trouble:
                opened.append(observation)
        elif observation.is_trouble:
            lasting.append((incident, observation))
        else:
            closed.append((incident, observation))
    over = {incident.id for incident, _ in closed}
    return Decision(opened, lasting, closed, _due([one for one in still_open if one.id not in over], now))


def _due(still_open: Sequence[Incident], now: datetime) -> list[Incident]:
    """Those that are reminded of now: once one has lasted for a day, all that were not told of just before."""
    if not any(incident.notified_at <= now - REMIND_AFTER for incident in still_open):
        return []
    return [incident for incident in still_open if incident.notified_at <= now - GATHER_AFTER]

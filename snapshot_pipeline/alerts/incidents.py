"""Incidents: their kinds, and the pure function that decides which ones open, stay open, close or need a reminder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from snapshot_pipeline.store.incidents import Incident

FAILED_CHECK = "failed_check"
"""A check of severity ERROR failed, on any number of days or weeks for one cause. Closed when it passes for all."""

CAUSE_SEPARATOR = ": "
"""Between the check, or the assets of a run, and the cause in a subject."""

FAILED_RUN = "failed_run"
"""Runs of the same assets failed for one cause and will not be retried. Closed when all that they should have computed
has been materialized since, or, without partitions, when a later run succeeds."""

FAILED_BACKFILL = "failed_backfill"
"""Dagster gave up on a backfill. Closed when its days or weeks have been materialized since it was launched."""

SLOW_RUN = "slow_run"
"""A run takes, or took, more than SNAPSHOT_MAX_RUN_SECONDS. Closed when a later run of the asset is fast enough."""

MISSING_DAY = "missing_day"
"""Days are missing SNAPSHOT_OVERDUE_MINUTES after they ended. Closed when all have been computed."""

MISSED_WEEK = "missed_week"
"""Weeks are missing SNAPSHOT_OVERDUE_MINUTES after their schedule. Closed when the newest has been computed."""

KINDS = (FAILED_CHECK, FAILED_RUN, FAILED_BACKFILL, SLOW_RUN, MISSING_DAY, MISSED_WEEK)

REMIND_AFTER = timedelta(days=1)
"""An open incident whose last message is this old triggers a reminder."""

REMIND_TOGETHER_AFTER = timedelta(hours=12)
"""Open incidents whose last message is this old join the reminder of another one: one reminder a day for all."""


@dataclass(frozen=True)
class Observation:
    """The state of one subject at the time of a scan. Neither text may contain a student's id or name.

    Attributes:
        kind: One of `KINDS`.
        subject: What it is about, e.g. a day. Observations of the same kind and subject belong to the same incident.
        is_problem: True opens an incident or keeps it open; False closes it.
        title: What is wrong and for which day, in one line.
        detail: The observed value and the expected one.
        run_id: The Dagster run, if there is one.
        event_at: When the observed event happened; None for a state that is true at the time of the scan.
        command: The command to run, or an empty text.
        partitions: By day or week, or by an empty text without partitions: what a failing check found, the id of the
            failed run, or when it was due.
    """

    kind: str
    subject: str
    is_problem: bool
    title: str
    detail: str
    run_id: str | None = None
    event_at: datetime | None = None
    command: str = ""
    partitions: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """Kind and subject, which identify the incident."""
        return self.kind, self.subject


@dataclass(frozen=True)
class PlannedChanges:
    """What one scan changes.

    Attributes:
        to_open: Observations that open an incident.
        to_update: Incidents that stay open, and their new observation; no message is sent.
        to_close: Incidents that are resolved, and the observation that resolves them.
        to_remind: Open incidents whose reminder is due.
    """

    to_open: Sequence[Observation]
    to_update: Sequence[tuple[Incident, Observation]]
    to_close: Sequence[tuple[Incident, Observation]]
    to_remind: Sequence[Incident]


def plan_changes(
    observations: Sequence[Observation],
    open_incidents: Sequence[Incident],
    last_events: Mapping[tuple[str, str], datetime],
    now: datetime,
) -> PlannedChanges:
    """Decide what the observations of one scan change.

    An event that is not newer than the last known event of its subject was handled by an earlier scan (whose cursor was
    lost) and is ignored. Observations without an event describe the current state and are always handled.

    Args:
        observations: At most one per kind and subject.
        last_events: The last known event of each kind and subject, including closed incidents.
    """
    incidents = {(incident.kind, incident.subject): incident for incident in open_incidents}
    to_open: list[Observation] = []
    to_update: list[tuple[Incident, Observation]] = []
    to_close: list[tuple[Incident, Observation]] = []
    for observation in observations:
        last_event = last_events.get(observation.key)
        if last_event is not None and observation.event_at is not None and observation.event_at <= last_event:
            continue
        incident = incidents.get(observation.key)
        if incident is None:
            if observation.is_problem:
                to_open.append(observation)
        elif observation.is_problem:
            to_update.append((incident, observation))
        else:
            to_close.append((incident, observation))
    closed_ids = {incident.id for incident, _ in to_close}
    still_open = [incident for incident in open_incidents if incident.id not in closed_ids]
    return PlannedChanges(to_open, to_update, to_close, _due_reminders(still_open, now))


def _due_reminders(still_open: Sequence[Incident], now: datetime) -> list[Incident]:
    """Return no incident until one is due; then also those that would be due within the next half day."""
    if not any(incident.notified_at <= now - REMIND_AFTER for incident in still_open):
        return []
    return [incident for incident in still_open if incident.notified_at <= now - REMIND_TOGETHER_AFTER]

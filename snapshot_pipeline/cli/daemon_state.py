"""Whether Dagster's daemon is alive, by the age of its newest heartbeat."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from snapshot_pipeline.orchestration.instance.heartbeats import DEAD_AFTER, Heartbeat, newest, read_heartbeats
from snapshot_pipeline.plots.text import count_noun
from snapshot_pipeline.postgres.engines import dagster_url
from snapshot_pipeline.postgres.errors import DatabaseError
from snapshot_pipeline.settings import Settings

_START = "start `dagster-daemon run`, or on one machine `snapshot-pipeline dev`"


@dataclass(frozen=True)
class DaemonState:
    """The newest heartbeat of the daemon, or why it cannot be read."""

    heartbeat: Heartbeat | None
    error: str | None = None

    @property
    def state(self) -> Literal["alive", "dead", "never started", "unknown"]:
        """Whether it is alive; a daemon that never ran is not a problem in itself: days become missing."""
        if self.error:
            return "unknown"
        if self.heartbeat is None:
            return "never started"
        return "alive" if self.heartbeat.age < DEAD_AFTER else "dead"

    @property
    def sentence(self) -> str:
        """The state, and what to do."""
        if self.error:
            return f"Daemon: unknown, because Dagster's database cannot be read: {self.error}."
        if self.heartbeat is None:
            return f"Daemon: never started for this Dagster database; {_START}."
        if self.state == "alive":
            return f"Daemon: alive; last heartbeat {_duration(self.heartbeat.age)} ago."
        return f"Daemon: dead; last heartbeat {_duration(self.heartbeat.age)} ago: {_START}."

    @property
    def problem(self) -> str | None:
        """The problem as a phrase; None without one."""
        if self.error:
            return "Dagster's database cannot be read"
        if self.state == "dead" and self.heartbeat:
            return f"daemon dead for {_duration(self.heartbeat.age)}"
        return None


def read_daemon_state(settings: Settings) -> DaemonState:
    """Read the newest heartbeat from Dagster's database."""
    try:
        return DaemonState(newest(read_heartbeats(dagster_url(settings))))
    except DatabaseError as error:
        return DaemonState(None, str(error))


def _duration(age: timedelta) -> str:
    seconds = round(age.total_seconds())
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:
            return count_noun(seconds // length, unit)
    return count_noun(seconds, "second")

"""The heartbeats of Dagster's daemon, read without Dagster, which takes seconds to import."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from sqlalchemy import URL, column, inspect, select, table
from sqlalchemy.pool import NullPool

from snapshot_pipeline.postgres.errors import readable_database_errors
from snapshot_pipeline.postgres.sessions import open_engine

DEAD_AFTER = timedelta(minutes=2)
"""Age of the newest heartbeat at which the daemon counts as dead: each of its eight threads sends one every 30 s."""

RENEWED_WITHIN = 45.0
"""Seconds within which a living daemon sends another heartbeat."""

_HEARTBEATS = table("daemon_heartbeats", column("daemon_id"), column("body"))


@dataclass(frozen=True)
class Heartbeat:
    """The last heartbeat of one thread of a daemon; the id is that of the daemon's process."""

    daemon_id: str
    sent_at: datetime

    @property
    def age(self) -> timedelta:
        """The time since it was sent."""
        return max(timedelta(), datetime.now(timezone.utc) - self.sent_at)


def read_heartbeats(url: URL) -> list[Heartbeat]:
    """Return the heartbeats in Dagster's database; [] if it has no tables yet.

    Raises:
        DatabaseError: It cannot be read.
    """
    engine = open_engine(url, poolclass=NullPool)
    with readable_database_errors(url), engine.connect() as connection:
        if not inspect(connection).has_table(_HEARTBEATS.name):
            return []
        rows = connection.execute(select(_HEARTBEATS.c.daemon_id, _HEARTBEATS.c.body)).all()
    # Not the column `timestamp`, which has no time zone.
    times = ((row.daemon_id, json.loads(row.body)["timestamp"]) for row in rows)
    return [Heartbeat(daemon_id, datetime.fromtimestamp(at, timezone.utc)) for daemon_id, at in times]


def newest(heartbeats: Iterable[Heartbeat]) -> Heartbeat | None:
    """Return the heartbeat that was sent last; None if there is none."""
    return max(heartbeats, key=lambda heartbeat: heartbeat.sent_at, default=None)


def find_living_daemon(
    read: Callable[[], list[Heartbeat]],
    ended: Iterable[str],
    report_wait: Callable[[Heartbeat], None],
    seconds: float = RENEWED_WITHIN,
) -> Heartbeat | None:
    """Return a heartbeat of a daemon that is alive: one that was sent while this function waited.

    A heartbeat that is merely recent may be that of a daemon that has just ended.

    Args:
        read: Reads the heartbeats.
        ended: The ids of daemons that are known to have ended.
        report_wait: Called once if it is necessary to wait, with the newest heartbeat.
        seconds: How long to wait at most.
    """
    ended_ids = set(ended)
    first = {beat for beat in read() if beat.daemon_id not in ended_ids}
    recent = newest(beat for beat in first if beat.age < DEAD_AFTER)
    if recent is None:
        return None
    report_wait(recent)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if new := newest({beat for beat in read() if beat.daemon_id not in ended_ids} - first):
            return new
        time.sleep(0.5)
    return None

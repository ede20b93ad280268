"""One look at an installation: where, since when, and what is known already.

Put here: what all sources share. Do not put here: the sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import dagster as dg

from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.incidents import Incident

OVERLAP = timedelta(minutes=15)
"""How far a look reaches back behind the one before: Dagster writes an event some time after it has happened."""


@dataclass(frozen=True)
class Scan:
    """One look.

    Attributes:
        instance: Dagster's records.
        repository: What this code location defines; nothing else is looked at.
        settings: The installation's.
        now: When it is made.
        watching_since: When watching began; what was due or failed before is nobody's incident.
        last_scan: When the look before was made.
        still_open: The incidents that last.
    """

    instance: dg.DagsterInstance
    repository: dg.RepositoryDefinition
    settings: Settings
    now: datetime
    watching_since: datetime
    last_scan: datetime
    still_open: Sequence[Incident]

    @property
    def since(self) -> datetime:
        """The earliest time of an event that this look takes into account."""
        return max(self.last_scan - OVERLAP, self.watching_since)

    def open_incidents(self, kind: str) -> dict[str, Incident]:
        """The incidents of a kind that last, by subject."""
        return {incident.subject: incident for incident in self.still_open if incident.kind == kind}


def from_timestamp(timestamp: float) -> datetime:
    """A time of Dagster's, to the microsecond, in UTC."""
    return datetime.fromtimestamp(timestamp, timezone.utc)

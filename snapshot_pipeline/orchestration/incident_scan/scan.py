"""The parameters of one scan, shared by all sources of observations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import dagster as dg

from snapshot_pipeline.orchestration.names import GRAIN_TAG
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.plots.text import count_noun
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.incidents import Incident

OVERLAP = timedelta(minutes=15)
"""How far a scan reaches back before the last one: Dagster stores an event some time after it has happened."""


@dataclass(frozen=True)
class Scan:
    """One scan of an installation.

    Attributes:
        instance: Dagster's records.
        repository: The definitions of this code location; runs and checks of others are ignored.
        installation: Our tables, which say what is computed.
        now: Time of this scan.
        watching_since: Start of monitoring; what was due or failed before is ignored.
        last_scan: Time of the scan before.
        still_open: The open incidents.
    """

    instance: dg.DagsterInstance
    repository: dg.RepositoryDefinition
    installation: Installation
    now: datetime
    watching_since: datetime
    last_scan: datetime
    still_open: Sequence[Incident]

    @property
    def settings(self) -> Settings:
        return self.installation.settings

    @property
    def since(self) -> datetime:
        """The earliest time of an event that this scan takes into account."""
        return max(self.last_scan - OVERLAP, self.watching_since)

    def open_incidents(self, kind: str) -> dict[str, Incident]:
        """Return the open incidents of a kind by subject."""
        return {incident.subject: incident for incident in self.still_open if incident.kind == kind}


def from_timestamp(timestamp: float) -> datetime:
    """Return a Unix time of Dagster's as a datetime in UTC."""
    return datetime.fromtimestamp(timestamp, timezone.utc)


def affected(scan: Scan, assets: Sequence[dg.AssetKey], partitions: Iterable[str]) -> str:
    """Return assets and their days or weeks as a title names them, e.g. `weekly_report, week of 2026-02-09`."""
    names = ", ".join(asset.to_user_string() for asset in assets)
    keys = sorted(key for key in partitions if key)
    if not keys:
        return names
    grain = scan.repository.asset_graph.get(assets[0]).tags.get(GRAIN_TAG, "day")
    if len(keys) > 1:
        return f"{names}, {count_noun(len(keys), grain)} from {keys[0]} to {keys[-1]}"
    return f"{names}, week of {keys[0]}" if grain == "week" else f"{names}, {keys[0]}"

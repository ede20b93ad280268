"""Finds what is wrong now: failing checks, failed runs and backfills, slow runs, missing days, missed weeks.

A scan describes the current state, not the news since the last scan: a repeated or late scan finds the same. Failures
before `Scan.watching_since` are ignored. A day or week "is computed" if our tables say so (`snapshot_days`,
`recommendation_weeks`), as for the schedules: Dagster never forgets that a partition was materialized.

Each module has one source of `Observation`s; it writes nothing and does not read the clock.
"""

from __future__ import annotations

from snapshot_pipeline.alerts.incidents import Observation
from snapshot_pipeline.orchestration.incident_scan.backfills import find_failed_backfills
from snapshot_pipeline.orchestration.incident_scan.checks import find_failing_checks
from snapshot_pipeline.orchestration.incident_scan.periods import find_missed_weeks, find_missing_days
from snapshot_pipeline.orchestration.incident_scan.runs import find_failed_runs, find_slow_runs
from snapshot_pipeline.orchestration.incident_scan.scan import Scan

__all__ = ["Scan", "find_observations"]


def find_observations(scan: Scan) -> list[Observation]:
    """Return everything that one scan finds, at most one observation per kind and subject."""
    return [
        *find_failing_checks(scan),
        *find_failed_runs(scan),
        *find_failed_backfills(scan),
        *find_slow_runs(scan),
        *find_missing_days(scan),
        *find_missed_weeks(scan),
    ]

"""What is wrong now, as far as Dagster's records tell: checks, runs, days and weeks, each as an `Observation`.

Put here: one module per source, each a function of a `Scan`; none of them writes, or reads the clock.
Do not put here: what an observation leads to (`alerts`), or when one looks (`sensors`).

A look describes the state of things, not the news since the last one: looking twice, or late, comes to the same.
Only what is *found* is bounded by time: a failure before `watching_since` is nobody's incident. "There", of a day or a
week, means materialized in Dagster: it is what the nightly schedule goes by, so that the two never disagree, and all
ways to compute a day (schedule, UI, command line) are recorded there.
"""

from __future__ import annotations

from snapshot_pipeline.alerts.incidents import Observation
from snapshot_pipeline.orchestration.incident_scan.checks import failing_checks
from snapshot_pipeline.orchestration.incident_scan.periods import missed_weeks, missing_days
from snapshot_pipeline.orchestration.incident_scan.runs import failed_runs, slow_runs
from snapshot_pipeline.orchestration.incident_scan.scan import Scan

__all__ = ["Scan", "observe"]


def observe(scan: Scan) -> list[Observation]:
    """All that one look finds, at most one observation per kind and subject."""
    return [*failing_checks(scan), *failed_runs(scan), *slow_runs(scan), *missing_days(scan), *missed_weeks(scan)]

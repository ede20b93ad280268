"""Assertions about every fault: no unexpected row in between, and no wrong or missing row at the end."""

from __future__ import annotations

from datetime import date

from snapshot_pipeline_tests.faults.ledger import Fault
from snapshot_pipeline_tests.faults.system import FaultSystem, Figures
from snapshot_pipeline_tests.waiting import wait_for


def unexpected_rows(published: Figures, old: Figures, new: Figures) -> list[tuple[int, date]]:
    """Return the student-days whose row is neither the old nor the new one; a deleted row counts too."""
    return [
        key
        for key in old.keys() | new.keys() | published.keys()
        if published.get(key) not in (old.get(key), new.get(key))
    ]


def assert_published(fault: Fault, system: FaultSystem, new: Figures) -> None:
    """Record the wrong and missing rows, and assert that there are none."""
    published = system.figures()
    fault.rows_wrong += sum(published[key] != new[key] for key in published.keys() & new.keys())
    fault.rows_missing += len(new.keys() - published.keys())
    assert published == new


def final_status(system: FaultSystem, run_id: str) -> str:
    """Wait until a run has ended; return its status."""
    return wait_for(lambda: system.dagster.finished(run_id), f"run {run_id} has ended", 120)

"""What is asked of every fault: no row is strange in between, and none is wrong or missing when it is over.

Put here: the questions that all tests of the suite ask. Do not put here: the faults.
"""

from __future__ import annotations

from datetime import date

from snapshot_pipeline_tests.faults.ledger import Fault
from snapshot_pipeline_tests.faults.world import Figures, World
from snapshot_pipeline_tests.running_dagster import wait_for


def strange(found: Figures, old: Figures, new: Figures) -> list[tuple[int, date]]:
    """The student days that are neither as before nor as they should become, a student day that is gone included."""
    return [key for key in old.keys() | new.keys() | found.keys() if found.get(key) not in (old.get(key), new.get(key))]


def settle(fault: Fault, world: World, new: Figures) -> None:
    """When all is over, everything is as it should be."""
    found = world.figures()
    fault.rows_wrong += sum(found[key] != new[key] for key in found.keys() & new.keys())
    fault.rows_missing += len(new.keys() - found.keys())
    assert found == new


def over(world: World, run_id: str) -> str:
    """How a run ended."""
    return wait_for(lambda: world.dagster.finished(run_id), f"run {run_id} is over", 120)

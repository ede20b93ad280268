"""Fixtures of the fault tests: one system for all of them in a worker, and the ledger that is printed at the end."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

import pytest

from snapshot_pipeline_tests.faults.ledger import Ledger
from snapshot_pipeline_tests.faults.system import FaultSystem, start_system
from snapshot_pipeline_tests.waiting import wait_for

_LEDGER = Ledger()


@pytest.fixture(scope="session")
def ledger() -> Ledger:
    """The ledger in which each test records its faults."""
    return _LEDGER


@pytest.fixture(scope="package")  # ends with the last of these tests: it sets variables, and its daemon never rests
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultSystem]:
    """A database server, a platform, a running Dagster and a receiver of alerts, shared by all fault tests."""
    with start_system(tmp_path_factory.mktemp("system")) as started_system:
        yield started_system


@pytest.fixture(scope="package")
def normal_run_seconds(system: FaultSystem) -> float:
    """Duration of the process of a run without faults; the run publishes the days for the first time."""
    run_id = system.launch()
    process = wait_for(lambda: system.dagster.process_of(run_id), "the run has a process", 60)
    started = process.create_time()
    assert wait_for(lambda: system.dagster.finished(run_id), "the run has finished", 120) == "SUCCESS"
    return time.time() - started


@pytest.fixture(autouse=True)
def _nothing_else_runs(system: FaultSystem) -> None:
    """Wait until the runs of an earlier test, which may have failed, have ended."""
    wait_for(system.has_no_unfinished_run, "all runs have ended", 180)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """A random generator; its seed is printed, and can be set by `SNAPSHOT_FAULT_SEED` to repeat a test."""
    seed = os.environ.get("SNAPSHOT_FAULT_SEED") or f"{random.SystemRandom().getrandbits(32)}"
    print(f"{request.node.name}: SNAPSHOT_FAULT_SEED={seed}")
    return random.Random(f"{seed} {request.node.name}")  # noqa: S311  # not for secrets


def pytest_terminal_summary() -> None:
    """Print the ledger below the results."""
    if list(_LEDGER.faults):
        _LEDGER.show()

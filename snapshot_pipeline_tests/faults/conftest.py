"""One world for the whole suite, and its table at the end."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

import pytest

from snapshot_pipeline_tests.faults.ledger import Ledger
from snapshot_pipeline_tests.faults.world import World, new_world
from snapshot_pipeline_tests.running_dagster import wait_for

_LEDGER = Ledger()


@pytest.fixture(scope="session")
def ledger() -> Ledger:
    """Where each test notes what it injected."""
    return _LEDGER


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server, a platform, a running Dagster and a receiver of alerts, which all tests of the suite share."""
    with new_world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture(scope="session")
def undisturbed_seconds(world: World) -> float:
    """How long the process of a run lives when nobody disturbs it; publishes the days for the first time."""
    run_id = world.launch()
    process = wait_for(lambda: world.dagster.process_of(run_id), "the run has a process", 60)
    began = process.create_time()
    assert wait_for(lambda: world.dagster.finished(run_id), "the run has finished", 120) == "SUCCESS"
    return time.time() - began


@pytest.fixture(autouse=True)
def _nothing_else_runs(world: World) -> None:
    """A test that has failed leaves its runs to nobody: they are over before the next one begins."""
    wait_for(world.is_quiet, "all runs are over", 180)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Random moments that differ from run to run; the seed is shown, and can be set, to have the same again."""
    seed = os.environ.get("SNAPSHOT_FAULT_SEED") or f"{random.SystemRandom().getrandbits(32)}"
    print(f"{request.node.name}: SNAPSHOT_FAULT_SEED={seed}")
    return random.Random(f"{seed} {request.node.name}")  # noqa: S311  # moments, not secrets


def pytest_terminal_summary() -> None:
    """Show the table below the results."""
    if list(_LEDGER.faults):
        _LEDGER.show()

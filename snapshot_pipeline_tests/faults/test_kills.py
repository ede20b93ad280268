"""Processes that are killed at random moments: every student's day is old or new, and the run is done all the same."""

from __future__ import annotations

import multiprocessing
import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from multiprocessing.process import BaseProcess

import dagster as dg
import psutil
import pytest

from snapshot_pipeline.settings import Settings
from snapshot_pipeline_tests.faults.ledger import Ledger
from snapshot_pipeline_tests.faults.outcomes import over, settle, strange
from snapshot_pipeline_tests.faults.world import World, publish
from snapshot_pipeline_tests.installation import PROJECT
from snapshot_pipeline_tests.running_dagster import wait_for

pytestmark = pytest.mark.timeout(900)

PUBLISHER_KILLS, KILLS_A_CHANGE = 20, 4
RUN_KILLS, KILLS_A_RUN = 4, 2  # a run that has crashed is tried again twice (dagster.yaml)
COMMAND_KILLS = 1
POWER_CUTS = 2

# Its children begin with everything imported, in a process without threads.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["snapshot_pipeline_tests.faults.world"])


def started_publisher(settings: Settings, first: date, last: date) -> BaseProcess:
    process = _PROCESSES.Process(target=publish, args=(settings, first, last))
    process.start()
    return process


def test_kill_while_publishing_leaves_complete_rows_and_no_lock(
    world: World, ledger: Ledger, rng: random.Random, undisturbed_seconds: float
) -> None:
    fault = ledger.of("SIGKILL of a process that publishes")
    began = time.monotonic()
    started_publisher(world.settings, world.first, world.last).join()
    whole = time.monotonic() - began
    between_batches = 0
    while fault.injected < PUBLISHER_KILLS:
        old = world.figures()
        world.change_the_past(rng)
        new = world.expected()
        assert old != new
        for _ in range(KILLS_A_CHANGE):
            process = started_publisher(world.settings, world.first, world.last)
            process.join(rng.uniform(0, whole))
            process.kill()
            killed = time.monotonic()
            process.join()
            found = world.figures()
            assert strange(found, old, new) == []
            if process.exitcode != 0:  # else it was faster: this one does not count
                fault.struck(time.monotonic() - killed)
                between_batches += found not in (old, new)
        publish(world.settings, world.first, world.last)  # waits for no lock that a dead process might have left
        settle(fault, world, new)
    assert between_batches  # some were struck when a part was new and a part was old
    assert world.figures() == world.expected_by_reference()


def test_killed_run_is_detected_and_retried(
    world: World, ledger: Ledger, rng: random.Random, undisturbed_seconds: float
) -> None:
    fault = ledger.of("SIGKILL of a Dagster run's process")
    while fault.injected < RUN_KILLS:
        old = world.figures()
        world.change_the_past(rng)
        new = world.expected()
        run_id = world.launch()
        for _ in range(KILLS_A_RUN):
            process = wait_for(lambda run_id=run_id: world.dagster.process_of(run_id), "the run has a process", 60)
            age = time.time() - process.create_time()
            time.sleep(max(0.0, rng.uniform(0.3, undisturbed_seconds) - age))
            with suppress(psutil.NoSuchProcess):
                process.kill()
            killed = time.monotonic()
            assert strange(world.figures(), old, new) == []
            if over(world, run_id) == "SUCCESS":
                break  # it was faster: this one does not count
            fault.struck(time.monotonic() - killed)
            run_id = wait_for(lambda run_id=run_id: world.dagster.retry_of(run_id), "the run is tried again", 60)
        assert over(world, run_id) == "SUCCESS"
        settle(fault, world, new)


def test_killed_command_is_detected_and_does_not_block_the_queue(
    world: World, ledger: Ledger, rng: random.Random, undisturbed_seconds: float
) -> None:
    """Its run has no launcher: without a look at its process it would stay STARTED, and later runs would queue up."""
    fault = ledger.of("SIGKILL of `snapshot-pipeline materialize`")
    while fault.injected < COMMAND_KILLS:
        old = world.figures()
        world.change_the_past(rng)
        new = world.expected()
        known = {run.run_id for run in world.dagster.instance.get_runs()}
        command = [sys.executable, "-m", "snapshot_pipeline.cli", "materialize"]
        command += ["--from", str(world.first), "--to", str(world.last)]
        process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        run_id = wait_for(new_run(world, known), "the command has begun a run", 60)
        time.sleep(rng.uniform(0, undisturbed_seconds / 2))
        process.kill()
        killed = time.monotonic()
        process.wait()
        assert strange(world.figures(), old, new) == []
        if over(world, run_id) != "SUCCESS":
            fault.struck(time.monotonic() - killed)
        assert over(world, world.launch()) == "SUCCESS"
        settle(fault, world, new)


def test_run_lost_in_a_power_failure_is_retried_after_restart(
    world: World, ledger: Ledger, rng: random.Random, undisturbed_seconds: float
) -> None:
    fault = ledger.of("power cut: SIGKILL of all of Dagster")
    while fault.injected < POWER_CUTS:
        old = world.figures()
        world.change_the_past(rng)
        new = world.expected()
        run_id = world.launch()
        wait_for(lambda run_id=run_id: world.dagster.process_of(run_id), "the run has a process", 60)
        time.sleep(rng.uniform(0.3, undisturbed_seconds))
        world.dagster.kill_everything()
        cut = time.monotonic()
        struck = world.dagster.finished(run_id) is None
        assert strange(world.figures(), old, new) == []
        world.dagster.start_again()
        if over(world, run_id) != "SUCCESS":
            assert struck
            fault.struck(time.monotonic() - cut)
            run_id = wait_for(lambda run_id=run_id: world.dagster.retry_of(run_id), "the run is tried again", 60)
            assert over(world, run_id) == "SUCCESS"
        settle(fault, world, new)


def new_run(world: World, known: set[str]) -> Callable[[], str | None]:
    """A look for a run that was not there before and has begun."""

    def look() -> str | None:
        begun = world.dagster.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        return next((run.run_id for run in begun if run.run_id not in known), None)

    return look

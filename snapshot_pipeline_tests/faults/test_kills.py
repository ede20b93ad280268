"""Publishing processes and commands killed at random times: every student-day is old or new, and no lock remains."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from datetime import date
from multiprocessing.process import BaseProcess
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import text

from snapshot_pipeline.settings import Settings
from snapshot_pipeline_tests.commands import Command
from snapshot_pipeline_tests.faults.ledger import Ledger, injections
from snapshot_pipeline_tests.faults.outcomes import assert_published, final_status, unexpected_rows
from snapshot_pipeline_tests.faults.publishing import publish
from snapshot_pipeline_tests.faults.system import FaultSystem
from snapshot_pipeline_tests.forking import FORK_SERVER
from snapshot_pipeline_tests.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

PUBLISHER_KILLS, KILLS_A_CHANGE = injections(12, 6), injections(4, 3)
COMMAND_KILLS = 1


def start_publisher(settings: Settings, first: date, last: date) -> BaseProcess:
    process = FORK_SERVER.Process(target=publish, args=(settings, first, last))
    process.start()
    return process


def wait_until_a_batch_is_published(system: FaultSystem, process: BaseProcess) -> None:
    """Return after the first batch that changes a figure: the batches are published last, in a part of a second."""
    changes = text("SELECT count(*) FROM snapshot_restatements")
    with system.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        before = connection.execute(changes).scalar_one()
        while process.is_alive() and connection.execute(changes).scalar_one() == before:
            time.sleep(0.001)


def test_kill_while_publishing_leaves_complete_rows_and_no_lock(
    system: FaultSystem, ledger: Ledger, rng: random.Random, normal_run_seconds: float
) -> None:
    fault = ledger.fault("SIGKILL of a process that publishes")
    process = start_publisher(system.settings, system.first, system.last)
    started = time.monotonic()
    process.join()
    duration = time.monotonic() - started
    between_batches = 0
    while fault.injected < PUBLISHER_KILLS:
        old = system.figures()
        system.change_source_rows(rng)
        new = system.expected()
        assert old != new
        for number in range(KILLS_A_CHANGE):
            started = time.monotonic()
            process = start_publisher(system.settings, system.first, system.last)
            if number == 0:
                wait_until_a_batch_is_published(system, process)
            else:
                process.join(rng.uniform(0, duration))
            process.kill()
            killed = time.monotonic()
            process.join()
            published = system.figures()
            assert unexpected_rows(published, old, new) == []
            if process.exitcode == 0:  # it had finished before the kill, which does not count
                duration = min(duration, killed - started)
            else:
                fault.record(time.monotonic() - killed)
                between_batches += published not in (old, new)
        publish(system.settings, system.first, system.last)  # would wait if a dead process still held its lock
        assert_published(fault, system, new)
    assert between_batches  # some kills left new rows beside old ones
    published, expected = system.figures(), system.expected_by_reference()
    assert published.keys() == expected.keys()
    assert {key: row[: len(expected[key])] for key, row in published.items()} == expected


def test_killed_command_is_detected_and_does_not_block_the_queue(
    system: FaultSystem, ledger: Ledger, rng: random.Random, normal_run_seconds: float
) -> None:
    """Its run has no launcher: unless its process is checked, it stays STARTED and later runs stay queued."""
    fault = ledger.fault("SIGKILL of `snapshot-pipeline materialize`")
    while fault.injected < COMMAND_KILLS:
        old = system.figures()
        system.change_source_rows(rng)
        new = system.expected()
        known = {run.run_id for run in system.dagster.instance.get_runs()}
        days = ["--from", str(system.first), "--to", str(system.last)]
        with Path(os.devnull).open("r+b") as null:
            process = Command(["materialize", *days], os.environ, (null.fileno(),) * 3)
        run_id = wait_for(new_run(system, known), "the command has started a run", 60)
        time.sleep(rng.uniform(0, normal_run_seconds / 2))
        process.kill()
        killed = time.monotonic()
        process.wait(10)
        assert unexpected_rows(system.figures(), old, new) == []
        if final_status(system, run_id) != "SUCCESS":
            fault.record(time.monotonic() - killed)
        assert final_status(system, system.launch()) == "SUCCESS"
        assert_published(fault, system, new)


def new_run(system: FaultSystem, known: set[str]) -> Callable[[], str | None]:
    """Return a function that finds a started run other than the `known` ones."""

    def find() -> str | None:
        started_runs = system.dagster.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        return next((run.run_id for run in started_runs if run.run_id not in known), None)

    return find

"""Processes of runs, and all of Dagster, killed at random times: the run is completed by a retry."""

from __future__ import annotations

import random
import time
from contextlib import suppress

import psutil
import pytest

from snapshot_pipeline_tests.faults.ledger import Ledger, injections
from snapshot_pipeline_tests.faults.outcomes import assert_published, final_status, unexpected_rows
from snapshot_pipeline_tests.faults.system import FaultSystem
from snapshot_pipeline_tests.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

RUN_KILLS, KILLS_A_RUN = injections(4, 2), 2  # a crashed run is retried twice (dagster.yaml)
POWER_FAILURES = injections(2, 1)


def test_killed_run_is_detected_and_retried(
    system: FaultSystem, ledger: Ledger, rng: random.Random, normal_run_seconds: float
) -> None:
    fault = ledger.fault("SIGKILL of a Dagster run's process")
    longest = normal_run_seconds
    while fault.injected < RUN_KILLS:
        old = system.figures()
        system.change_source_rows(rng)
        new = system.expected()
        run_id = system.launch()
        for _ in range(KILLS_A_RUN):
            process = wait_for(lambda run_id=run_id: system.dagster.process_of(run_id), "the run has a process", 60)
            age = time.time() - process.create_time()
            time.sleep(max(0.0, rng.uniform(0.3, longest) - age))
            with suppress(psutil.NoSuchProcess):
                process.kill()
            killed = time.monotonic()
            assert unexpected_rows(system.figures(), old, new) == []
            if final_status(system, run_id) == "SUCCESS":
                longest /= 2  # it had finished before the kill, which does not count
                break
            fault.record(time.monotonic() - killed)
            run_id = wait_for(lambda run_id=run_id: system.dagster.retry_of(run_id), "the run is retried", 60)
        assert final_status(system, run_id) == "SUCCESS"
        assert_published(fault, system, new)


def test_run_lost_in_a_power_failure_is_retried_after_restart(
    system: FaultSystem, ledger: Ledger, rng: random.Random, normal_run_seconds: float
) -> None:
    fault = ledger.fault("power failure: SIGKILL of all of Dagster")
    longest = normal_run_seconds
    while fault.injected < POWER_FAILURES:
        old = system.figures()
        system.change_source_rows(rng)
        new = system.expected()
        run_id = system.launch()
        wait_for(lambda run_id=run_id: system.dagster.process_of(run_id), "the run has a process", 60)
        time.sleep(rng.uniform(0.3, longest))
        system.dagster.kill_everything()
        killed = time.monotonic()
        was_running = system.dagster.finished(run_id) is None
        assert unexpected_rows(system.figures(), old, new) == []
        system.dagster.start_again()
        if final_status(system, run_id) == "SUCCESS":
            longest /= 2  # it had finished before the failure, which does not count
        else:
            assert was_running
            fault.record(time.monotonic() - killed)
            run_id = wait_for(lambda run_id=run_id: system.dagster.retry_of(run_id), "the run is retried", 60)
            assert final_status(system, run_id) == "SUCCESS"
        assert_published(fault, system, new)

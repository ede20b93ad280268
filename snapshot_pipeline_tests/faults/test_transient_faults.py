"""Transient faults of the database: a run recovers from them."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from functools import partial

import psutil
import pytest
from sqlalchemy import Connection, text

from snapshot_pipeline_tests.faults.ledger import Ledger, injections
from snapshot_pipeline_tests.faults.outcomes import assert_published, final_status, unexpected_rows
from snapshot_pipeline_tests.faults.system import FaultSystem
from snapshot_pipeline_tests.waiting import wait_for

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("normal_run_seconds")]

CONNECTION_TERMINATIONS, SERVER_KILLS = injections(5, 2), injections(2, 1)


def test_run_reconnects_after_its_connections_are_terminated(
    system: FaultSystem, ledger: Ledger, rng: random.Random, normal_run_seconds: float
) -> None:
    fault = ledger.fault("connections are terminated")
    while fault.injected < CONNECTION_TERMINATIONS:
        system.change_source_rows(rng)
        new = system.expected()
        run_id = system.launch()
        wait_for(lambda run_id=run_id: system.dagster.process_of(run_id), "the run has a process", 60)
        while system.dagster.finished(run_id) is None and fault.injected < CONNECTION_TERMINATIONS:
            time.sleep(rng.uniform(0, normal_run_seconds / 3))
            terminated_at = time.monotonic()
            if system.terminate_connections():
                fault.record(time.monotonic() - terminated_at)
        assert final_status(system, run_id) == "SUCCESS"
        assert_published(fault, system, new)


def test_run_waits_for_a_database_server_killed_during_it(
    system: FaultSystem, ledger: Ledger, rng: random.Random
) -> None:
    fault = ledger.fault("SIGKILL of the database server")
    while fault.injected < SERVER_KILLS:
        old = system.figures()
        system.change_source_rows(rng)
        new = system.expected()
        run_id = system.launch()
        wait_for(lambda: system.is_publishing(), "the run publishes", 60)
        killed_at = time.monotonic()
        for process in system.server_processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(rng.uniform(0.5, 3))
        system.server.start()
        system.dagster.ensure_running()
        assert unexpected_rows(system.figures(), old, new) == []
        fault.record(time.monotonic() - killed_at)
        # Dagster's own database was on that server too: the run may survive, or die and be retried.
        wait_for(lambda run_id=run_id: system.succeeded_eventually(run_id), "the run or its retry has succeeded", 180)
        assert_published(fault, system, new)


@contextlib.contextmanager
def application_transaction(system: FaultSystem, statement: str) -> Iterator[Connection]:
    """Keep a transaction of the application open after a statement; roll it back at the end."""
    with system.engine.connect() as connection:
        connection.execute(text(statement))
        yield connection
        connection.rollback()


def test_run_yields_to_a_schema_migration_of_the_platform(
    system: FaultSystem, ledger: Ledger, rng: random.Random
) -> None:
    fault = ledger.fault("ALTER TABLE of the application locks a table")
    system.change_source_rows(rng)
    new = system.expected()
    with application_transaction(system, "ALTER TABLE quiz_attempts ADD COLUMN comment text"):
        run_id = system.launch()
        started_at = time.monotonic()
        is_waiting = partial(system.waiting_for, "quiz_attempts")
        wait_for(is_waiting, "the run waits for the table", 60)
        fault.record(time.monotonic() - started_at)
        wait_for(lambda: None if is_waiting() else True, "the run has released its locks", 30)
        assert system.dagster.finished(run_id) is None
    assert final_status(system, run_id) == "SUCCESS"
    assert_published(fault, system, new)


def test_run_survives_a_deadlock_it_loses(system: FaultSystem, ledger: Ledger, rng: random.Random) -> None:
    fault = ledger.fault("deadlock")
    system.change_source_rows(rng)
    new = system.expected()
    lock = "LOCK TABLE snapshot_restatements IN ACCESS EXCLUSIVE MODE"
    with application_transaction(system, lock) as application:
        # So that the run detects the deadlock, and is the session that is cancelled.
        application.execute(text("SET LOCAL deadlock_timeout = '60s'"))
        run_id = system.launch()
        started_at = time.monotonic()
        is_waiting = partial(system.waiting_for, "snapshot_restatements")
        wait_for(is_waiting, "the run waits while publishing", 60, 0.02)
        application.execute(text("UPDATE performance_snapshots SET computed_at = computed_at"))
        fault.record(time.monotonic() - started_at)
    assert final_status(system, run_id) == "SUCCESS"
    assert_published(fault, system, new)

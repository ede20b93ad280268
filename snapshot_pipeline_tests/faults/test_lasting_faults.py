"""Lasting faults of the database: a run fails with one line, and one incident lasts until the fault is fixed."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from functools import partial

import pytest

from snapshot_pipeline_tests.faults.ledger import Ledger
from snapshot_pipeline_tests.faults.outcomes import assert_published, final_status, unexpected_rows
from snapshot_pipeline_tests.faults.system import ROLE, FaultSystem
from snapshot_pipeline_tests.waiting import wait_for

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("normal_run_seconds")]


@dataclass(frozen=True)
class LastingFault:
    """A fault that lasts until it is fixed.

    Attributes:
        name: Name of the fault.
        break_statements: Statements that inject the fault.
        fix_statements: Statements that remove it.
        message: Part of the one-line error that the run must fail with.
        prevents_recording: Whether incidents cannot be recorded meanwhile; then the failed scan is notified first,
            and the incident afterwards.
    """

    name: str
    break_statements: tuple[str, ...]
    fix_statements: tuple[str, ...]
    message: str
    prevents_recording: bool = False


LASTING_FAULTS = (
    LastingFault(
        "a permission is revoked",
        (f'REVOKE SELECT ON quiz_attempts FROM "{ROLE}"',),  # noqa: S608
        (f'GRANT SELECT ON quiz_attempts TO "{ROLE}"',),
        "permission denied for table quiz_attempts",
    ),
    LastingFault(
        "a table is renamed",
        ("ALTER TABLE quiz_attempts RENAME TO quiz_attempts_old",),
        ("ALTER TABLE quiz_attempts_old RENAME TO quiz_attempts",),
        "no table quiz_attempts",
    ),
    LastingFault(
        "a column changes its type",
        ("ALTER TABLE quiz_attempts ALTER score TYPE text USING 'score ' || score",),
        ("ALTER TABLE quiz_attempts ALTER score TYPE double precision USING substr(score, 7)::double precision",),
        "score",
    ),
    LastingFault(
        "the database becomes read-only",
        ("ALTER DATABASE platform SET default_transaction_read_only = on",),
        ("SET default_transaction_read_only = off", "ALTER DATABASE platform RESET default_transaction_read_only"),
        "read-only",
        prevents_recording=True,
    ),
    LastingFault(
        "the disk is full",
        (
            """CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN RAISE SQLSTATE '53100' USING MESSAGE = 'No space left on device'; END $$""",
            "CREATE TRIGGER full_disk BEFORE INSERT ON performance_snapshots EXECUTE FUNCTION full_disk()",
        ),
        ("DROP TRIGGER full_disk ON performance_snapshots", "DROP FUNCTION full_disk"),
        "disk is full",
    ),
    LastingFault(
        "a statement takes too long",
        (
            "ALTER TABLE quiz_attempts RENAME TO quiz_attempts_fast",
            "CREATE VIEW quiz_attempts AS SELECT a.* FROM quiz_attempts_fast a, (SELECT pg_sleep(60)) AS slow",
            f'GRANT SELECT ON quiz_attempts TO "{ROLE}"',
        ),
        ("DROP VIEW quiz_attempts", "ALTER TABLE quiz_attempts_fast RENAME TO quiz_attempts"),
        "SNAPSHOT_STATEMENT_TIMEOUT_SECONDS",
    ),
)


@pytest.mark.parametrize("lasting_fault", LASTING_FAULTS, ids=lambda lasting_fault: lasting_fault.name)
def test_lasting_fault_fails_the_run_and_sends_one_alert_and_one_recovery(
    system: FaultSystem, ledger: Ledger, rng: random.Random, lasting_fault: LastingFault
) -> None:
    fault = ledger.fault(lasting_fault.name)
    old = system.figures()
    system.change_source_rows(rng)
    new = system.expected()
    system.execute(*lasting_fault.break_statements)
    try:
        injected_at = time.monotonic()
        run_id = system.launch()
        assert final_status(system, run_id) == "FAILURE"
        fault.record(time.monotonic() - injected_at)
        assert lasting_fault.message in system.error_message(run_id)
        assert unexpected_rows(system.figures(), old, new) == []
        notification = (
            system.is_notified_of_failed_scan
            if lasting_fault.prevents_recording
            else partial(system.notified_incident, run_id)
        )
        wait_for(notification, "a notification has arrived", 60)
    finally:
        system.execute(*lasting_fault.fix_statements)
    incident = wait_for(lambda: system.notified_incident(run_id), "the incident is notified", 60)
    assert final_status(system, system.launch()) == "SUCCESS"
    assert_published(fault, system, new)
    wait_for(lambda: system.is_resolved(incident) or None, "the resolution is notified", 60)
    fault.notifications = len(system.messages_about(incident))
    assert fault.notifications == 2

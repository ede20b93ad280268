"""What a database does to a run: what passes is got over, what does not is one clear failure and one incident."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import psutil
import pytest
from sqlalchemy import Connection, text

from snapshot_pipeline_tests.faults.ledger import Ledger
from snapshot_pipeline_tests.faults.outcomes import over, settle, strange
from snapshot_pipeline_tests.faults.world import ROLE, World
from snapshot_pipeline_tests.running_dagster import wait_for

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("undisturbed_seconds")]

CONNECTION_CUTS, SERVER_KILLS = 5, 2


@dataclass(frozen=True)
class Breakage:
    """Something that stays broken until somebody mends it.

    Attributes:
        name: What it is.
        breaks: The statements that break it.
        mends: The statements that mend it.
        said: A part of the one line that the run must fail with.
        blinds: Whether incidents cannot be recorded meanwhile; then that is told first, and the incident afterwards.
    """

    name: str
    breaks: tuple[str, ...]
    mends: tuple[str, ...]
    said: str
    blinds: bool = False


BREAKAGES = (
    Breakage(
        "a right is revoked",
        (f'REVOKE SELECT ON quiz_attempts FROM "{ROLE}"',),  # noqa: S608
        (f'GRANT SELECT ON quiz_attempts TO "{ROLE}"',),
        "permission denied for table quiz_attempts",
    ),
    Breakage(
        "a table is renamed",
        ("ALTER TABLE quiz_attempts RENAME TO quiz_attempts_old",),
        ("ALTER TABLE quiz_attempts_old RENAME TO quiz_attempts",),
        "no table quiz_attempts",
    ),
    Breakage(
        "a column changes its type",
        ("ALTER TABLE quiz_attempts ALTER score TYPE text USING 'score ' || score",),
        ("ALTER TABLE quiz_attempts ALTER score TYPE double precision USING substr(score, 7)::double precision",),
        "score",
    ),
    Breakage(
        "the database becomes read-only",
        ("ALTER DATABASE platform SET default_transaction_read_only = on",),
        ("SET default_transaction_read_only = off", "ALTER DATABASE platform RESET default_transaction_read_only"),
        "read-only",
        blinds=True,
    ),
    Breakage(
        "the disk is full",
        (
            """CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN RAISE SQLSTATE '53100' USING MESSAGE = 'No space left on device'; END $$""",
            "CREATE TRIGGER full_disk BEFORE INSERT ON performance_snapshots EXECUTE FUNCTION full_disk()",
        ),
        ("DROP TRIGGER full_disk ON performance_snapshots", "DROP FUNCTION full_disk"),
        "disk is full",
    ),
    Breakage(
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


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.name)
def test_lasting_fault_fails_the_run_and_sends_one_alert_and_one_recovery(
    world: World, ledger: Ledger, rng: random.Random, breakage: Breakage
) -> None:
    fault = ledger.of(breakage.name)
    old = world.figures()
    world.change_the_past(rng)
    new = world.expected()
    world.execute(*breakage.breaks)
    try:
        broken = time.monotonic()
        run_id = world.launch()
        assert over(world, run_id) == "FAILURE"
        fault.struck(time.monotonic() - broken)
        assert breakage.said in world.reason(run_id)
        assert strange(world.figures(), old, new) == []
        look = world.is_told_of_blindness if breakage.blinds else partial(world.incident_of, run_id)
        wait_for(look, "somebody is told", 60)
    finally:
        world.execute(*breakage.mends)
    incident = wait_for(lambda: world.incident_of(run_id), "the incident is told", 60)
    assert over(world, world.launch()) == "SUCCESS"
    settle(fault, world, new)
    wait_for(lambda: world.is_cleared(incident) or None, "the all-clear is sent", 60)
    fault.told = len(world.messages_about(incident))
    assert fault.told == 2


def test_run_reconnects_after_its_connections_are_terminated(
    world: World, ledger: Ledger, rng: random.Random, undisturbed_seconds: float
) -> None:
    fault = ledger.of("connections are cut")
    while fault.injected < CONNECTION_CUTS:
        world.change_the_past(rng)
        new = world.expected()
        run_id = world.launch()
        wait_for(lambda run_id=run_id: world.dagster.process_of(run_id), "the run has a process", 60)
        while world.dagster.finished(run_id) is None and fault.injected < CONNECTION_CUTS:
            time.sleep(rng.uniform(0, undisturbed_seconds / 3))
            cut = time.monotonic()
            if world.cut_connections():
                fault.struck(time.monotonic() - cut)
        assert over(world, run_id) == "SUCCESS"
        settle(fault, world, new)


def test_run_waits_for_a_database_server_killed_during_it(world: World, ledger: Ledger, rng: random.Random) -> None:
    fault = ledger.of("SIGKILL of the database server")
    while fault.injected < SERVER_KILLS:
        old = world.figures()
        world.change_the_past(rng)
        new = world.expected()
        run_id = world.launch()
        wait_for(lambda: world.is_publishing(), "the run publishes", 60)
        killed = time.monotonic()
        for process in world.server_processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(rng.uniform(0.5, 3))
        world.server.start()
        world.dagster.be_up()
        assert strange(world.figures(), old, new) == []
        fault.struck(time.monotonic() - killed)
        # The records of Dagster were on that server too: its worker may get over it, or die and be tried again.
        wait_for(lambda run_id=run_id: world.succeeded_at_last(run_id), "the run or its retry has succeeded", 180)
        settle(fault, world, new)


@contextlib.contextmanager
def held_by_the_application(world: World, statement: str) -> Iterator[Connection]:
    """The application is in the middle of a transaction."""
    with world.engine.connect() as connection:
        connection.execute(text(statement))
        yield connection
        connection.rollback()


def test_run_yields_to_a_schema_migration_of_the_platform(world: World, ledger: Ledger, rng: random.Random) -> None:
    fault = ledger.of("ALTER TABLE of the application holds a table")
    world.change_the_past(rng)
    new = world.expected()
    with held_by_the_application(world, "ALTER TABLE quiz_attempts ADD COLUMN comment text"):
        run_id = world.launch()
        began = time.monotonic()
        waits = partial(world.waiting_for, "quiz_attempts")
        wait_for(waits, "the run waits for the table", 60)
        fault.struck(time.monotonic() - began)
        wait_for(lambda: None if waits() else True, "the run has given way", 30)
        assert world.dagster.finished(run_id) is None
    assert over(world, run_id) == "SUCCESS"
    settle(fault, world, new)


def test_run_survives_a_deadlock_it_loses(world: World, ledger: Ledger, rng: random.Random) -> None:
    fault = ledger.of("deadlock")
    world.change_the_past(rng)
    new = world.expected()
    lock = "LOCK TABLE snapshot_restatements IN ACCESS EXCLUSIVE MODE"
    with held_by_the_application(world, lock) as application:
        application.execute(text("SET LOCAL deadlock_timeout = '60s'"))  # the run finds it, and so it is the victim
        run_id = world.launch()
        began = time.monotonic()
        waits = partial(world.waiting_for, "snapshot_restatements")
        wait_for(waits, "the run waits in its publication", 60, 0.02)
        application.execute(text("UPDATE performance_snapshots SET computed_at = computed_at"))
        fault.struck(time.monotonic() - began)
    assert over(world, run_id) == "SUCCESS"
    settle(fault, world, new)

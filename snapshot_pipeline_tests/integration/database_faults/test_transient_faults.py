"""Transient faults: the run recovers, and publishes the same rows as a run without faults."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import URL, text

from snapshot_pipeline.embedded import EmbeddedServer
from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.pipeline.batches import Progress
from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.store.locks import LeaseLostError, LockedError, exclusive_days
from snapshot_pipeline_tests.integration.database_faults.faults import (
    after_first_batch,
    lock_holder,
    run,
    running,
    session,
    slowed,
    terminate_session,
    wait_for,
    waits_for_table,
)
from snapshot_pipeline_tests.integration.embedded.servers import postmaster
from snapshot_pipeline_tests.pipeline.installations import (
    MONDAY,
    SUNDAY,
    Tables,
    differences,
    execute,
    installation_on,
    published,
    recommended,
)


def assert_faultless(url: URL, faultless: Tables) -> None:
    with installation_on(url) as installation:
        assert differences(published(installation), faultless) == []


@pytest.mark.parametrize(
    "table", ["users", "quiz_attempts", "performance_snapshots", "snapshot_failures", "snapshot_days"]
)
def test_run_recovers_from_a_session_terminated_at_any_step(
    table: str, sample_url: URL, faultless: Tables, caplog: pytest.LogCaptureFixture
):
    with session(sample_url) as other:
        other.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        with running(sample_url) as future:
            assert terminate_session(sample_url, waits_for_table(sample_url, table))
            other.rollback()
        assert future.result().reports
    assert "57P01" in caplog.text or "SQLSTATE unknown" in caplog.text
    assert_faultless(sample_url, faultless)


def test_week_recovers_from_a_terminated_session(sample_url: URL, caplog: pytest.LogCaptureFixture):
    table = "adaptive_recommendations"
    with installation_on(sample_url) as installation:
        run_days(installation, SUNDAY, SUNDAY, "days")
        run_week(installation, MONDAY, "faultless")
        before = recommended(installation)
        caplog.clear()
        with session(sample_url) as other:
            other.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
            with ThreadPoolExecutor(1) as pool:
                future = pool.submit(run_week, installation, MONDAY, "under fault")
                assert terminate_session(sample_url, waits_for_table(sample_url, table))
                other.rollback()
            assert future.result().recipients
        assert "attempt 2 of" in caplog.text
        assert differences(recommended(installation), before) == []


def test_run_recovers_from_a_server_crash(
    own_server: EmbeddedServer, faultless: Tables, caplog: pytest.LogCaptureFixture
):
    url = own_server.url("platform")

    def crash() -> None:
        process = postmaster(own_server)
        process.send_signal(signal.SIGQUIT)  # PostgreSQL's immediate shutdown, without a checkpoint
        process.wait(10)
        time.sleep(0.7)  # so that a connection is refused at least once
        own_server.start()

    run(url, after_first_batch(crash))
    assert "attempt 2 of" in caplog.text
    assert_faultless(url, faultless)


def test_lost_lock_is_acquired_again(sample_url: URL, faultless: Tables):
    holders: list[int] = []

    def lose_lock() -> None:
        holders.append(lock_holder(sample_url))
        assert terminate_session(sample_url, holders[0])

    def progress(reported: Progress) -> None:
        after_first_batch(lose_lock)(reported)
        if reported.done == reported.total:
            holders.append(lock_holder(sample_url))

    run(sample_url, progress)
    assert holders[0] != holders[1]
    assert_faultless(sample_url, faultless)


def test_lock_taken_by_another_run_fails_the_run_and_names_the_holder(sample_url: URL, faultless: Tables):
    with installation_on(sample_url) as other:
        other_lock = exclusive_days(other.engine, "public", SUNDAY, SUNDAY, "another run", 5)

        def lose_lock() -> None:
            with session(sample_url) as busy:
                # Our run cannot acquire the lock again before the other run has it.
                busy.execute(text("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
                assert terminate_session(sample_url, lock_holder(sample_url))
                other_lock.__enter__()

        with pytest.raises((LockedError, LeaseLostError), match="another run"):
            run(sample_url, after_first_batch(lose_lock), run_lock_seconds=0.5)
        other_lock.__exit__(None, None, None)
    run(sample_url)
    assert_faultless(sample_url, faultless)


def test_run_recovers_from_a_deadlock(sample_url: URL, faultless: Tables, caplog: pytest.LogCaptureFixture):
    with session(sample_url) as other:
        other.execute(text("SET deadlock_timeout = '60s'"))  # so that our session is the one that is cancelled
        other.execute(text("LOCK TABLE snapshot_failures IN ACCESS EXCLUSIVE MODE"))
        with running(sample_url) as future:
            waits_for_table(sample_url, "snapshot_failures")
            other.execute(text("LOCK TABLE performance_snapshots IN ACCESS EXCLUSIVE MODE"))
            other.rollback()
        assert future.result().reports
    assert "40P01" in caplog.text
    assert_faultless(sample_url, faultless)


def test_run_recovers_from_a_serialization_failure(
    sample_url: URL, faultless: Tables, caplog: pytest.LogCaptureFixture
):
    run(sample_url)
    execute(
        sample_url,
        f"ALTER DATABASE {sample_url.database} SET default_transaction_isolation = 'repeatable read'",
        # So that the run must replace the rows instead of only reading them.
        "UPDATE performance_snapshots SET pace_score = 0",
    )
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'transactionid'"
    )
    with session(sample_url) as other, session(sample_url) as monitor:
        other.execute(text("UPDATE performance_snapshots SET pace_score = pace_score"))
        with running(sample_url) as future:
            wait_for(lambda: monitor.execute(waiting).scalar() or monitor.rollback(), "our run waiting for the row")
            other.commit()
        assert future.result().reports
    assert "40001" in caplog.text
    assert_faultless(sample_url, faultless)


def test_run_yields_to_an_alter_table_and_then_continues(
    sample_url: URL, faultless: Tables, caplog: pytest.LogCaptureFixture
):
    with session(sample_url) as application:
        application.execute(text("ALTER TABLE quiz_attempts ADD COLUMN duration int"))
        with running(sample_url, lock_timeout_seconds=0.3) as future:
            waits_for_table(sample_url, "quiz_attempts")
            wait_for(lambda: "55P03" in caplog.text, "our run has released its locks")
            application.commit()
        assert future.result().reports
    assert_faultless(sample_url, faultless)


def test_alter_table_during_a_read_waits_at_most_one_statement_timeout(sample_url: URL):
    """Each read is within the time limit; all reads together are not."""
    execute(sample_url, *slowed("quiz_attempts", 0.9), *slowed("exercise_submissions", 0.9))
    sleeping = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    )
    with (
        session(sample_url) as application,
        session(sample_url) as monitor,
        running(sample_url, statement_timeout_seconds=1.5) as future,
    ):
        wait_for(lambda: monitor.execute(sleeping).scalar() or monitor.rollback(), "a read is in progress")
        started_at = time.monotonic()
        application.execute(text("ALTER TABLE users ADD COLUMN nickname text"))
        waited = time.monotonic() - started_at
        application.commit()
        with pytest.raises(SnapshotPipelineError, match="SNAPSHOT_STATEMENT_TIMEOUT_SECONDS"):
            future.result(30)
    assert 0.2 < waited < 6  # not for as long as all reads together
    with session(sample_url) as connection:
        assert connection.execute(text("SELECT count(*) FROM snapshot_days")).scalar_one() == 0


@pytest.mark.parametrize("workers", [1, 3])
def test_run_opens_at_most_three_connections_more_than_workers(workers: int, sample_url: URL):
    ours_only = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name LIKE 'snapshot_pipeline%'"
    )
    counts: list[int] = []
    with session(sample_url) as monitor, running(sample_url, workers=workers, batch_rows=250) as future:
        monitor.execute(text("SET application_name = 'monitor'"))
        monitor.commit()
        while not future.done():
            counts.append(monitor.execute(ours_only).scalar_one())
            monitor.rollback()
            time.sleep(0.002)
    assert future.result().reports
    # A session that is being closed is still counted for a moment, on a busy machine for some samples.
    samples = 20
    lasting = max(min(counts[first : first + samples]) for first in range(max(1, len(counts) - samples)))
    assert 2 <= lasting <= workers + 3

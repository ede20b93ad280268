"""A run that lost its lock publishes nothing more, even from a process or machine that does not know it.

A worker on another machine holds no lock, and continues when the process that sent it the work has ended.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from datetime import date
from typing import Any

import psutil
import pytest
from sqlalchemy import text

from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.postgres.urls import adbc_uri
from snapshot_pipeline.store import locks
from snapshot_pipeline.store.locks import (
    LeaseLostError,
    LockedError,
    RunLease,
    exclusive_days,
    exclusive_recommendations,
)
from snapshot_pipeline_tests.commands import PipedCommand
from snapshot_pipeline_tests.pipeline.other_process import begin, expect, other_process
from snapshot_pipeline_tests.store.conftest import Store
from snapshot_pipeline_tests.waiting import wait_for

JANUARY, FEBRUARY = (date(2026, month, 15) for month in (1, 2))
WAIT = 5


@pytest.fixture
def lease(store: Store) -> Iterator[RunLease]:
    """The lease of a run that has locked January and February, as a worker receives it."""
    with exclusive_days(store.engine, "public", JANUARY, FEBRUARY, "run one", WAIT) as lock:
        yield pickle.loads(pickle.dumps(lock.lease))  # noqa: S301


def publish(store: Store, lease: RunLease) -> None:
    with bulk.transaction(adbc_uri(store.engine.url)) as connection:
        lease.check(connection)


def lose_session(store: Store) -> None:
    """Terminate the session that holds the advisory locks, as if its process were killed."""
    query = text(
        "SELECT pg_terminate_backend(pid, 5000) FROM (SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'advisory' "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS holders"
    )
    with store.engine.connect() as connection:
        assert connection.execute(query).scalars().all() == [True]


def test_a_run_with_a_lease_publishes(store: Store, lease: RunLease):
    publish(store, lease)
    with store.engine.begin() as connection:
        lease.check(connection)


def test_a_finished_run_does_not_publish(store: Store):
    with exclusive_days(store.engine, "public", JANUARY, FEBRUARY, "run one", WAIT) as lock:
        publish(store, lock.lease)
    with pytest.raises(LeaseLostError, match="run one may no longer write the days 2026-01-15 to 2026-02-15"):
        publish(store, lock.lease)


def test_a_killed_run_publishes_nothing_after_another_run_started(store: Store, lease: RunLease):
    lose_session(store)
    publish(store, lease)  # harmless, as long as no other run has started
    with (
        exclusive_days(store.engine, "public", FEBRUARY, FEBRUARY, "run two", WAIT),
        pytest.raises(LeaseLostError, match=r"run one may no longer write .*: run two took over at \d{4}-"),
    ):
        publish(store, lease)
    with pytest.raises(LeaseLostError, match="another run has started and finished"):
        publish(store, lease)


def test_runs_on_other_months_or_recommendations_keep_the_lease(store: Store, lease: RunLease):
    with (
        exclusive_days(store.engine, "public", date(2026, 3, 1), date(2026, 4, 1), "run two", WAIT),
        exclusive_recommendations(store.engine, "public", "run three", WAIT) as recommendations,
    ):
        publish(store, lease)
        publish(store, recommendations.lease)


def test_the_next_run_waits_for_a_publication_in_progress(store: Store, lease: RunLease):
    """No other run can start between the check of the lease and the commit."""

    def second_run() -> None:
        with exclusive_days(store.engine, "public", JANUARY, JANUARY, "run two", WAIT):
            pass

    with ThreadPoolExecutor(1) as pool:
        with bulk.transaction(adbc_uri(store.engine.url)) as connection:
            lease.check(connection)
            lose_session(store)
            second = pool.submit(second_run)
            with pytest.raises(TimeoutError):
                second.result(0.5)
        second.result(WAIT)
    with pytest.raises(LeaseLostError):
        publish(store, lease)


def test_waiting_too_long_for_a_publication_is_a_clear_error(store: Store, lease: RunLease):
    with bulk.transaction(adbc_uri(store.engine.url)) as connection:
        lease.check(connection)
        lose_session(store)
        with (
            pytest.raises(LockedError, match=r"its session is still publishing the days .* waited 0.2 s"),
            exclusive_days(store.engine, "public", JANUARY, JANUARY, "run two", 0.2),
        ):
            pytest.fail("two runs publish")


def test_a_lost_session_is_restored_unless_another_run_has_been_there(store: Store):
    with exclusive_days(store.engine, "public", JANUARY, JANUARY, "run one", WAIT) as lock:
        lose_session(store)
        lock.check_lock()
        publish(store, lock.lease)
        lose_session(store)
        lock.send_heartbeat()
        lock.check_lock()
        publish(store, lock.lease)
        lose_session(store)
        with exclusive_days(store.engine, "public", JANUARY, JANUARY, "run two", WAIT):
            pass
        with pytest.raises(LeaseLostError, match="another run has started and finished while its connection was lost"):
            lock.check_lock()


def holder(store: Store) -> dict[str, Any] | None:
    """Return the session that holds the advisory locks; None if there is none."""
    query = text(
        "SELECT pid, extract(epoch FROM query_start - backend_start) AS age FROM pg_stat_activity WHERE pid IN (SELECT "
        "pid FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE "
        "datname = current_database()))"
    )
    with store.engine.connect() as connection:
        row = connection.execute(query).mappings().one_or_none()
        return dict(row) if row else None


def freeze(process: PipedCommand) -> None:
    os.kill(process.pid, signal.SIGSTOP)
    wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, "the process is frozen", WAIT)


def test_without_heartbeats_a_lease_ends_and_with_them_it_does_not(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(locks, "LEASE_SECONDS", 0.5)
    with exclusive_days(store.engine, "public", JANUARY, JANUARY, "run one", WAIT) as lock:  # the first beat is in 5 s
        assert holder(store)
        wait_for(lambda: holder(store) is None or None, "the lease has ended", WAIT)
        lock.check_lock()  # no other run has been there
        publish(store, lock.lease)
    monkeypatch.setattr(locks, "LEASE_SECONDS", 1.5)
    monkeypatch.setattr(locks, "HEARTBEAT_SECONDS", 0.1)
    with exclusive_days(store.engine, "public", JANUARY, JANUARY, "run one", WAIT):
        first = holder(store)
        assert first
        outlived = lambda: now if (now := holder(store)) and now["age"] > 3.1 else None  # noqa: E731
        beaten = wait_for(outlived, "the lease is twice as old as it may get without heartbeats", 2 * WAIT)
        assert beaten["pid"] == first["pid"]


def test_a_frozen_process_does_not_keep_its_days_locked(store: Store):
    with other_process("publish", store.engine.url, JANUARY, FEBRUARY, 0.5) as frozen:
        begin(frozen)
        expect(frozen, "held")
        freeze(frozen)
        with exclusive_days(store.engine, "public", JANUARY, JANUARY, "run two", WAIT) as lock:
            publish(store, lock.lease)
            os.kill(frozen.pid, signal.SIGCONT)
            begin(frozen)
            expect(frozen, "lost")
        expect(frozen, "done")


def test_a_process_frozen_within_a_publication_keeps_no_days_locked(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(locks, "LEASE_SECONDS", 0.5)
    with other_process("stay in publication", store.engine.url, JANUARY, FEBRUARY, 0.5) as frozen:
        begin(frozen)
        expect(frozen, "publishing")
        freeze(frozen)
        with exclusive_days(store.engine, "public", JANUARY, JANUARY, "run two", 2) as lock:
            publish(store, lock.lease)
            os.kill(frozen.pid, signal.SIGCONT)
            begin(frozen)
            expect(frozen, "ended")
        expect(frozen, "done")


def test_a_frozen_process_publishes_nothing_after_another_run_took_over(store: Store):
    """A virtual machine is paused, or a laptop sleeps: the process resumes without noticing anything."""
    with other_process("publish", store.engine.url, JANUARY, FEBRUARY) as frozen:
        begin(frozen)
        expect(frozen, "held")
        freeze(frozen)
        lose_session(store)
        with exclusive_days(store.engine, "public", JANUARY, JANUARY, "run two", WAIT):
            os.kill(frozen.pid, signal.SIGCONT)
            begin(frozen)
            expect(frozen, "lost")
        expect(frozen, "done")

"""What belongs to a run that was given up for dead is not published any more: not even by a machine that knows nothing.

A worker elsewhere holds no lock; it goes on when the process that gave it its work is gone.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from datetime import date

import pytest
from sqlalchemy import text

from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.postgres.urls import adbc_uri
from snapshot_pipeline.store.leases import LeaseLostError, RunLease
from snapshot_pipeline.store.locks import LockedError, exclusive_days, exclusive_recommendations
from snapshot_pipeline_tests.store.conftest import Store

JANUARY, FEBRUARY = (date(2026, month, 15) for month in (1, 2))
WAIT = 5


@pytest.fixture
def lease(store: Store) -> Iterator[RunLease]:
    """Of a run that holds January and February, as it travels to another machine."""
    with exclusive_days(store.engine, "public", JANUARY, FEBRUARY, "run one", WAIT) as lock:
        yield pickle.loads(pickle.dumps(lock.lease))  # noqa: S301


def passes(store: Store, lease: RunLease) -> None:
    with bulk.transaction(adbc_uri(store.engine.url)) as connection:
        lease.check(connection)


def lose_session(store: Store) -> None:
    """End the session that holds the advisory locks, as when the process that holds them is killed."""
    query = text(
        "SELECT pg_terminate_backend(pid, 5000) FROM (SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'advisory' "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS holders"
    )
    with store.engine.connect() as connection:
        assert connection.execute(query).scalars().all() == [True]


def test_a_run_that_holds_its_days_publishes(store: Store, lease: RunLease):
    passes(store, lease)
    with store.engine.begin() as connection:
        lease.check(connection)


def test_a_run_that_has_ended_does_not(store: Store):
    with exclusive_days(store.engine, "public", JANUARY, FEBRUARY, "run one", WAIT) as lock:
        passes(store, lock.lease)
    with pytest.raises(LeaseLostError, match="run one does not hold the days 2026-01-15 to 2026-02-15 any more"):
        passes(store, lock.lease)


def test_a_killed_run_publishes_no_more_once_another_run_has_begun_on_one_of_its_months(store: Store, lease: RunLease):
    lose_session(store)
    passes(store, lease)  # nobody else is there, so it does no harm
    with (
        exclusive_days(store.engine, "public", FEBRUARY, FEBRUARY, "run two", WAIT),
        pytest.raises(LeaseLostError, match=r"run one does not hold .*: run two has taken over at \d{4}-"),
    ):
        passes(store, lease)
    with pytest.raises(LeaseLostError, match="another run has come and gone"):
        passes(store, lease)


def test_a_run_on_other_months_or_on_the_recommendations_shuts_nobody_out(store: Store, lease: RunLease):
    with (
        exclusive_days(store.engine, "public", date(2026, 3, 1), date(2026, 4, 1), "run two", WAIT),
        exclusive_recommendations(store.engine, "public", "run three", WAIT) as recommendations,
    ):
        passes(store, lease)
        passes(store, recommendations.lease)


def test_the_next_run_waits_for_a_publication_that_has_begun_and_then_nothing_comes_after_it(
    store: Store, lease: RunLease
):
    """There is no moment between the look at the fence and the commit in which another run could begin."""

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
        passes(store, lease)


def test_a_run_that_has_waited_long_enough_for_such_a_publication_says_so(store: Store, lease: RunLease):
    with bulk.transaction(adbc_uri(store.engine.url)) as connection:
        lease.check(connection)
        lose_session(store)
        with (
            pytest.raises(LockedError, match=r"what an earlier run began to publish is still going on, waited 0.2 s"),
            exclusive_days(store.engine, "public", JANUARY, JANUARY, "run two", 0.2),
        ):
            pytest.fail("two runs publish")


def test_a_run_whose_session_was_lost_goes_on_unless_another_one_has_been_there(store: Store):
    with exclusive_days(store.engine, "public", JANUARY, JANUARY, "run one", WAIT) as lock:
        lose_session(store)
        lock.check_lock()
        passes(store, lock.lease)
        lose_session(store)
        with exclusive_days(store.engine, "public", JANUARY, JANUARY, "run two", WAIT):
            pass
        with pytest.raises(LeaseLostError, match="another run has come and gone while its connection was lost"):
            lock.check_lock()

"""Two runs never write the same rows at the same time, wherever they were started."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.store.locks import LockedError, exclusive_days, exclusive_recommendations
from snapshot_pipeline.store.migrate import migrate
from snapshot_pipeline_tests.store.conftest import Store

JANUARY, FEBRUARY, MARCH = (date(2026, month, 15) for month in (1, 2, 3))
WAIT = 0.2


def test_a_day_is_locked_during_the_run_and_free_afterwards(store: Store):
    with exclusive_days(store.engine, "public", JANUARY, JANUARY, "run one", WAIT):
        with (
            pytest.raises(LockedError, match=r"the days 2026-01-15 to 2026-02-15 .*run one"),
            exclusive_days(store.engine, "public", JANUARY, FEBRUARY, "run two", WAIT),
        ):
            pytest.fail("two runs hold January")
        with exclusive_days(store.engine, "public", FEBRUARY, FEBRUARY, "run two", WAIT):
            pass
    with exclusive_days(store.engine, "public", JANUARY, JANUARY, "run three", WAIT):
        pass


def test_a_run_over_new_year_locks_its_days_of_both_years(store: Store):
    first, last = date(2025, 12, 31), date(2026, 1, 1)
    with exclusive_days(store.engine, "public", first, last, "run one", WAIT):
        for days in ((first, first), (last, JANUARY), (date(2025, 12, 1), first), (last, date(2026, 1, 31))):
            with pytest.raises(LockedError), exclusive_days(store.engine, "public", *days, "run two", WAIT):
                pytest.fail(f"two runs hold {days}")
        with exclusive_days(store.engine, "public", FEBRUARY, MARCH, "run two", WAIT):
            pass


def test_backfill_runs_that_meet_within_a_month_work_in_parallel(store: Store):
    """Dagster splits a backfill after a number of days, not at month ends.

    If each run locked whole months, two adjacent runs could not work in parallel.
    """
    cuts = [date(2026, 1, 20), date(2026, 2, 20), date(2026, 3, 23)]
    with (
        exclusive_days(store.engine, "public", cuts[0], cuts[1] - timedelta(days=1), "run one", WAIT),
        exclusive_days(store.engine, "public", cuts[1], cuts[2] - timedelta(days=1), "run two", WAIT),
        exclusive_days(store.engine, "public", cuts[2], date(2026, 4, 30), "run three", WAIT),
    ):
        pass


@pytest.mark.parametrize("days", [(date(2026, 2, 1), date(2026, 2, 28)), (date(2026, 1, 20), date(2026, 3, 10))])
def test_a_whole_month_and_one_of_its_days_exclude_each_other(store: Store, days: tuple[date, date]):
    with (
        exclusive_days(store.engine, "public", FEBRUARY, FEBRUARY, "run one", WAIT),
        pytest.raises(LockedError, match="run one"),
        exclusive_days(store.engine, "public", *days, "run two", WAIT),
    ):
        pytest.fail("two runs hold a day of February")
    with (
        exclusive_days(store.engine, "public", *days, "run one", WAIT),
        pytest.raises(LockedError, match="run one"),
        exclusive_days(store.engine, "public", FEBRUARY, FEBRUARY, "run two", WAIT),
    ):
        pytest.fail("two runs hold a day of February")


@given(
    st.tuples(st.integers(0, 120), st.integers(0, 120)).map(sorted),
    st.tuples(st.integers(0, 120), st.integers(0, 120)).map(sorted),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_two_runs_exclude_each_other_exactly_if_they_share_a_day(
    store: Store, first_range: list[int], second_range: list[int]
):
    origin = date(2025, 11, 15)
    (a, b), (c, d) = ([origin + timedelta(days=number) for number in days] for days in (first_range, second_range))
    share_a_day = a <= d and c <= b
    with exclusive_days(store.engine, "public", a, b, "run one", WAIT):
        try:
            with exclusive_days(store.engine, "public", c, d, "run two", 0.01):
                assert not share_a_day
        except LockedError:
            assert share_a_day


def test_snapshots_recommendations_and_schemas_are_independent(store: Store):
    migrate(store.engine, "other")
    with (
        exclusive_days(store.engine, "public", JANUARY, JANUARY, "one", WAIT),
        exclusive_recommendations(store.engine, "public", "two", WAIT),
        exclusive_days(store.engine, "other", JANUARY, JANUARY, "three", WAIT),
        exclusive_recommendations(store.engine, "other", "four", WAIT),
        pytest.raises(LockedError, match="another run is writing the recommendations"),
        exclusive_recommendations(store.engine, "public", "five", WAIT),
    ):
        pytest.fail("two runs hold the recommendations")


def test_an_error_in_a_run_releases_its_lock(store: Store):
    with pytest.raises(ZeroDivisionError), exclusive_days(store.engine, "public", JANUARY, JANUARY, "one", WAIT):
        raise ZeroDivisionError
    with exclusive_days(store.engine, "public", JANUARY, JANUARY, "two", WAIT):
        pass


def test_a_role_with_few_permissions_also_sees_the_holder(store: Store):
    with store.engine.begin() as connection:
        connection.execute(text("CREATE ROLE waiting_role LOGIN PASSWORD 'waiting'"))
    try:
        url = store.engine.url.set(username="waiting_role", password="waiting")  # noqa: S106
        waiting = create_engine(url, poolclass=NullPool)
        with (
            exclusive_days(store.engine, "public", JANUARY, JANUARY, "run one", WAIT),
            pytest.raises(LockedError, match="run one"),
            exclusive_days(waiting, "public", JANUARY, JANUARY, "run two", WAIT),
        ):
            pytest.fail("two runs hold January")
    finally:
        with store.engine.begin() as connection:
            connection.execute(text("DROP ROLE waiting_role"))

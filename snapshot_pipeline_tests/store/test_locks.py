"""Two runs that write the same rows are kept apart, wherever they were started."""

from __future__ import annotations

from datetime import date

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.store.locks import LockedError, exclusive_days, exclusive_recommendations
from snapshot_pipeline.store.migrate import migrate
from snapshot_pipeline_tests.store.conftest import Store

JANUARY, FEBRUARY, MARCH = (date(2026, month, 15) for month in (1, 2, 3))
WAIT = 0.2


def test_the_same_month_is_held_and_free_again_afterwards(store: Store):
    with exclusive_days(store.engine, "public", JANUARY, JANUARY, "run one", WAIT):
        with (
            pytest.raises(LockedError, match=r"the days 2026-01-15 to 2026-02-15 .* run one"),
            exclusive_days(store.engine, "public", JANUARY, FEBRUARY, "run two", WAIT),
        ):
            pytest.fail("two runs hold January")
        with exclusive_days(store.engine, "public", FEBRUARY, FEBRUARY, "run two", WAIT):
            pass
    with exclusive_days(store.engine, "public", JANUARY, JANUARY, "run three", WAIT):
        pass


def test_a_run_over_a_new_year_holds_both_years(store: Store):
    with exclusive_days(store.engine, "public", date(2025, 12, 31), date(2026, 1, 1), "run one", WAIT):
        for day in (date(2025, 12, 1), JANUARY):
            with pytest.raises(LockedError), exclusive_days(store.engine, "public", day, day, "run two", WAIT):
                pytest.fail(f"two runs hold {day}")
        with exclusive_days(store.engine, "public", FEBRUARY, MARCH, "run two", WAIT):
            pass


def test_snapshots_recommendations_and_other_schemas_do_not_hold_each_other_up(store: Store):
    migrate(store.engine, "other")
    with (
        exclusive_days(store.engine, "public", JANUARY, JANUARY, "one", WAIT),
        exclusive_recommendations(store.engine, "public", "two", WAIT),
        exclusive_days(store.engine, "other", JANUARY, JANUARY, "three", WAIT),
        exclusive_recommendations(store.engine, "other", "four", WAIT),
        pytest.raises(LockedError, match="the recommendations are being written by another run"),
        exclusive_recommendations(store.engine, "public", "five", WAIT),
    ):
        pytest.fail("two runs hold the recommendations")


def test_an_error_in_a_run_frees_what_it_held(store: Store):
    with pytest.raises(ZeroDivisionError), exclusive_days(store.engine, "public", JANUARY, JANUARY, "one", WAIT):
        raise ZeroDivisionError
    with exclusive_days(store.engine, "public", JANUARY, JANUARY, "two", WAIT):
        pass


def test_a_role_of_few_rights_is_told_who_holds_the_days_as_well(store: Store):
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

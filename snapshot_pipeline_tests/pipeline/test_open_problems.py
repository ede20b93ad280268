"""Due days and weeks, and the open problems of them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import delete, update

from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.open_problems import due_days, due_weeks, find_open_problems
from snapshot_pipeline.settings import load_settings
from snapshot_pipeline.store.weeks import record_week
from snapshot_pipeline_tests.pipeline.installations import COMPUTED, MONDAY, SUNDAY

WEEK = timedelta(days=7)
ZONE = ZoneInfo("Europe/Budapest")
SETTINGS = load_settings(timezone=ZONE.key, start_date=date(2025, 10, 1), catch_up_days=14, overdue_minutes=60)


@pytest.mark.parametrize(
    ("now", "last"),
    [
        (datetime(2025, 11, 3, 0, 59, tzinfo=ZONE), date(2025, 11, 1)),  # the day may still be computing
        (datetime(2025, 11, 3, 1, 0, tzinfo=ZONE), date(2025, 11, 2)),
        (datetime(2025, 10, 27, 3, 0, tzinfo=ZONE), date(2025, 10, 26)),  # after the day of 25 hours
    ],
)
def test_day_is_due_one_hour_after_it_ends(now: datetime, last: date):
    days = due_days(SETTINGS, now)
    assert days == [last - timedelta(days=13 - n) for n in range(14)]


def test_no_day_before_the_start_date_is_due():
    assert due_days(SETTINGS, datetime(2025, 10, 3, 3, tzinfo=ZONE)) == [date(2025, 10, 1), date(2025, 10, 2)]
    assert due_days(SETTINGS, datetime(2025, 10, 1, 3, tzinfo=ZONE)) == []


@pytest.mark.parametrize(
    ("now", "weeks"),
    [
        (datetime(2025, 11, 3, 3, 0, tzinfo=ZONE), [date(2025, 10, 20)]),
        (datetime(2025, 11, 3, 7, 0, tzinfo=ZONE), [date(2025, 10, 20), date(2025, 10, 27)]),
        (datetime(2025, 10, 8, 3, 0, tzinfo=ZONE), []),  # the week of the 6th is the first after the start date
    ],
)
def test_week_is_due_one_hour_after_its_scheduled_run_on_monday(now: datetime, weeks: list[date]):
    assert due_weeks(SETTINGS, now) == weeks


def test_complete_days_have_no_problem_except_open_failures(failed: Installation):
    problems = find_open_problems(failed, COMPUTED, [])
    assert (problems.missing, problems.below, problems.missing_weeks) == ([], [], [])
    assert [(failures.reason, failures.student_days) for failures in problems.failures] == [("unexpected_error", 48)]
    assert set(problems.failed_days) == set(COMPUTED)


def test_missing_day_and_day_below_the_success_rate_are_found(computed: Installation):
    days = computed.store.snapshot_days
    with computed.engine.begin() as connection:
        connection.execute(delete(days).where(days.c.snapshot_date == COMPUTED[2]))
        connection.execute(update(days).where(days.c.snapshot_date == SUNDAY).values(published=80, failed=20))
        record_week(connection, computed.store, MONDAY - WEEK, 1, 0, datetime.now(ZONE), "run")
    problems = find_open_problems(computed, COMPUTED, [MONDAY - WEEK, MONDAY])
    assert problems.missing == [COMPUTED[2]]
    assert problems.missing_weeks == [MONDAY]
    assert [(count.day, count.success_rate) for count in problems.below] == [(SUNDAY, 0.8)]

"""The stored students at risk over several weeks: replacement, `listed_since`, and the numbers of the weeks."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
from sqlalchemy import select

from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.store.at_risk import (
    AT_RISK_ROWS,
    AtRiskScope,
    AtRiskWeek,
    at_risk_weeks,
    replace_at_risk,
    withdraw_at_risk,
)
from snapshot_pipeline.store.retention import RetentionLimits, delete_expired_rows
from snapshot_pipeline_tests.store.conftest import Store

MONDAY = date(2026, 3, 2)
WEEK = timedelta(weeks=1)
COMPUTED_AT = datetime(2026, 4, 6, 6, tzinfo=timezone.utc)


def publish(
    store: Store, weeks: int, students: dict[int, str], at: datetime = COMPUTED_AT, code: str = "DORMANT"
) -> int:
    """Publish the week so many weeks after the first one, with these students and states; return what changed."""
    values: dict[str, list[Any]] = {
        **{name: [None] * len(students) for name in AT_RISK_ROWS.names},
        "user_id": list(students),
        "state": list(students.values()),
        "reasons": [json.dumps([{"code": code, "text": "No activity.", "numbers": {}}])] * len(students),
    }
    scope = AtRiskScope(MONDAY + weeks * WEEK, students=100, with_score=90, computed_at=at, run_id="r")
    with bulk.transaction(store.uri) as connection:
        return replace_at_risk(connection, store.tables, scope, pa.table(values, AT_RISK_ROWS))


def since(store: Store, user_id: int) -> list[int | None]:
    """Return `listed_since` of the student's weeks, as weeks after the first one."""
    table = store.tables.at_risk_students
    query = select(table.c.listed_since).where(table.c.user_id == user_id).order_by(table.c.week_start)
    with store.engine.connect() as connection:
        return [None if day is None else (day - MONDAY).days // 7 for day in connection.execute(query).scalars()]


def numbers(store: Store) -> dict[date, AtRiskWeek]:
    with store.engine.connect() as connection:
        return at_risk_weeks(connection, store.tables, MONDAY, MONDAY + 9 * WEEK)


def test_listed_since_is_the_first_of_the_consecutive_weeks_with_the_same_state(store: Store) -> None:
    for week, state in enumerate(["listed", "listed", "dormant", "not_started", "listed"]):
        publish(store, week, {1: state, 2: "listed"} if week != 2 else {1: state})
    assert since(store, 1) == [0, 0, 2, None, 4]
    assert since(store, 2) == [0, 0, 3, 3]


def test_an_older_week_that_is_computed_again_or_withdrawn_changes_later_ones(store: Store) -> None:
    for week in range(4):
        publish(store, week, {1: "listed", 2: "dormant"})
    publish(store, 1, {1: "dormant", 2: "dormant"})
    assert since(store, 1) == [0, 1, 2, 2]
    publish(store, 1, {1: "listed", 2: "not_started"})
    assert (since(store, 1), since(store, 2)) == ([0, 0, 0, 0], [0, None, 2, 2])
    with store.engine.begin() as connection:
        assert withdraw_at_risk(connection, store.tables, MONDAY + WEEK) == 2
    assert since(store, 1) == [0, 2, 2]
    assert list(numbers(store)) == [MONDAY, MONDAY + 2 * WEEK, MONDAY + 3 * WEEK]


def test_the_same_week_again_writes_nothing_and_another_result_replaces_it(store: Store) -> None:
    def computed_at() -> dict[int, datetime]:
        table = store.tables.at_risk_students
        with store.engine.connect() as connection:
            return {row.user_id: row.computed_at for row in connection.execute(select(table))}

    later = COMPUTED_AT + WEEK
    assert publish(store, 0, {1: "listed", 2: "listed", 3: "listed"}) == 3
    assert publish(store, 0, {1: "listed", 2: "dormant"}, at=later) == 2
    assert computed_at() == {1: COMPUTED_AT, 2: later}


def test_numbers_of_the_weeks(store: Store) -> None:
    publish(store, 0, {1: "listed", 2: "listed", 3: "dormant"})
    publish(store, 1, {1: "listed", 4: "listed", 5: "not_started"}, code="INACTIVE")
    publish(store, 3, {})
    first, second, last = numbers(store).values()
    assert (first.states, first.reasons, first.total) == ({"dormant": 1, "listed": 2}, {"DORMANT": 3}, 3)
    assert (first.new, first.left, first.median_weeks_listed) == (None, None, 1)
    assert (second.states, second.reasons) == ({"listed": 2, "not_started": 1}, {"INACTIVE": 3})
    assert (second.new, second.left, second.median_weeks_listed) == (2, 2, 1.5)
    assert isinstance(second.median_weeks_listed, float)  # Dagster accepts no Decimal
    assert (second.students, second.with_score, second.computed_at) == (100, 90, COMPUTED_AT)
    # The week before the last one was not computed, so nobody is new.
    assert (last.total, last.new, last.left, last.median_weeks_listed) == (0, None, None, None)


def test_weeks_before_the_limit_expire(store: Store) -> None:
    for week in range(2):
        publish(store, week, {1: "listed", 2: "listed"})
    limits = RetentionLimits(COMPUTED_AT, COMPUTED_AT, snapshots=MONDAY + WEEK)
    deleted = delete_expired_rows(store.engine, store.tables, limits)
    assert (deleted["at_risk_students"], deleted["at_risk_weeks"]) == (2, 1)
    assert list(numbers(store)) == [MONDAY + WEEK]

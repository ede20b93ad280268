"""The stored recommendations over several weeks: active, deactivated and dismissed ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import func, select, update

from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.store.recommendations import (
    WeekScope,
    active_counts,
    finish_week,
    newest_week,
    read_dismissals,
    read_dismissed_lessons,
    replace_recommendations,
)
from snapshot_pipeline_tests.store.conftest import Store

MONDAY = date(2026, 3, 2)
WEEK = timedelta(days=7)
USERS = (1, 100)


def week_of(start: date, is_newest: bool = True) -> WeekScope:
    """Return the scope of a week that is computed on the next Monday at 06:00 UTC."""
    end = datetime(start.year, start.month, start.day, tzinfo=timezone.utc) + WEEK
    return WeekScope(start, end, is_newest, end + timedelta(hours=6))


def recommended(
    *rows: tuple[int, str], message: str = "Go on.", metadata: dict[str, Any] | None = None
) -> pd.DataFrame:
    """Return recommendations as `recommend` returns them."""
    return pd.DataFrame(
        {
            "user_id": pd.Series([user_id for user_id, _ in rows], dtype="int64"),
            "recommendation_type": pd.Series([kind for _, kind in rows], dtype="str"),
            "priority": pd.Series([70] * len(rows), dtype="int64"),
            "title": pd.Series(["A title"] * len(rows), dtype="str"),
            "message": pd.Series([message] * len(rows), dtype="str"),
            "metadata": pd.Series([metadata or {}] * len(rows), dtype="object"),
        }
    )


def publish(store: Store, week: WeekScope, rows: pd.DataFrame, users: tuple[int, int] = USERS) -> None:
    with bulk.transaction(store.uri) as connection:
        replace_recommendations(connection, store.tables, *users, week, rows)


def row_of(store: Store, user_id: int, kind: str, week_start: date = MONDAY) -> dict[str, Any]:
    table = store.tables.adaptive_recommendations
    query = select(table).where(
        table.c.user_id == user_id, table.c.recommendation_type == kind, table.c.week_start == week_start
    )
    with store.engine.connect() as connection:
        return dict(connection.execute(query).mappings().one())


def active(store: Store) -> set[tuple[int, date, str]]:
    table = store.tables.adaptive_recommendations
    query = select(table.c.user_id, table.c.week_start, table.c.recommendation_type).where(table.c.is_active)
    with store.engine.connect() as connection:
        return {(user_id, start, kind) for user_id, start, kind in connection.execute(query)}


def dismiss(store: Store, user_id: int, kind: str, at: datetime, week_start: date = MONDAY) -> None:
    """Dismiss a recommendation, as the platform does for a student."""
    table = store.tables.adaptive_recommendations
    with store.engine.begin() as connection:
        connection.execute(
            update(table)
            .where(table.c.user_id == user_id, table.c.recommendation_type == kind, table.c.week_start == week_start)
            .values(dismissed_at=at, is_active=False)
        )


def dismissed(store: Store, week: WeekScope) -> list[tuple[int, str]]:
    with bulk.transaction(store.uri) as connection:
        frame = read_dismissals(connection, store.tables, *USERS, week)
    return list(zip(frame["user_id"].tolist(), frame["recommendation_type"].tolist(), strict=True))


def test_every_column_is_stored_as_computed(store: Store):
    metadata = {"lesson_ids": [7, 9], "scores": [12.5, 60.0], "lesson_title": 'Joins, "keys" & Größen'}
    publish(store, week_of(MONDAY), recommended((1, "REVIEW_LESSON"), metadata=metadata))
    row = row_of(store, 1, "REVIEW_LESSON")
    assert row.pop("id") > 0
    assert row == {
        "user_id": 1,
        "week_start": MONDAY,
        "recommendation_type": "REVIEW_LESSON",
        "title": "A title",
        "message": "Go on.",
        "priority": 70,
        "metadata": metadata,
        "is_active": True,
        "applies": True,
        "created_at": week_of(MONDAY).computed_at,
        "dismissed_at": None,
    }


def test_repeated_recommendation_keeps_id_and_created_at_with_new_text(store: Store):
    publish(store, week_of(MONDAY), recommended((1, "RESUME_LEARNING"), metadata={"days_inactive": 7}))
    before = row_of(store, 1, "RESUME_LEARNING")
    later = WeekScope(MONDAY, week_of(MONDAY).end, True, week_of(MONDAY).computed_at + WEEK)
    publish(store, later, recommended((1, "RESUME_LEARNING"), message="Come back.", metadata={"days_inactive": 8}))
    after = row_of(store, 1, "RESUME_LEARNING")
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"message", "metadata"}
    assert (after["message"], after["metadata"]) == ("Come back.", {"days_inactive": 8})


def test_obsolete_recommendation_is_deactivated_and_returns_with_its_id(store: Store):
    publish(store, week_of(MONDAY), recommended((1, "TAKE_BREAK"), (1, "CONTINUE_LEARNING")))
    identity = row_of(store, 1, "TAKE_BREAK")["id"]
    publish(store, week_of(MONDAY), recommended((1, "CONTINUE_LEARNING")))
    assert active(store) == {(1, MONDAY, "CONTINUE_LEARNING")}
    publish(store, week_of(MONDAY), recommended((1, "CONTINUE_LEARNING"), (1, "TAKE_BREAK")))
    assert active(store) == {(1, MONDAY, "CONTINUE_LEARNING"), (1, MONDAY, "TAKE_BREAK")}
    assert row_of(store, 1, "TAKE_BREAK")["id"] == identity


def test_newest_week_replaces_older_weeks(store: Store):
    publish(store, week_of(MONDAY), recommended((1, "TAKE_BREAK"), (2, "TAKE_BREAK")))
    publish(store, week_of(MONDAY + WEEK), recommended((1, "TAKE_BREAK")))
    assert active(store) == {(1, MONDAY + WEEK, "TAKE_BREAK")}


def test_batch_leaves_students_of_other_batches_unchanged(store: Store):
    publish(store, week_of(MONDAY), recommended((1, "TAKE_BREAK"), (50, "TAKE_BREAK")))
    publish(store, week_of(MONDAY + WEEK), recommended((1, "TAKE_BREAK")), users=(1, 10))
    assert active(store) == {(1, MONDAY + WEEK, "TAKE_BREAK"), (50, MONDAY, "TAKE_BREAK")}
    finish(store, recipients=[1, 50])
    assert active(store) == {(1, MONDAY + WEEK, "TAKE_BREAK")}


def finish(store: Store, recipients: Sequence[int], failed: Sequence[int] = ()) -> None:
    with store.engine.begin() as connection:
        finish_week(connection, store.tables, week_of(MONDAY + WEEK), np.array(recipients, np.int64), failed)


def test_finished_week_deactivates_users_outside_every_batch_who_are_no_recipients(store: Store):
    publish(store, week_of(MONDAY + WEEK), recommended((1, "TAKE_BREAK"), (50, "TAKE_BREAK"), (90, "TAKE_BREAK")))
    publish(store, week_of(MONDAY + WEEK), recommended((50, "TAKE_BREAK")), users=(50, 50))
    finish(store, recipients=[50])
    assert active(store) == {(50, MONDAY + WEEK, "TAKE_BREAK")}


def test_failed_student_keeps_the_recommendations_of_an_earlier_week(store: Store):
    publish(store, week_of(MONDAY), recommended((1, "TAKE_BREAK"), (50, "TAKE_BREAK"), (90, "TAKE_BREAK")))
    publish(store, week_of(MONDAY + WEEK), recommended((1, "TAKE_BREAK")), users=(1, 1))
    finish(store, recipients=[1, 50], failed=[50])
    assert active(store) == {(1, MONDAY + WEEK, "TAKE_BREAK"), (50, MONDAY, "TAKE_BREAK")}


def test_older_week_never_replaces_a_newer_one(store: Store):
    publish(store, week_of(MONDAY + WEEK), recommended((1, "TAKE_BREAK")))
    publish(store, week_of(MONDAY, is_newest=False), recommended((1, "TAKE_BREAK"), (2, "TAKE_BREAK")))
    publish(store, week_of(MONDAY, is_newest=False), recommended((1, "TAKE_BREAK")))
    assert active(store) == {(1, MONDAY + WEEK, "TAKE_BREAK")}
    assert row_of(store, 2, "TAKE_BREAK")["is_active"] is False
    with store.engine.connect() as connection:
        assert newest_week(connection, store.tables) == MONDAY + WEEK


def test_dismissed_recommendation_stays_dismissed_when_recomputed(store: Store):
    publish(store, week_of(MONDAY), recommended((1, "TAKE_BREAK")))
    at = week_of(MONDAY).computed_at + timedelta(hours=1)
    dismiss(store, 1, "TAKE_BREAK", at)
    for rows in (recommended((1, "TAKE_BREAK")), recommended(), recommended((1, "TAKE_BREAK"), message="Again?")):
        publish(store, week_of(MONDAY), rows)
        row = row_of(store, 1, "TAKE_BREAK")
        assert (row["is_active"], row["dismissed_at"]) == (False, at)
        assert "Again" not in row["message"]  # it stays what the student has dismissed


@pytest.mark.parametrize(
    ("before_week_end", "weeks_later", "is_suppressed"),
    [
        (timedelta(days=3), 1, True),
        (timedelta(0), 1, True),
        (timedelta(hours=-3), 1, True),  # Monday at 03:00, before the run at 06:00
        (timedelta(days=7) - timedelta(seconds=1), 1, True),
        (timedelta(0), 2, False),
        (timedelta(seconds=-1), 2, True),
        (timedelta(seconds=1), 2, False),
        (timedelta(days=-1), 3, False),
    ],
)
def test_dismissed_type_is_not_recommended_again_for_14_days(
    store: Store, before_week_end: timedelta, weeks_later: int, is_suppressed: bool
):
    """The 14 days are counted up to the end of the week that is computed, whenever that happens."""
    publish(store, week_of(MONDAY), recommended((1, "TAKE_BREAK"), (2, "TAKE_BREAK")))
    dismiss(store, 1, "TAKE_BREAK", week_of(MONDAY).end - before_week_end)
    expected = [(1, "TAKE_BREAK")] if is_suppressed else []
    assert dismissed(store, week_of(MONDAY + weeks_later * WEEK)) == expected


def test_dismissal_within_the_week_does_not_suppress_that_week(store: Store):
    """Its row stays dismissed anyway; without the type, another one would take its rank in the second computation."""
    publish(store, week_of(MONDAY), recommended((1, "TAKE_BREAK")))
    dismiss(store, 1, "TAKE_BREAK", week_of(MONDAY).computed_at)
    assert dismissed(store, week_of(MONDAY)) == []


def test_two_dismissals_of_a_type_are_read_once(store: Store):
    for start in (MONDAY, MONDAY + WEEK):
        publish(store, week_of(start), recommended((1, "TAKE_BREAK")))
        dismiss(store, 1, "TAKE_BREAK", week_of(MONDAY + WEEK).end, start)
    assert dismissed(store, week_of(MONDAY + 2 * WEEK)) == [(1, "TAKE_BREAK")]


def test_dismissed_lessons_are_those_of_dismissed_reviews(store: Store):
    publish(
        store, week_of(MONDAY), recommended((1, "REVIEW_LESSON"), metadata={"lesson_ids": [7, 3], "scores": [1, 2]})
    )
    publish(store, week_of(MONDAY), recommended((2, "REVIEW_LESSON"), metadata={"lesson_ids": [8], "scores": [1]}))
    dismiss(store, 1, "REVIEW_LESSON", week_of(MONDAY).end)

    def lessons(weeks: int) -> list[tuple[int, int]]:
        with bulk.transaction(store.uri) as connection:
            frame = read_dismissed_lessons(connection, store.tables, *USERS, week_of(MONDAY + weeks * WEEK))
        return sorted(frame[["user_id", "lesson_id"]].itertuples(index=False, name=None))

    assert [lessons(weeks) for weeks in (0, 1, 2)] == [[], [(1, 3), (1, 7)], []]
    assert dismissed(store, week_of(MONDAY + WEEK)) == []


def test_status_counts_active_recommendations(store: Store):
    publish(store, week_of(MONDAY), recommended((1, "TAKE_BREAK"), (2, "CONTINUE_LEARNING"), (3, "CONTINUE_LEARNING")))
    dismiss(store, 3, "CONTINUE_LEARNING", week_of(MONDAY).end)
    with store.engine.connect() as connection:
        assert active_counts(connection, store.tables, MONDAY) == {"CONTINUE_LEARNING": 1, "TAKE_BREAK": 1}
        assert active_counts(connection, store.tables, MONDAY - WEEK) == {}


def test_empty_week_publishes_no_row(store: Store):
    publish(store, week_of(MONDAY), recommended())
    with store.engine.connect() as connection:
        count = connection.execute(select(func.count()).select_from(store.tables.adaptive_recommendations))
        assert count.scalar_one() == 0
        assert newest_week(connection, store.tables) is None

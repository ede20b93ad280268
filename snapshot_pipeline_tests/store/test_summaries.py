"""Publishing summaries replaces exactly the summarized days and writes no unchanged row."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import literal_column, select

from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.store.summaries import SummaryScope, replace_summaries
from snapshot_pipeline_tests.store.conftest import Store

DAY = date(2026, 3, 10)
TOMORROW = DAY + timedelta(days=1)
NOW = datetime(2026, 3, 11, 0, 5, tzinfo=timezone.utc)

COUNTS = ("failed", "active_students", "slow_students", "medium_students", "fast_students", "accelerated_students")
COUNTS += ("minutes_spent", "lessons_completed", "inactive_7_days", "inactive_14_days")
MEANS = ("pace_p25", "pace_median", "pace_p75", "quiz_average_mean")


def summary(*rows: dict[str, Any]) -> pd.DataFrame:
    """Return rows with every figure; missing ones are 0, or null for a mean."""
    frame = pd.DataFrame([{**dict.fromkeys(COUNTS, 0), **dict.fromkeys(MEANS, np.nan), **row} for row in rows])
    return frame.assign(snapshot_date=frame["snapshot_date"].astype("datetime64[s]"))


def day(snapshot_date: date, students: int, mean: float | None) -> dict[str, Any]:
    return {"snapshot_date": snapshot_date, "students": students, "pace_mean": mean}


def cohort(snapshot_date: date, specialization: str, students: int, mean: float | None = 50.0) -> dict[str, Any]:
    return {**day(snapshot_date, students, mean), "specialization": specialization, "level": ""}


def publish(
    store: Store, days: pd.DataFrame, cohorts: pd.DataFrame, run_id: str, first: date = DAY, last: date = TOMORROW
) -> int:
    with bulk.transaction(store.uri) as connection:
        return replace_summaries(connection, store.tables, SummaryScope(first, last, NOW, run_id), days, cohorts)


def stored(store: Store) -> dict[tuple[date, str], tuple[int, float | None, str, str]]:
    """Return students, mean, run and row version of each cohort; every write changes the version."""
    table = store.tables.cohort_summary
    version = literal_column("xmin::text || ' ' || xmax::text || ' ' || ctid::text")
    with store.engine.connect() as connection:
        rows = connection.execute(
            select(
                table.c.snapshot_date,
                table.c.specialization,
                table.c.students,
                table.c.pace_mean,
                table.c.run_id,
                version,
            )
        ).all()
    return {(row[0], row[1]): tuple(row[2:]) for row in rows}  # type: ignore[misc]


@pytest.fixture
def first_run(store: Store) -> Store:
    days = summary(day(DAY, 3, 40.0), day(TOMORROW, 0, None))
    assert (
        publish(store, days, summary(cohort(DAY, "Law", 1), cohort(DAY, "", 2), cohort(TOMORROW, "Law", 9)), "a") == 5
    )
    return store


def test_same_summary_again_writes_no_row(first_run: Store):
    before = stored(first_run)
    days = summary(day(DAY, 3, 40.0), day(TOMORROW, 0, None))
    again = summary(cohort(TOMORROW, "Law", 9), cohort(DAY, "", 2), cohort(DAY, "Law", 1))
    assert publish(first_run, days, again, "b") == 0
    assert stored(first_run) == before


def test_changed_cohorts_are_replaced_and_missing_ones_deleted(first_run: Store):
    before = stored(first_run)
    written = publish(
        first_run,
        summary(day(DAY, 3, 41.0)),
        summary(cohort(DAY, "Law", 1, None), cohort(DAY, "Medicine", 2)),
        "b",
        last=DAY,
    )
    after = stored(first_run)
    assert written == 4  # the day, Law, Medicine, and the deleted cohort
    assert {key: row[:3] for key, row in after.items()} == {
        (DAY, "Law"): (1, None, "b"),
        (DAY, "Medicine"): (2, 50.0, "b"),
        (TOMORROW, "Law"): (9, 50.0, "a"),
    }
    assert after[TOMORROW, "Law"] == before[TOMORROW, "Law"]

"""A second computation touches exactly the rows that differ, and records each changed figure."""

from __future__ import annotations

import json
import math
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapshot_pipeline.store.changes import WHOLE_ROW, StudentDayIndex, compare, restatements

DAY = date(2026, 3, 10)
SCHEMA = pa.schema(
    {
        "user_id": pa.int64(),
        "snapshot_date": pa.date32(),
        "pace_score": pa.float64(),
        "learning_pace": pa.string(),
        "quiz_average": pa.float64(),
        "lessons_completed_count": pa.int32(),
        "last_activity_date": pa.date32(),
    }
)
INDEX = StudentDayIndex(np.array([1, 2, 5], dtype=np.int64), DAY, DAY + timedelta(days=2))
NONE_RETAINED = np.zeros(0, dtype=np.int64)


def row(user_id: int = 1, day: date = DAY, **figures: Any) -> dict[str, Any]:
    """Return a row with default figures, some of them overridden."""
    standard = {
        "pace_score": 50.0,
        "learning_pace": "MEDIUM",
        "quiz_average": None,
        "lessons_completed_count": 1,
        "last_activity_date": DAY,
    }
    return {"user_id": user_id, "snapshot_date": day, **standard, **figures}


def rows(*given_rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(given_rows), schema=SCHEMA)


def test_an_identical_row_is_not_touched():
    old = rows(row(1, pace_score=33.33), row(2, quiz_average=0.1 + 0.2))
    changes = compare(old, rows(row(2, quiz_average=0.1 + 0.2), row(1, pace_score=33.33)), INDEX, NONE_RETAINED)
    assert (changes.to_write.tolist(), changes.to_delete.tolist()) == ([], [])


@pytest.mark.parametrize(
    ("column", "before", "after", "texts"),
    [
        ("pace_score", 50.0, 50.01, ("50", "50.01")),
        ("pace_score", 0.3, 0.1 + 0.2, ("0.3", "0.30000000000000004")),
        ("learning_pace", "MEDIUM", "FAST", ("MEDIUM", "FAST")),
        ("quiz_average", None, 70.5, (None, "70.5")),
        ("quiz_average", 70.5, None, ("70.5", None)),
        ("lessons_completed_count", 1, 2, ("1", "2")),
        ("last_activity_date", DAY, DAY - timedelta(days=9), ("2026-03-10", "2026-03-01")),
    ],
)
def test_a_changed_figure_is_restated_with_both_values(
    column: str, before: Any, after: Any, texts: tuple[str | None, str | None]
):
    old, new = rows(row(5, **{column: before})), rows(row(5, **{column: after}))
    changes = compare(old, new, INDEX, NONE_RETAINED)
    assert (changes.changed.tolist(), changes.replaced.tolist()) == ([0], [0])
    assert restatements(old, new, changes).to_pylist() == [
        {"user_id": 5, "snapshot_date": DAY, "column_name": column, "old_value": texts[0], "new_value": texts[1]}
    ]


def test_nan_equals_null():
    changes = compare(rows(row(quiz_average=None)), rows(row(quiz_average=math.nan)), INDEX, NONE_RETAINED)
    assert changes.to_write.tolist() == []


def test_a_first_publication_restates_nothing():
    new = rows(row(1), row(2))
    changes = compare(rows(), new, INDEX, NONE_RETAINED)
    assert changes.inserted.tolist() == changes.to_write.tolist() == [0, 1]
    assert restatements(rows(), new, changes).num_rows == 0


def test_a_deleted_row_is_restated_as_a_whole():
    old = rows(row(1, quiz_average=70.5))
    changes = compare(old, rows(), INDEX, NONE_RETAINED)
    (restated,) = restatements(old, rows(), changes).to_pylist()
    assert (restated["column_name"], restated["new_value"]) == (WHOLE_ROW, None)
    assert json.loads(restated["old_value"]) == {
        "pace_score": "50",
        "learning_pace": "MEDIUM",
        "quiz_average": "70.5",
        "lessons_completed_count": "1",
        "last_activity_date": "2026-03-10",
    }


def test_a_failed_student_day_keeps_its_row():
    old = rows(row(1), row(2))
    changes = compare(old, rows(), INDEX, retained=INDEX.numbers_of(rows(row(1))))
    assert changes.deleted.tolist() == [1]


def test_rows_of_other_students_and_days_are_ignored():
    others = rows(row(3), row(6), row(1, DAY + timedelta(days=3)), row(1, DAY - timedelta(days=1)))
    assert INDEX.numbers_of(others).tolist() == [-1] * 4
    changes = compare(others, rows(row(1)), INDEX, NONE_RETAINED)
    assert (changes.to_delete.tolist(), changes.inserted.tolist()) == ([], [0])


_FIGURES = st.tuples(
    st.one_of(st.floats(0, 100), st.sampled_from([0.1 + 0.2, 0.3])), st.one_of(st.none(), st.just(50.0))
)
_TABLES = st.dictionaries(st.tuples(st.sampled_from([1, 2, 5]), st.integers(0, 2)), _FIGURES)


@given(before=_TABLES, after=_TABLES, failed=st.sets(st.tuples(st.sampled_from([1, 2, 5]), st.integers(0, 2))))
def test_applying_the_changes_to_the_old_rows_gives_the_new_ones(before: Any, after: Any, failed: Any):
    after = {key: figures for key, figures in after.items() if key not in failed}
    old, new = (
        rows(*(row(u, DAY + timedelta(days=d), pace_score=p, quiz_average=q) for (u, d), (p, q) in table.items()))
        for table in (before, after)
    )
    retained = INDEX.numbers_of(rows(*(row(u, DAY + timedelta(days=d)) for u, d in failed)))
    changes = compare(old, new, INDEX, retained)
    deleted, written = set(changes.to_delete.tolist()), new.take(changes.to_write).to_pylist()
    applied = [row for number, row in enumerate(old.to_pylist()) if number not in deleted] + written
    by_student_day = {(row["user_id"], row["snapshot_date"]): row for row in applied}
    assert len(by_student_day) == len(applied)
    surviving = {key: figures for key, figures in before.items() if key in failed}
    expected = {**surviving, **after}
    assert {
        (user_id, (day - DAY).days): (row["pace_score"], row["quiz_average"])
        for (user_id, day), row in by_student_day.items()
    } == expected
    same = sum(before.get(key) == figures for key, figures in after.items())
    assert len(changes.to_write) == len(after) - same
    touched = [row for row in restatements(old, new, changes).to_pylist() if row["column_name"] != WHOLE_ROW]
    assert all(row["old_value"] != row["new_value"] for row in touched)
    assert {(row["user_id"], (row["snapshot_date"] - DAY).days) for row in touched} == {
        key for key, figures in after.items() if key in before and before[key] != figures
    }

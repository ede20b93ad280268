"""Which cohorts have begun, and which have exercises."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pandas as pd
import pytest

from snapshot_pipeline.recommendations.cohorts import mark_cohorts

LONG_BEGUN = datetime(2026, 5, 18, tzinfo=timezone.utc)
LATER = LONG_BEGUN + timedelta(days=20)
TICK = timedelta(microseconds=1)


def cohorts(*rows: tuple[object, ...]) -> pd.DataFrame:
    columns = ["specialization", "level", "students", "started", "first_started_at", "has_exercises"]
    frame = pd.DataFrame(list(rows), columns=columns)
    return frame.astype({"first_started_at": "datetime64[us, UTC]", "has_exercises": bool})


def marked(students: list[tuple[object, object]], known: pd.DataFrame) -> list[tuple[bool, bool]]:
    frame = mark_cohorts(pd.DataFrame(students, columns=["specialization", "level"]), known, LONG_BEGUN)
    return list(zip(frame["cohort_has_begun"].tolist(), frame["cohort_has_exercises"].tolist(), strict=True))


@pytest.mark.parametrize(
    ("students", "started", "first_started_at", "has_begun"),
    [
        (30, 3, LATER, True),
        (31, 3, LATER, False),
        (1000, 1, LONG_BEGUN - TICK, True),
        (1000, 1, LONG_BEGUN, False),
        (1, 0, None, False),
        (1, 1, LATER, True),
    ],
)
def test_a_cohort_begins_with_a_tenth_of_its_students_or_28_days_after_the_first(
    students: int, started: int, first_started_at: datetime | None, has_begun: bool
):
    known = cohorts(("MATH", "1", students, started, first_started_at, True))
    assert marked([("MATH", "1")], known) == [(has_begun, True)]


@pytest.mark.parametrize("course", [(None, "1"), ("MATH", None), ("", "1"), ("MATH", ""), (None, None)])
def test_without_a_cohort_a_student_counts_as_begun_and_has_no_exercises(course):
    known = cohorts((*course, 10, 0, None, True), ("MATH", "1", 10, 0, None, True))
    assert marked([course, ("MATH", "1")], known) == [(True, False), (False, True)]


def test_students_of_an_unknown_cohort_wait():
    known = cohorts(("MATH", "1", 10, 10, LATER, True), ("ART", "1", 10, 0, None, False))
    assert marked([("ART", "1"), ("NEW", "1"), ("MATH", "1")], known) == [(False, False), (False, False), (True, True)]

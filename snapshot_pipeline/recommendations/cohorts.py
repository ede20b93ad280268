"""Which cohorts have begun, and which have exercises. A cohort is the students of one specialization and level."""

from __future__ import annotations

from datetime import datetime

import pandas as pd

from snapshot_pipeline.recommendations.next_lesson import has_course

BEGUN_STUDENTS_PERCENT = 10
"""A cohort has begun when at least this share of its active students has started."""

BEGUN_DAYS = 28
"""A cohort has begun when its earliest start is this many days before the week's Sunday, or more."""


def mark_cohorts(students: pd.DataFrame, cohorts: pd.DataFrame, long_begun: datetime) -> pd.DataFrame:
    """Add what is known of each student's cohort.

    A student without a cohort counts as one of a cohort that has begun, and has no exercises.

    Args:
        students: `specialization`, `level` (text or null), others.
        cohorts: `specialization`, `level`, `students`, `started` (int64: how many have started before the end of the
            week), `first_started_at` (`datetime64[us, UTC]`, NaT: nobody), `has_exercises` (bool: whether one of
            them submitted an exercise in the last four weeks). One row for each; the numbers are of active students.
        long_begun: The end of the day that is `BEGUN_DAYS` before the Sunday.

    Returns:
        The students with `cohort_has_begun` and `cohort_has_exercises` (bool).
    """
    is_begun = 100 * cohorts["started"] >= BEGUN_STUDENTS_PERCENT * cohorts["students"]
    is_begun |= cohorts["first_started_at"] < long_begun
    keys = ["specialization", "level"]
    known = cohorts[keys].astype(object).assign(is_begun=is_begun, has_exercises=cohorts["has_exercises"])
    joined = students[keys].astype(object).merge(known[has_course(known)], on=keys, how="left")
    begun, exercises = (joined[name].eq(True).to_numpy() for name in ("is_begun", "has_exercises"))
    with_cohort = has_course(students).to_numpy()
    return students.assign(cohort_has_begun=begun | ~with_cohort, cohort_has_exercises=exercises & with_cohort)

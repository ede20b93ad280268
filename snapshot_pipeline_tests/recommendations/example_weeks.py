"""Small weeks for the tests of the rules: rows as tuples, converted to frames with the dtypes of `WeekFacts`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime, timedelta, timezone

import pandas as pd

from snapshot_pipeline.recommendations import WeekFacts

MONDAY = date(2026, 6, 8)
SUNDAY = date(2026, 6, 14)


def student(
    user_id: int,
    specialization: str | None = "MATH",
    level: str | None = "BASIC",
    has_started: bool = True,
    cohort_has_begun: bool = True,
    cohort_has_exercises: bool = True,
    score: float = math.nan,
) -> tuple[object, ...]:
    return (user_id, specialization, level, has_started, cohort_has_begun, cohort_has_exercises, score)


def activity(
    user_id: int, *, minutes: int = 0, lessons: int = 0, exercises: int = 0, days_ago: int | None = 0
) -> tuple[object, ...]:
    """Return a student's activity; `days_ago` is from the last activity to the Sunday."""
    last_activity_date = pd.NaT if days_ago is None else pd.Timestamp(SUNDAY - timedelta(days=days_ago))
    return (user_id, minutes, lessons, exercises, last_activity_date)


def attempt(
    user_id: int, attempt_id: int, lesson_id: int, score: float, hour: int = 12, quiz_id: int | None = None
) -> tuple[object, ...]:
    """Return an attempt; the quiz of a lesson has its id by default."""
    at = datetime(2026, 6, 10, hour, tzinfo=timezone.utc)
    return (user_id, attempt_id, lesson_id if quiz_id is None else quiz_id, lesson_id, score, at)


def lesson(
    lesson_id: int,
    display_order: float | None = 1,
    title: str | None = "Fractions",
    specialization: str | None = "MATH",
    level: str | None = "BASIC",
) -> tuple[object, ...]:
    return (lesson_id, title, specialization, level, display_order)


def week(
    *,
    students: Sequence[tuple[object, ...]] = (),
    activities: Sequence[tuple[object, ...]] = (),
    attempts: Sequence[tuple[object, ...]] = (),
    completions: Sequence[tuple[object, ...]] = (),
    lessons: Sequence[tuple[object, ...]] = (),
    dismissals: Sequence[tuple[object, ...]] = (),
    dismissed_lessons: Sequence[tuple[object, ...]] = (),
    review_below_score: float = 60,
) -> WeekFacts:
    """Return the facts of the week from Monday, 8 June 2026, to Sunday, 14 June 2026; frames are empty by default."""
    course = {"specialization": "object", "level": "object"}
    return WeekFacts(
        week_start=MONDAY,
        students=_frame(
            students,
            user_id="int64",
            **course,
            has_started="bool",
            cohort_has_begun="bool",
            cohort_has_exercises="bool",
            engagement_score="float64",
        ),
        activity=_frame(
            activities,
            user_id="int64",
            minutes="int64",
            lessons="int64",
            exercises="int64",
            last_activity_date="datetime64[s]",
        ),
        attempts=_frame(
            attempts,
            user_id="int64",
            attempt_id="int64",
            quiz_id="int64",
            lesson_id="int64",
            score="float64",
            completed_at="datetime64[us, UTC]",
        ),
        completions=_frame(completions, user_id="int64", lesson_id="int64"),
        lessons=_frame(lessons, lesson_id="int64", title="object", **course, display_order="float64"),
        dismissals=_frame(dismissals, user_id="int64", recommendation_type="object"),
        dismissed_lessons=_frame(dismissed_lessons, user_id="int64", lesson_id="int64"),
        review_below_score=review_below_score,
    )


def _frame(rows: Sequence[tuple[object, ...]], **types: str) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(types)).astype(types)

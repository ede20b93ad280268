"""Small weeks for the tests of the rules: rows as tuples, converted to frames with the dtypes of `WeekFacts`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta, timezone

import pandas as pd

from snapshot_pipeline.recommendations import WeekFacts

MONDAY = date(2026, 6, 8)
SUNDAY = date(2026, 6, 14)


def student(
    user_id: int, specialization: str | None = "MATH", level: str | None = "BASIC", has_started: bool = True
) -> tuple[object, ...]:
    return (user_id, specialization, level, has_started)


def snapshot(
    user_id: int,
    days_before_sunday: int = 0,
    *,
    minutes: int = 0,
    lessons: int = 0,
    exercises: int = 0,
    last_activity_date: date = SUNDAY,
) -> tuple[object, ...]:
    day = SUNDAY - timedelta(days=days_before_sunday)
    return (user_id, pd.Timestamp(day), minutes, lessons, exercises, pd.Timestamp(last_activity_date))


def attempt(user_id: int, attempt_id: int, lesson_id: int, score: float, hour: int = 12) -> tuple[object, ...]:
    return (user_id, attempt_id, lesson_id, score, datetime(2026, 6, 10, hour, tzinfo=timezone.utc))


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
    snapshots: Sequence[tuple[object, ...]] = (),
    attempts: Sequence[tuple[object, ...]] = (),
    completions: Sequence[tuple[object, ...]] = (),
    lessons: Sequence[tuple[object, ...]] = (),
    dismissals: Sequence[tuple[object, ...]] = (),
) -> WeekFacts:
    """Return the facts of the week from Monday, 8 June 2026, to Sunday, 14 June 2026; frames are empty by default."""
    return WeekFacts(
        week_start=MONDAY,
        students=_frame(students, user_id="int64", specialization="object", level="object", has_started="bool"),
        snapshots=_frame(
            snapshots,
            user_id="int64",
            snapshot_date="datetime64[s]",
            time_spent_minutes_today="int64",
            lessons_completed_count="int64",
            exercises_submitted_count="int64",
            last_activity_date="datetime64[s]",
        ),
        attempts=_frame(
            attempts,
            user_id="int64",
            attempt_id="int64",
            lesson_id="int64",
            score="float64",
            completed_at="datetime64[us, UTC]",
        ),
        completions=_frame(completions, user_id="int64", lesson_id="int64"),
        lessons=_frame(
            lessons,
            lesson_id="int64",
            title="object",
            specialization="object",
            level="object",
            display_order="float64",
        ),
        dismissals=_frame(dismissals, user_id="int64", recommendation_type="object"),
    )


def _frame(rows: Sequence[tuple[object, ...]], **types: str) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(types)).astype(types)

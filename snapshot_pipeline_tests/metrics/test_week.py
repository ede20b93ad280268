"""What a student did up to the end of a week: minutes, lessons, exercises, and the last activity."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd

from snapshot_pipeline.metrics.corrections import correct_progress
from snapshot_pipeline.metrics.days import LocalDays
from snapshot_pipeline.metrics.events import StudentHistory
from snapshot_pipeline.metrics.week import week_activity
from snapshot_pipeline_tests.reference.history_frames import INSTANT, frame_of

ZONE = ZoneInfo("Europe/Budapest")
SUNDAY = date(2026, 3, 29)  # a day of 23 hours
MOMENT = datetime(2026, 4, 1, tzinfo=ZONE)
FORTNIGHT = LocalDays(SUNDAY - timedelta(days=13), SUNDAY, ZONE)


def at(days_ago: int, hour: int = 12, minute: int = 0) -> datetime:
    day = SUNDAY - timedelta(days=days_ago)
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZONE).astimezone(ZoneInfo("UTC"))


def activity(
    progress: list[tuple[datetime | None, datetime | None, int]],
    exercises: list[datetime] = [],  # noqa: B006  # not changed
    attempts: list[datetime] = [],  # noqa: B006  # not changed
    activity_before: datetime | None = None,
) -> tuple[object, ...]:
    """Return minutes, lessons, exercises and the last activity date of one student."""
    instants = {"started_at": INSTANT, "completed_at": INSTANT}
    rows = frame_of(
        [(1, n, *times, minutes, 1) for n, (*times, minutes) in enumerate(progress)],
        {"user_id": "int64", "lesson_id": "int64", **instants, "time_spent_minutes": "int64", "copies": "int64"},
    )
    corrected = correct_progress(rows, MOMENT)
    history = StudentHistory(
        students=frame_of(
            [(1, corrected["start"].min() if len(corrected) else None, activity_before)],
            {"user_id": "int64", "first_started_at": INSTANT, "last_activity_before": INSTANT},
        ),
        progress=corrected,
        attempts=frame_of(
            [(1, n, moment, 50.0, True) for n, moment in enumerate(attempts)],
            {
                "user_id": "int64",
                "attempt_id": "int64",
                "completed_at": INSTANT,
                "score": "float64",
                "is_scored": "bool",
            },
        ),
        exercises=frame_of([(1, moment) for moment in exercises], {"user_id": "int64", "created_at": INSTANT}),
    )
    (row,) = week_activity(history, FORTNIGHT).itertuples(index=False)
    last = None if pd.isna(row.last_activity_date) else row.last_activity_date.date()
    return row.minutes, row.lessons, row.exercises, last


def test_minutes_are_of_three_days_and_lessons_of_fourteen():
    progress = [
        (at(0), at(0, 13), 10),
        (at(2, 0), None, 20),
        (at(3), at(3, 13), 400),
        (at(14), at(13), 400),
        (at(15), at(14, 23, 59), 400),
    ]
    assert activity(progress) == (30, 3, 0, SUNDAY)


def test_minutes_are_at_most_those_up_to_the_end_of_the_day():
    assert activity([(at(1, 23, 50), at(0, 11), 7_200)])[0] == 10
    assert activity([(at(1), at(1, 13), -5), (at(2, 23, 59), None, 40)])[0] == 1


def test_minutes_of_a_day_are_at_most_its_length():
    midnight = at(0, 0)
    assert activity([(midnight, None, 1_000), (midnight, None, 1_000)])[0] == 23 * 60


def test_minutes_of_a_lesson_completed_before_its_start_belong_to_the_completion():
    assert activity([(at(0), at(4), 100)]) == (0, 1, 0, SUNDAY)


def test_exercises_and_attempts_of_fourteen_days_and_the_last_activity():
    assert activity([(at(20), None, 1)], exercises=[at(13, 0), at(14, 23), at(5)]) == (
        0,
        0,
        2,
        SUNDAY - timedelta(days=5),
    )
    assert activity([(at(20), None, 1)], attempts=[at(4)])[3] == SUNDAY - timedelta(days=4)


def test_a_lesson_opened_again_after_its_completion_is_activity_on_that_day():
    assert activity([(at(1), at(16), 0)])[3] == SUNDAY - timedelta(days=1)


def test_activity_after_the_sunday_does_not_count_and_older_activity_is_looked_up():
    assert activity([(at(-1), None, 50), (at(-1), at(-1, 13), 5)], exercises=[at(-1)]) == (0, 0, 0, None)
    long_ago = datetime(2025, 10, 1, 23, 30, tzinfo=ZoneInfo("UTC"))  # past midnight in Budapest
    assert activity([], activity_before=long_ago)[3] == date(2025, 10, 2)
    assert activity([(at(30), None, 1)])[3] == SUNDAY - timedelta(days=30)

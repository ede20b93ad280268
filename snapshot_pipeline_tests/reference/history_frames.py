"""Convert plain rows to `StudentHistory`, the input of `compute_snapshots`: all rows, or only the required ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd

from snapshot_pipeline.metrics.events import StudentHistory
from snapshot_pipeline_tests.reference.days import end_of_day, start_of_day
from snapshot_pipeline_tests.reference.rows import Attempt, Exercise, PlatformRows, Progress, Student

INSTANT = "datetime64[us, UTC]"


def full_history(rows: PlatformRows, zone: ZoneInfo) -> StudentHistory:
    """Return all rows of all active students, needed or not; `last_activity_before` is always NaT."""
    ids = {student.user.id for student in rows.active_students(zone)}
    return _history(
        [(student.user.id, first_started_at(student), None) for student in rows.active_students(zone)],
        [row for row in rows.user_lesson_progress if row.user_id in ids],
        [row for row in rows.quiz_attempts if row.user_id in ids],
        [row for row in rows.exercise_submissions if row.user_id in ids],
    )


def trimmed_history(rows: PlatformRows, first: date, last: date, zone: ZoneInfo) -> StudentHistory:
    """Return only the rows that `first … last` need; `last_activity_before` replaces all others."""
    start, end = start_of_day(first, zone), end_of_day(last, zone)
    window_start = start_of_day(first - timedelta(days=29), zone)
    students: list[tuple[int, datetime | None, datetime | None]] = []
    progress: list[Progress] = []
    attempts: list[Attempt] = []
    exercises: list[Exercise] = []
    for student in rows.active_students(zone):
        older_scored = [
            attempt.row
            for attempt in student.attempts
            if attempt.row.score is not None and not is_within(attempt.row.completed_at, start, end)
        ]
        last_ten = [row for row in older_scored if row.completed_at is not None and row.completed_at < start][:10]
        kept_progress = [
            dated.row
            for dated in student.progress
            if is_within(dated.row.started_at, window_start, end)
            or is_within(dated.row.completed_at, window_start, end)
        ]
        kept_attempts = [dated.row for dated in student.attempts if is_within(dated.row.completed_at, start, end)]
        kept_attempts += last_ten
        submissions = [row for row in rows.exercise_submissions if row.user_id == student.user.id]
        kept_exercises = [row for row in submissions if is_within(row.created_at, start, end)]
        removed = [
            *(at for dated in student.progress if dated.row not in kept_progress for at in _instants(dated.row)),
            *(dated.row.completed_at for dated in student.attempts if dated.row not in kept_attempts),
            *(row.created_at for row in submissions if row not in kept_exercises),
        ]
        before = max((at for at in removed if at is not None and at < start), default=None)
        students.append((student.user.id, first_started_at(student), before))
        progress += kept_progress
        attempts += kept_attempts
        exercises += kept_exercises
    return _history(students, progress, attempts, exercises)


def without_redundant_last_activity(history: StudentHistory, first: date, zone: ZoneInfo) -> StudentHistory:
    """Set `last_activity_before` to NaT for students with a later activity before the end of `first`."""
    end = pd.Timestamp(end_of_day(first, zone))
    activity = pd.concat(
        [
            history.progress[["user_id", "started_at"]].set_axis(["user_id", "at"], axis=1),
            history.progress[["user_id", "completed_at"]].set_axis(["user_id", "at"], axis=1),
            history.attempts[["user_id", "completed_at"]].set_axis(["user_id", "at"], axis=1),
            history.exercises.set_axis(["user_id", "at"], axis=1),
        ]
    )
    known = activity[activity["at"] < end].groupby("user_id")["at"].max().to_dict()
    known_of_student = pd.Series([known.get(user_id) for user_id in history.students["user_id"]], dtype=INSTANT)
    needless = known_of_student >= history.students["last_activity_before"]
    students = history.students.assign(last_activity_before=history.students["last_activity_before"].mask(needless))
    return replace(history, students=students)


def only_students(history: StudentHistory, user_ids: Collection[int]) -> StudentHistory:
    """Return the rows of some students."""

    def selected(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["user_id"].isin(list(user_ids))].reset_index(drop=True)

    return StudentHistory(
        selected(history.students), selected(history.progress), selected(history.attempts), selected(history.exercises)
    )


def shuffled(history: StudentHistory, seed: int) -> StudentHistory:
    """Return the same rows in another order, with their old index labels."""
    return StudentHistory(
        history.students.sample(frac=1, random_state=seed),
        history.progress.sample(frac=1, random_state=seed + 1),
        history.attempts.sample(frac=1, random_state=seed + 2),
        history.exercises.sample(frac=1, random_state=seed + 3),
    )


def _history(
    students: list[tuple[int, datetime | None, datetime | None]],
    progress: list[Progress],
    attempts: list[Attempt],
    exercises: list[Exercise],
) -> StudentHistory:
    return StudentHistory(
        students=frame_of(students, {"user_id": "int64", "first_started_at": INSTANT, "last_activity_before": INSTANT}),
        progress=frame_of(
            [
                (row.user_id, row.lesson_id, row.started_at, row.completed_at, row.time_spent_minutes or 0)
                for row in progress
            ],
            {
                "user_id": "int64",
                "lesson_id": "int64",
                "started_at": INSTANT,
                "completed_at": INSTANT,
                "time_spent_minutes": "int64",
            },
        ),
        attempts=frame_of(
            [(row.user_id, row.id, row.completed_at, row.score, row.score is not None) for row in attempts],
            {
                "user_id": "int64",
                "attempt_id": "int64",
                "completed_at": INSTANT,
                "score": "float64",
                "is_scored": "bool",
            },
        ),
        exercises=frame_of(
            [(row.user_id, row.created_at) for row in exercises], {"user_id": "int64", "created_at": INSTANT}
        ),
    )


def frame_of(rows: Iterable[tuple[object, ...]], dtypes: dict[str, str]) -> pd.DataFrame:
    """Return a frame of `rows` with these columns and dtypes, also when there are no rows."""
    # Column by column: pandas would convert large ids to float64 if a tuple had a missing value.
    columns = list(zip(*rows, strict=True)) or [()] * len(dtypes)
    return pd.DataFrame(
        {
            name: pd.Series(list(values), dtype=dtype)
            for (name, dtype), values in zip(dtypes.items(), columns, strict=True)
        }
    )


def is_within(instant: datetime | None, start: datetime, end: datetime) -> bool:
    """Return whether the instant exists and is in `[start, end)`."""
    return instant is not None and start <= instant < end


def _instants(row: Progress) -> tuple[datetime | None, datetime | None]:
    return row.started_at, row.completed_at


def first_started_at(student: Student) -> datetime | None:
    """Return the earliest `started_at` of the student's rows; None if there is none."""
    return min((dated.row.started_at for dated in student.progress if dated.row.started_at is not None), default=None)

"""Convert plain rows to `StudentHistory`, the input of `compute_snapshots`: all rows, or only the required ones.

The rows are corrected by the code under test, as when they are read from a database.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd

from snapshot_pipeline.metrics.corrections import (
    NOT_A_NUMBER,
    attempt_issues,
    correct_attempts,
    correct_exercises,
    correct_progress,
    issue_frame,
    progress_issues,
)
from snapshot_pipeline.metrics.events import StudentHistory
from snapshot_pipeline_tests.reference.days import end_of_day, start_of_day
from snapshot_pipeline_tests.reference.rows import Attempt, Exercise, PlatformRows, Progress, Student, valid

INSTANT = "datetime64[us, UTC]"


def full_history(rows: PlatformRows, zone: ZoneInfo) -> StudentHistory:
    """Return all rows of all active students, needed or not; `last_activity_before` is always NaT."""
    ids = {student.user.id for student in rows.active_students(zone)}
    return _history(
        rows,
        zone,
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
        needed_lessons = {
            row.lesson_id
            for row in rows.user_lesson_progress
            if row.user_id == student.user.id
            and (is_within(row.started_at, window_start, end) or is_within(row.completed_at, window_start, end))
        }
        older_scores = [
            attempt.row
            for attempt in student.attempts
            if attempt.score is not None and attempt.row.completed_at is not None and attempt.row.completed_at < start
        ]
        kept_attempts = [dated.row for dated in student.attempts if is_within(dated.row.completed_at, start, end)]
        kept_attempts += older_scores[:10]
        submissions = [
            row
            for row in rows.exercise_submissions
            if row.user_id == student.user.id and valid(rows.moment, row.created_at)
        ]
        kept_exercises = [row for row in submissions if is_within(row.created_at, start, end)]
        removed = [
            *(
                at
                for lesson in student.progress
                if lesson.row.lesson_id not in needed_lessons
                for at in (lesson.row.started_at, lesson.row.completed_at)
            ),
            *(dated.row.completed_at for dated in student.attempts if dated.row not in kept_attempts),
            *(row.created_at for row in submissions if row not in kept_exercises),
        ]
        before = max((at for at in removed if at is not None and at < start), default=None)
        students.append((student.user.id, first_started_at(student), before))
        progress += [
            row
            for row in rows.user_lesson_progress
            if row.user_id == student.user.id and row.lesson_id in needed_lessons
        ]
        attempts += kept_attempts
        exercises += kept_exercises
    return _history(rows, zone, students, progress, attempts, exercises)


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
        selected(history.students),
        selected(history.progress),
        selected(history.attempts),
        selected(history.exercises),
        selected(history.issues),
    )


def shuffled(rows: PlatformRows, seed: int) -> PlatformRows:
    """Return the same rows in another order."""
    generator = random.Random(seed)  # noqa: S311
    names = ("users", "user_lesson_progress", "quiz_attempts", "exercise_submissions")
    return replace(rows, **{name: generator.sample(getattr(rows, name), len(getattr(rows, name))) for name in names})


def _history(
    rows: PlatformRows,
    zone: ZoneInfo,
    students: list[tuple[int, datetime | None, datetime | None]],
    progress: list[Progress],
    attempts: list[Attempt],
    exercises: list[Exercise],
) -> StudentHistory:
    copies = Counter(
        (row.user_id, row.lesson_id)
        for row in rows.user_lesson_progress
        if valid(rows.moment, row.started_at) or valid(rows.moment, row.completed_at)
    )
    progress_rows = frame_of(
        [
            (
                row.user_id,
                row.lesson_id,
                row.started_at,
                row.completed_at,
                whole_minutes(row),
                copies[row.user_id, row.lesson_id],
            )
            for row in progress
        ],
        {
            "user_id": "int64",
            "lesson_id": "int64",
            "started_at": INSTANT,
            "completed_at": INSTANT,
            "time_spent_minutes": "int64",
            "copies": "int64",
        },
    )
    attempt_rows = frame_of(
        [(row.user_id, row.id, row.completed_at, row.score, row.score is not None) for row in attempts],
        {
            "user_id": "int64",
            "attempt_id": "int64",
            "completed_at": INSTANT,
            "score": "float64",
            "is_scored": "bool",
        },
    )
    exercise_rows = frame_of(
        [(row.user_id, row.created_at) for row in exercises], {"user_id": "int64", "created_at": INSTANT}
    )
    issues = [*progress_issues(progress_rows, rows.moment, zone), *attempt_issues(attempt_rows, rows.moment, zone)]
    return StudentHistory(
        students=frame_of(students, {"user_id": "int64", "first_started_at": INSTANT, "last_activity_before": INSTANT}),
        progress=correct_progress(progress_rows, rows.moment),
        attempts=correct_attempts(attempt_rows, rows.moment, rows.score_maximum),
        exercises=correct_exercises(exercise_rows, rows.moment),
        issues=issue_frame(issues),
    )


def whole_minutes(row: Progress) -> int:
    """Return the minutes as the database's query returns them."""
    minutes = row.time_spent_minutes or 0
    return NOT_A_NUMBER if math.isnan(minutes) else int(minutes)


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


def first_started_at(student: Student) -> datetime | None:
    """Return the earliest start of the student's lessons; None if there is none."""
    return min((lesson.start for lesson in student.progress), default=None)

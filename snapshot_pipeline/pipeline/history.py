"""Read what the snapshots of a batch of students need, as a `StudentHistory`."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snapshot_pipeline.metrics.days import LocalDays, end_of_day
from snapshot_pipeline.metrics.events import StudentHistory
from snapshot_pipeline.metrics.quiz_average import ATTEMPTS
from snapshot_pipeline.platform.reads import PlatformReader, Users


def read_history(reader: PlatformReader, users: Users, days: LocalDays) -> StudentHistory:
    """Read what the days need of some students, in a handful of queries.

    Args:
        reader: An open session, so that all frames show the same state of the platform.
    """
    students = reader.students(users)
    user_ids = np.sort(students["user_id"].to_numpy(np.int64))
    progress = _select(user_ids, reader.progress(users, days.window_start, days.end))
    exercises = _select(user_ids, reader.exercises(users, days.window_start, days.end))
    recent = _select(user_ids, reader.attempts(users, days.window_start, days.end))
    first_end = end_of_day(days.first, days.zone)
    lacking = _lacking_attempts(user_ids, recent, first_end)
    some = lacking > 0
    older = reader.last_scored_attempts(user_ids[some].tolist(), lacking[some].tolist(), days.window_start)
    attempts = pd.concat([recent, older], ignore_index=True)
    started = students.loc[students["first_started_at"] < days.end, "user_id"]
    # Students with activity in the window up to the first day need no look-up of their last activity.
    active = [
        frame.loc[frame[column].between(days.window_start, first_end, inclusive="left"), "user_id"]
        for frame, column in (
            (progress, "started_at"),
            (progress, "completed_at"),
            (attempts, "completed_at"),
            (exercises, "created_at"),
        )
    ]
    inactive = started[~started.isin(pd.concat(active))]
    activity = reader.last_activity(inactive.tolist(), days.window_start)
    last_activity = activity.set_index("user_id")["last_activity_at"].reindex(students["user_id"])
    return StudentHistory(
        students=pd.DataFrame(
            {
                "user_id": students["user_id"],
                "first_started_at": students["first_started_at"],
                "last_activity_before": last_activity.reset_index(drop=True),
            }
        ),
        progress=progress,
        attempts=attempts,
        exercises=exercises,
    )


def empty_history() -> StudentHistory:
    """The history of no students."""
    ids = np.zeros(0, dtype=np.int64)
    instants = pd.DatetimeIndex([], dtype="datetime64[us, UTC]")
    progress = {"user_id": ids, "lesson_id": ids, "started_at": instants, "completed_at": instants}
    attempts = {"user_id": ids, "attempt_id": ids, "completed_at": instants, "score": np.zeros(0)}
    return StudentHistory(
        students=pd.DataFrame({"user_id": ids, "first_started_at": instants, "last_activity_before": instants}),
        progress=pd.DataFrame({**progress, "time_spent_minutes": ids}),
        attempts=pd.DataFrame({**attempts, "is_scored": np.zeros(0, dtype=bool)}),
        exercises=pd.DataFrame({"user_id": ids, "created_at": instants}),
    )


def _lacking_attempts(user_ids: NDArray[np.int64], recent: pd.DataFrame, first_end: datetime) -> NDArray[np.int64]:
    """How many attempts before the window each student's average of the first day needs; int64, shape (students,).

    Later days need no more: each uses the newest ten, and newer ones are all in the window.
    """
    scored = recent.loc[recent["is_scored"] & (recent["completed_at"] < first_end), "user_id"].to_numpy(np.int64)
    known = np.bincount(np.searchsorted(user_ids, scored), minlength=len(user_ids))
    return np.maximum(ATTEMPTS - known, 0)


def _select(user_ids: NDArray[np.int64], frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of these students; teachers and inactive students are in the same range of ids."""
    return frame[np.isin(frame["user_id"].to_numpy(np.int64), user_ids)]

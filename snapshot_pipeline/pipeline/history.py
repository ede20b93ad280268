"""Read what the snapshots of a batch of students need, corrected, as a `StudentHistory`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snapshot_pipeline.metrics.corrections import (
    ATTEMPTS,
    PROGRESS,
    Issue,
    attempt_issues,
    correct_attempts,
    correct_exercises,
    correct_progress,
    issue_frame,
    progress_issues,
)
from snapshot_pipeline.metrics.days import LocalDays, end_of_day
from snapshot_pipeline.metrics.events import StudentHistory
from snapshot_pipeline.metrics.quiz_average import WEIGHTS
from snapshot_pipeline.platform.reads import PlatformReader, Users


@dataclass(frozen=True)
class ListedRows:
    """Rows that are listed in `data_issues`, to be read again, wherever they are.

    Attributes:
        lessons: Ids of students and of lessons.
        attempts: Ids of attempts.
    """

    lessons: tuple[tuple[int, int], ...] = ()
    attempts: tuple[int, ...] = ()

    @classmethod
    def of(cls, keys: pd.DataFrame) -> ListedRows:
        """The rows of `source_table` and `source_key`."""
        rows = set(zip(keys["source_table"], keys["source_key"], strict=True))
        lessons = [key.split("/") for table, key in rows if table == PROGRESS]
        attempts = sorted(int(key) for table, key in rows if table == ATTEMPTS)
        return cls(tuple(sorted((int(user_id), int(lesson_id)) for user_id, lesson_id in lessons)), tuple(attempts))


def read_history(
    reader: PlatformReader,
    users: Users,
    days: LocalDays,
    listed: ListedRows | None = None,
    cohorts: pd.DataFrame | None = None,
) -> StudentHistory:
    """Read what the days need of some students, in a handful of queries.

    Args:
        reader: An open session, so that all frames show the same state of the platform.
        listed: More rows whose issues to look for.
        cohorts: `user_id`, `specialization`, `level` of these users, to read what the engagement score needs, too.
    """
    moment, score_maximum = reader.rules.moment, reader.rules.score_maximum
    students = reader.students(users, days.window_start)
    user_ids = np.sort(students["user_id"].to_numpy(np.int64))
    progress_rows = _select(user_ids, reader.progress(users, days.window_start, days.end))
    progress = correct_progress(progress_rows, moment)
    exercises = correct_exercises(_select(user_ids, reader.exercises(users, days.window_start, days.end)), moment)
    # For the engagement all attempts are needed; then they are read once.
    since = days.window_start if cohorts is None else None
    attempt_rows = _select(user_ids, reader.attempts(users, since, days.end))
    all_attempts = correct_attempts(attempt_rows, moment, score_maximum)
    recent = all_attempts[all_attempts["completed_at"] >= days.window_start]
    first_end = end_of_day(days.first, days.zone)
    lacking = _lacking_attempts(user_ids, recent, first_end)
    if cohorts is None:
        some = lacking > 0
        older_rows = reader.last_scored_attempts(user_ids[some].tolist(), lacking[some].tolist(), days.window_start)
        older = correct_attempts(older_rows, moment, score_maximum)
    else:
        older = _last_scored(all_attempts[all_attempts["completed_at"] < days.window_start], user_ids, lacking)
        older_rows = attempt_rows.loc[older.index]
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
    issues = [
        *progress_issues(progress_rows, moment, days.zone),
        *attempt_issues(attempt_rows[attempt_rows["completed_at"] >= days.window_start], moment, days.zone),
        *attempt_issues(older_rows, moment, days.zone),
        *_listed_issues(reader, user_ids, days, listed or ListedRows()),
    ]
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
        issues=issue_frame(issues),
        cohorts=cohorts,
        counted_attempts=None if cohorts is None else all_attempts[reader.count_for_engagement(all_attempts, cohorts)],
    )


def empty_history() -> StudentHistory:
    ids = np.zeros(0, dtype=np.int64)
    instants = pd.DatetimeIndex([], dtype="datetime64[us, UTC]")
    times = {"started_at": instants, "completed_at": instants, "start": instants}
    attempts = {"user_id": ids, "attempt_id": ids, "completed_at": instants, "score": np.zeros(0)}
    return StudentHistory(
        students=pd.DataFrame({"user_id": ids, "first_started_at": instants, "last_activity_before": instants}),
        progress=pd.DataFrame({"user_id": ids, "lesson_id": ids, **times, "time_spent_minutes": ids}),
        attempts=pd.DataFrame({**attempts, "is_scored": np.zeros(0, dtype=bool)}),
        exercises=pd.DataFrame({"user_id": ids, "created_at": instants}),
    )


def _listed_issues(
    reader: PlatformReader, user_ids: NDArray[np.int64], days: LocalDays, listed: ListedRows
) -> list[Issue]:
    """The issues that the listed rows still have."""
    issues: list[Issue] = []
    if listed.lessons:
        students, lessons = zip(*listed.lessons, strict=True)
        rows = _select(user_ids, reader.progress_of(students, lessons))
        issues += progress_issues(rows, reader.rules.moment, days.zone)
    if listed.attempts:
        rows = _select(user_ids, reader.attempts_of(listed.attempts))
        issues += attempt_issues(rows, reader.rules.moment, days.zone)
    return issues


def _lacking_attempts(user_ids: NDArray[np.int64], recent: pd.DataFrame, first_end: datetime) -> NDArray[np.int64]:
    """How many attempts before the window each student's average of the first day needs; int64, shape (students,).

    Later days need no more: each uses the newest ten, and newer ones are all in the window.
    """
    scored = recent.loc[recent["is_scored"] & (recent["completed_at"] < first_end), "user_id"].to_numpy(np.int64)
    known = np.bincount(pd.Index(user_ids).get_indexer(pd.Index(scored)), minlength=len(user_ids))
    return np.maximum(len(WEIGHTS) - known, 0)


def _last_scored(attempts: pd.DataFrame, user_ids: NDArray[np.int64], counts: NDArray[np.int64]) -> pd.DataFrame:
    """The last scored attempts of each student, as many as `counts` says; both have the shape (students,)."""
    rows = np.searchsorted(user_ids, attempts["user_id"].to_numpy(np.int64))
    wanted = np.flatnonzero(attempts["is_scored"].to_numpy(bool) & (counts[rows] > 0))
    attempts, rows = attempts.iloc[wanted], rows[wanted]
    instants = attempts["completed_at"].to_numpy("datetime64[us]").view(np.int64)
    order = np.lexsort((attempts["attempt_id"].to_numpy(np.int64), instants, rows))
    rows = rows[order]
    later = np.searchsorted(rows, rows, side="right") - np.arange(len(rows)) - 1
    return attempts.iloc[order[later < counts[rows]]]


def _select(user_ids: NDArray[np.int64], frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of these students; teachers and inactive students are in the same range of ids."""
    return frame[np.isin(frame["user_id"].to_numpy(np.int64), user_ids)]

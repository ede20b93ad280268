"""The history of a batch of students as arrays: students as rows of the grid, instants as day indices.

Put here: how the frames that are read become what the figures are computed of. Do not put here: any figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from snapshot_pipeline.metrics.days import LEAD_DAYS, LocalDays
from snapshot_pipeline.metrics.grid import Flags, Ints, Shape, latest_by_day
from snapshot_pipeline.metrics.history import StudentHistory
from snapshot_pipeline.metrics.pace import window_lengths


@dataclass(frozen=True)
class Events:
    """The events of some students, of the days computed and of the lead days before them.

    Attributes:
        user_ids: int64, ascending, shape (students,).
        shape: (students, days) of the grid, lead days included.
        begun: Who has started a lesson at all, shape (students,).
        first_start: Day index of the first start, shape (students,).
        activity_before: The instant of the latest activity before the first day computed, shape (students,).
        progress: The progress rows as they were read; of each, in `progress_students`, the row of the grid, in
            `start_days` and `completion_days` the day index, in `minutes` and `completed_before_started` what they say.
        attempt_students: The row of the grid of each attempt; its day index in `attempt_days`.
        scored: The scored attempts, by student, oldest first; of each, in `scored_students` the row of the grid, in
            `scored_days` the day index.
        exercise_students: The row of the grid of each exercise; its day index in `exercise_days`.
    """

    user_ids: Ints
    shape: Shape
    begun: Flags
    first_start: Ints
    activity_before: Ints
    progress: pd.DataFrame
    progress_students: Ints
    start_days: Ints
    completion_days: Ints
    minutes: Ints
    completed_before_started: Flags
    attempt_students: Ints
    attempt_days: Ints
    scored: pd.DataFrame
    scored_students: Ints
    scored_days: Ints
    exercise_students: Ints
    exercise_days: Ints

    @property
    def computed_days(self) -> Ints:
        """The indices of the days computed."""
        return np.arange(LEAD_DAYS, self.shape[1])

    @property
    def due(self) -> Flags:
        """Who gets a row for which day: those whose first start is before its end; shape (students, days)."""
        return self.begun[:, None] & (self.first_start[:, None] <= self.computed_days[None, :])

    @cached_property
    def lengths(self) -> Ints:
        """Days in the window of each student and computed day, shape (students, days)."""
        return window_lengths(self.first_start, self.computed_days)

    @cached_property
    def places(self) -> Ints:
        """How many scored attempts of the same student stand before each, shape (scored attempts,)."""
        students = self.scored_students
        return np.arange(len(students)) - np.searchsorted(students, students, side="left")

    @cached_property
    def newest_score(self) -> Ints:
        """The number of the newest scored attempt of each student and computed day; -1 where there is none."""
        return latest_by_day(self.scored_students, self.scored_days, self.shape)[:, LEAD_DAYS:]

    @classmethod
    def of(cls, history: StudentHistory, days: LocalDays) -> Events:
        """The events of the students of `history`, around `days`."""
        students = history.students.sort_values("user_id")
        user_ids = students["user_id"].to_numpy(np.int64)
        progress_students = _rows_of(user_ids, history.progress)
        started, completed = _instants(history.progress["started_at"]), _instants(history.progress["completed_at"])
        attempt_students = _rows_of(user_ids, history.attempts)
        attempted, submitted = _instants(history.attempts["completed_at"]), _instants(history.exercises["created_at"])
        exercise_students = _rows_of(user_ids, history.exercises)
        scored = _in_order(history.attempts, attempt_students, attempted)
        activity_before = _instants(students["last_activity_before"]).copy()
        first_instant = days.boundaries[LEAD_DAYS]
        for rows, instants in (
            (progress_students, started),
            (progress_students, completed),
            (attempt_students, attempted),
            (exercise_students, submitted),
        ):
            before = instants < first_instant
            np.maximum.at(activity_before, rows[before], instants[before])
        return cls(
            user_ids=user_ids,
            shape=(len(user_ids), days.count + LEAD_DAYS),
            begun=students["first_started_at"].notna().to_numpy(),
            first_start=days.index_of(_instants(students["first_started_at"])),
            activity_before=activity_before,
            progress=history.progress,
            progress_students=progress_students,
            start_days=days.index_of(started),
            completion_days=days.index_of(completed),
            minutes=history.progress["time_spent_minutes"].to_numpy(np.int64),
            completed_before_started=(completed < started) & (completed != _MISSING),
            attempt_students=attempt_students,
            attempt_days=days.index_of(attempted),
            scored=history.attempts.iloc[scored],
            scored_students=attempt_students[scored],
            scored_days=days.index_of(attempted[scored]),
            exercise_students=exercise_students,
            exercise_days=days.index_of(submitted),
        )


_MISSING = np.iinfo(np.int64).min
"""NaT as an integer: earlier than every instant, so its day index is -1."""


def _instants(column: pd.Series) -> Ints:
    """Microseconds since 1970 UTC; `_MISSING` where there is none."""
    return column.to_numpy(dtype="datetime64[us]").view(np.int64)


def _rows_of(user_ids: Ints, frame: pd.DataFrame) -> Ints:
    """The row of the grid of each event: the place of its student among all, ascending."""
    return np.searchsorted(user_ids, frame["user_id"].to_numpy(np.int64))


def _in_order(attempts: pd.DataFrame, students: Ints, instants: Ints) -> Ints:
    """The positions of the scored attempts that were completed, by student, oldest first."""
    is_scored = attempts["is_scored"].to_numpy(dtype=bool)
    positions = np.flatnonzero(is_scored & (instants != _MISSING))
    ids = attempts["attempt_id"].to_numpy(np.int64)
    return positions[np.lexsort((ids[positions], instants[positions], students[positions]))]

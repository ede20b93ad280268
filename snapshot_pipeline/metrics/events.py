"""The corrected rows of a batch of students, and the same as arrays: students as grid rows, instants as day indices."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snapshot_pipeline.metrics.corrections import issue_frame, local_dates
from snapshot_pipeline.metrics.days import LEAD_DAYS, LocalDays
from snapshot_pipeline.metrics.grid import Flags, Ints, Shape, inside, latest_by_day, sum_by_day
from snapshot_pipeline.metrics.pace import window_lengths


@dataclass(frozen=True)
class StudentHistory:
    """The corrected rows of a batch of active students, as frames in any order; see `metrics.corrections`.

    Instants are `datetime64[us, UTC]`, ids `int64`. The frames contain at least the rows that the computed days
    `first … last` need, and may contain more of the same students: other rows change no figure.

    Attributes:
        students: `user_id` (unique), `first_started_at` (NaT: no lesson started), `last_activity_before` (the latest
            activity before `first` that is not in the other frames; NaT if there is none, or if it cannot be the latest
            on any of the days).
        progress: `user_id`, `lesson_id`, `started_at` and `completed_at` as recorded (NaT: not yet), `start` (the
            lesson's start), `time_spent_minutes` (int64). Rows started or completed on the days `first - 29 … last`.
        attempts: `user_id`, `attempt_id`, `completed_at`, `score` (float64, in percent), `is_scored` (bool; false: not
            graded). Those completed on `first … last`, and the last ten scored ones before `first`.
        exercises: `user_id`, `created_at`. Those of `first … last`.
        issues: The invalid rows among those that were read, see `corrections.issue_frame`.
        cohorts: `user_id`, `specialization`, `level` of at least these students; None if no engagement is needed.
        counted_attempts: `user_id`, `quiz_id`, `attempt_id`, `completed_at`, `score`, `is_scored` of all attempts up to
            `last` that count for the engagement; None if none is needed.
    """

    students: pd.DataFrame
    progress: pd.DataFrame
    attempts: pd.DataFrame
    exercises: pd.DataFrame
    issues: pd.DataFrame = field(default_factory=issue_frame)
    cohorts: pd.DataFrame | None = None
    counted_attempts: pd.DataFrame | None = None


@dataclass(frozen=True)
class Events:
    """The events of some students, on the computed days and the lead days before them.

    Attributes:
        user_ids: int64, ascending, shape (students,).
        shape: (students, days) of the grid, lead days included.
        has_started: Whether the student has started any lesson, shape (students,).
        first_start: Day index of the first start, shape (students,).
        activity_before: The instant of the latest activity before the first computed day, shape (students,).
        progress_students: Grid rows of the lessons; their day indices are in `start_days` (of the lesson's start),
            `recorded_start_days` (of `started_at`) and `completion_days`.
        minutes: Minutes of each lesson, at most those from its start to the end of that day.
        day_minutes: The length of each day of the grid, shape (days,).
        attempt_students: Grid rows of the attempts; their day indices are in `attempt_days`.
        scored: The scored attempts by student, oldest first; their grid rows are in `scored_students`, their day
            indices in `scored_days`.
        exercise_students: Grid rows of the exercises; their day indices are in `exercise_days`.
    """

    user_ids: Ints
    shape: Shape
    has_started: Flags
    first_start: Ints
    activity_before: Ints
    progress_students: Ints
    start_days: Ints
    recorded_start_days: Ints
    completion_days: Ints
    minutes: Ints
    day_minutes: Ints
    attempt_students: Ints
    attempt_days: Ints
    scored: pd.DataFrame
    scored_students: Ints
    scored_days: Ints
    exercise_students: Ints
    exercise_days: Ints

    @property
    def computed_days(self) -> Ints:
        """The indices of the computed days."""
        return np.arange(LEAD_DAYS, self.shape[1])

    @property
    def due(self) -> Flags:
        """Whether a snapshot is due: the first start is before the end of the day; shape (students, computed days)."""
        return self.has_started[:, None] & (self.first_start[:, None] <= self.computed_days[None, :])

    @cached_property
    def lengths(self) -> Ints:
        """Days in the window of each student and computed day, shape (students, computed days)."""
        return window_lengths(self.first_start, self.computed_days)

    @cached_property
    def attempt_rank(self) -> Ints:
        """Number of earlier scored attempts of the same student, shape (scored attempts,)."""
        students = self.scored_students
        return np.arange(len(students)) - np.searchsorted(students, students, side="left")

    @cached_property
    def newest_score(self) -> Ints:
        """Position of the newest scored attempt of each student and computed day; -1 if there is none."""
        return latest_by_day(self.scored_students, self.scored_days, self.shape)[:, LEAD_DAYS:]

    @cached_property
    def minutes_by_day(self) -> Ints:
        """Minutes of each student and computed day, at most the length of the day; shape (students, computed days)."""
        shape = (self.shape[0], len(self.computed_days))
        sums = sum_by_day(self.progress_students, self.start_days - LEAD_DAYS, self.minutes, shape)
        return np.minimum(sums, self.day_minutes[LEAD_DAYS:])

    @cached_property
    def active(self) -> Flags:
        """Whether the student started or completed a lesson, as recorded, attempted a quiz or submitted an exercise.

        Shape (students, days).
        """
        active = np.zeros(self.shape, dtype=bool)
        for students, indices in (
            (self.progress_students, self.recorded_start_days),
            (self.progress_students, self.completion_days),
            (self.attempt_students, self.attempt_days),
            (self.exercise_students, self.exercise_days),
        ):
            inner = inside(indices, self.shape)
            active[students[inner], indices[inner]] = True
        return active

    def last_activity_dates(self, days: LocalDays) -> NDArray[np.datetime64]:
        """The latest local date with activity up to the end of each computed day; NaT without any.

        Returns:
            `datetime64[s]`, shape (students, computed days).
        """
        active = self.active[:, LEAD_DAYS:]
        latest = np.maximum.accumulate(np.where(active, np.arange(days.count), -1), axis=1)
        dates = np.datetime64(days.first, "s") + latest.astype("timedelta64[D]")
        before = pd.Series(pd.DatetimeIndex(self.activity_before.view("datetime64[us]")).tz_localize("UTC"))
        return np.where(latest >= 0, dates, local_dates(before, days.zone)[:, None])

    @classmethod
    def of(cls, history: StudentHistory, days: LocalDays) -> Events:
        """Convert the rows of a history."""
        students = history.students.sort_values("user_id")
        user_ids = students["user_id"].to_numpy(np.int64)
        progress_students = _grid_rows(user_ids, history.progress)
        started, completed = _instants(history.progress["started_at"]), _instants(history.progress["completed_at"])
        start_instants = _instants(history.progress["start"])
        start_days = days.index_of(start_instants)
        attempt_students = _grid_rows(user_ids, history.attempts)
        attempted, submitted = _instants(history.attempts["completed_at"]), _instants(history.exercises["created_at"])
        exercise_students = _grid_rows(user_ids, history.exercises)
        scored = _sort_scored(history.attempts, attempt_students, attempted)
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
            has_started=students["first_started_at"].notna().to_numpy(),
            first_start=days.index_of(_instants(students["first_started_at"])),
            activity_before=activity_before,
            progress_students=progress_students,
            start_days=start_days,
            recorded_start_days=days.index_of(started),
            completion_days=days.index_of(completed),
            minutes=np.minimum(
                history.progress["time_spent_minutes"].to_numpy(np.int64),
                (days.boundaries.take(start_days + 1, mode="clip") - start_instants) // MICROSECONDS_PER_MINUTE,
            ),
            day_minutes=np.diff(days.boundaries) // MICROSECONDS_PER_MINUTE,
            attempt_students=attempt_students,
            attempt_days=days.index_of(attempted),
            scored=history.attempts.iloc[scored],
            scored_students=attempt_students[scored],
            scored_days=days.index_of(attempted[scored]),
            exercise_students=exercise_students,
            exercise_days=days.index_of(submitted),
        )


MICROSECONDS_PER_MINUTE = 60_000_000

_MISSING = np.iinfo(np.int64).min
"""NaT as an integer: earlier than every instant, so its day index is -1."""


def _instants(column: pd.Series) -> Ints:
    """Microseconds since 1970 UTC; `_MISSING` for NaT."""
    return column.to_numpy(dtype="datetime64[us]").view(np.int64)


def _grid_rows(user_ids: Ints, frame: pd.DataFrame) -> Ints:
    """The grid row of each event: the position of its student among all."""
    rows: Ints = pd.Index(user_ids).get_indexer(pd.Index(frame["user_id"]))
    return rows


def _sort_scored(attempts: pd.DataFrame, students: Ints, instants: Ints) -> Ints:
    """Positions of the completed scored attempts, by student, oldest first."""
    is_scored = attempts["is_scored"].to_numpy(dtype=bool)
    positions = np.flatnonzero(is_scored & (instants != _MISSING))
    ids = attempts["attempt_id"].to_numpy(np.int64)
    return positions[np.lexsort((ids[positions], instants[positions], students[positions]))]

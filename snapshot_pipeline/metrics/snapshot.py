"""The snapshots of a batch of students over a range of days: every figure of `metrics.md`, in one pass.

Put here: how the figures are put together into rows. A new metric is one function in a module of its own, one line in
`_published`, one column in `store.tables`.
Do not put here: how a single figure is computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snapshot_pipeline.metrics.days import LEAD_DAYS, LocalDays
from snapshot_pipeline.metrics.faults import (
    COMPLETED_BEFORE_STARTED,
    NEGATIVE_TIME_SPENT,
    Fault,
    wrong_progress,
    wrong_scores,
)
from snapshot_pipeline.metrics.grid import (
    Flags,
    Floats,
    Ints,
    Shape,
    count_by_day,
    latest_by_day,
    sum_by_day,
    window_sums,
)
from snapshot_pipeline.metrics.history import StudentHistory
from snapshot_pipeline.metrics.pace import PaceTerms, learning_paces, window_lengths
from snapshot_pipeline.metrics.quiz_average import running_averages
from snapshot_pipeline.metrics.rounding import round_half_away


@dataclass(frozen=True)
class SnapshotBatch:
    """What the days of a batch of students come to; both frames are sorted by student, then day.

    Attributes:
        published: `user_id` int64, `snapshot_date` datetime64[s], `pace_score` float64, `learning_pace` object,
            `quiz_average` float64 (NaN: no quiz yet), `lessons_completed_count`, `time_spent_minutes_today`,
            `quizzes_completed_count`, `exercises_submitted_count` int64, `last_activity_date` datetime64[s].
        failures: `user_id` int64, `snapshot_date` datetime64[s], `reason`, `detail` object. A student's day is in one
            of the two frames, or in neither where it is not due.
    """

    published: pd.DataFrame
    failures: pd.DataFrame


def compute_snapshots(history: StudentHistory, days: LocalDays) -> SnapshotBatch:
    """Compute the snapshots of all students of `history` for all of `days`.

    Args:
        history: The batch's students, all of them active, and their events.
        days: The days to compute.

    Returns:
        One published row or one failure for each student and day on which the student has begun.
    """
    events = _Events.of(history, days)
    lengths = window_lengths(events.first_start, events.computed_days)
    newest_score = latest_by_day(events.scored_students, events.scored_days, events.shape)[:, LEAD_DAYS:]
    places = _places(events.scored_students)
    faults = (
        wrong_scores(events.scored, places, newest_score),
        _wrong_progress(NEGATIVE_TIME_SPENT, events.minutes < 0, events, lengths),
        _wrong_progress(COMPLETED_BEFORE_STARTED, events.completed_before_started, events, lengths),
    )
    failed = np.any([fault.rows >= 0 for fault in faults], axis=0)
    averages = _averages(events, places, newest_score)
    return SnapshotBatch(
        published=_published(events, days, lengths, averages, events.due & ~failed),
        failures=_failures(events, days, faults, events.due & failed),
    )


@dataclass(frozen=True)
class _Events:
    """The history as arrays: students as rows of the grid, instants as day indices."""

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

    @classmethod
    def of(cls, history: StudentHistory, days: LocalDays) -> _Events:
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


def _places(students: Ints) -> Ints:
    """How many rows of the same student stand before each row, of rows sorted by student."""
    return np.arange(len(students)) - np.searchsorted(students, students, side="left")


def _averages(events: _Events, places: Ints, newest: Ints) -> Floats:
    """The unrounded quiz average of each student and computed day; NaN where there is no scored attempt."""
    with np.errstate(invalid="ignore"):  # a score of infinity fails its student; its average is never shown
        after_each = running_averages(events.scored["score"].to_numpy(np.float64), places)
    return np.append(after_each, np.nan)[newest]


def _wrong_progress(reason: str, wrong: Flags, events: _Events, lengths: Ints) -> Fault:
    days = (events.start_days, events.completion_days)
    return wrong_progress(reason, wrong, events.progress, events.progress_students, days, lengths, events.shape)


def _published(events: _Events, days: LocalDays, lengths: Ints, averages: Floats, wanted: Flags) -> pd.DataFrame:
    lessons = count_by_day(events.progress_students, events.completion_days, events.shape)
    # Of the days before the first one only the lessons are needed day by day.
    shape = (events.shape[0], days.count)
    minutes = sum_by_day(events.progress_students, events.start_days - LEAD_DAYS, events.minutes, shape)
    started = count_by_day(events.progress_students, events.start_days - LEAD_DAYS, shape)
    quizzes = count_by_day(events.attempt_students, events.attempt_days - LEAD_DAYS, shape)
    exercises = count_by_day(events.exercise_students, events.exercise_days - LEAD_DAYS, shape)
    completed = lessons[:, LEAD_DAYS:]
    active = (completed > 0) | (started > 0) | (quizzes > 0) | (exercises > 0)
    lessons_in_window = window_sums(lessons, lengths)
    days_in_window = window_sums(lessons > 0, lengths)
    terms = PaceTerms.of(lessons_in_window, days_in_window, lengths, averages)
    scores = round_half_away(terms.scores[wanted])
    rows, columns = np.nonzero(wanted)
    return pd.DataFrame(
        {
            "user_id": events.user_ids[rows],
            "snapshot_date": _seconds(days.dates[columns]),
            "pace_score": scores,
            "learning_pace": learning_paces(scores),
            "quiz_average": round_half_away(averages[wanted]),
            "lessons_completed_count": completed[wanted],
            "time_spent_minutes_today": minutes[wanted],
            "quizzes_completed_count": quizzes[wanted],
            "exercises_submitted_count": exercises[wanted],
            "last_activity_date": _seconds(_last_active_dates(active, events.activity_before, days)[wanted]),
        }
    )


def _last_active_dates(active: Flags, activity_before: Ints, days: LocalDays) -> NDArray[np.datetime64]:
    """The latest date up to each computed day with any activity, `datetime64[D]`; NaT where there has been none.

    Args:
        active: Who did something on which computed day, shape (students, days).
        activity_before: The instant of each student's latest activity before the first day, shape (students,).
        days: The days.
    """
    latest = np.maximum.accumulate(np.where(active, np.arange(days.count), -1), axis=1)
    dates = np.datetime64(days.first, "D") + latest.astype("timedelta64[D]")
    before = pd.DatetimeIndex(activity_before.view("datetime64[us]")).tz_localize("UTC").tz_convert(days.zone)
    older_dates = before.tz_localize(None).to_numpy().astype("datetime64[D]")
    return np.where(latest >= 0, dates, older_dates[:, None])


def _failures(events: _Events, days: LocalDays, faults: tuple[Fault, ...], wanted: Flags) -> pd.DataFrame:
    rows, columns = np.nonzero(wanted)
    reasons = np.empty(len(rows), dtype=object)
    details = np.empty(len(rows), dtype=object)
    open_cells = np.ones(len(rows), dtype=bool)
    for fault in faults:
        to_blame = fault.rows[rows, columns]
        cells = np.flatnonzero(open_cells & (to_blame >= 0))
        named, which = np.unique(to_blame[cells], return_inverse=True)
        sentences = np.array([fault.describe(int(row)) for row in named], dtype=object)
        reasons[cells] = fault.reason
        if len(cells):
            details[cells] = sentences[which]
        open_cells[cells] = False
    return pd.DataFrame(
        {
            "user_id": events.user_ids[rows],
            "snapshot_date": _seconds(days.dates[columns]),
            "reason": reasons,
            "detail": details,
        }
    )


def _seconds(dates: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    return dates.astype("datetime64[s]")

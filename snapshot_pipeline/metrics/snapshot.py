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
from snapshot_pipeline.metrics.events import Events
from snapshot_pipeline.metrics.grid import (
    Counts,
    Flags,
    Floats,
    Ints,
    count_by_day,
    sum_by_day,
    window_sums,
)
from snapshot_pipeline.metrics.history import StudentHistory
from snapshot_pipeline.metrics.issues import (
    COMPLETED_BEFORE_STARTED,
    NEGATIVE_TIME_SPENT,
    Issue,
    wrong_progress,
    wrong_scores,
)
from snapshot_pipeline.metrics.pace import PaceTerms, learning_paces
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
    events = Events.of(history, days)
    faults = find_issues(events)
    failed = np.any([fault.rows >= 0 for fault in faults], axis=0)
    return SnapshotBatch(
        published=_published(events, days, events.due & ~failed),
        failures=_failures(events, days, faults, events.due & failed),
    )


def find_issues(events: Events) -> tuple[Issue, ...]:
    """The rows that cannot be right, by reason, in the order in which the reasons are reported."""
    return (
        wrong_scores(events.scored, events.places, events.newest_score),
        _wrong_progress(NEGATIVE_TIME_SPENT, events.minutes < 0, events),
        _wrong_progress(COMPLETED_BEFORE_STARTED, events.completed_before_started, events),
    )


def lessons_by_day(events: Events) -> Counts:
    """Lessons completed by each student on each day of the grid."""
    return count_by_day(events.progress_students, events.completion_days, events.shape)


def pace_terms(events: Events, lessons: Counts, averages: Floats) -> PaceTerms:
    """What the pace score of each student and computed day is made of.

    Args:
        events: The events.
        lessons: `lessons_by_day` of these.
        averages: `quiz_averages` of these.
    """
    return PaceTerms.of(
        window_sums(lessons, events.lengths), window_sums(lessons > 0, events.lengths), events.lengths, averages
    )


def quiz_averages(events: Events) -> Floats:
    """The unrounded quiz average of each student and computed day; NaN where there is no scored attempt."""
    with np.errstate(invalid="ignore"):  # a score of infinity fails its student; its average is never shown
        after_each = running_averages(events.scored["score"].to_numpy(np.float64), events.places)
    return np.append(after_each, np.nan)[events.newest_score]


def _wrong_progress(reason: str, wrong: Flags, events: Events) -> Issue:
    days = (events.start_days, events.completion_days)
    return wrong_progress(reason, wrong, events.progress, events.progress_students, days, events.lengths, events.shape)


def _published(events: Events, days: LocalDays, wanted: Flags) -> pd.DataFrame:
    lessons, averages = lessons_by_day(events), quiz_averages(events)
    # Of the days before the first one only the lessons are needed day by day.
    shape = (events.shape[0], days.count)
    minutes = sum_by_day(events.progress_students, events.start_days - LEAD_DAYS, events.minutes, shape)
    started = count_by_day(events.progress_students, events.start_days - LEAD_DAYS, shape)
    quizzes = count_by_day(events.attempt_students, events.attempt_days - LEAD_DAYS, shape)
    exercises = count_by_day(events.exercise_students, events.exercise_days - LEAD_DAYS, shape)
    completed = lessons[:, LEAD_DAYS:]
    active = (completed > 0) | (started > 0) | (quizzes > 0) | (exercises > 0)
    scores = round_half_away(pace_terms(events, lessons, averages).scores[wanted])
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


def _failures(events: Events, days: LocalDays, faults: tuple[Issue, ...], wanted: Flags) -> pd.DataFrame:
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

"""Compute the snapshots of a batch of students over a range of days, in one pass. Source: docs/metrics.md.

A new metric is one function in `metrics/`, one line in `_published`, one column in `store.tables`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from snapshot_pipeline.metrics.corrections import issue_frame
from snapshot_pipeline.metrics.days import LEAD_DAYS, LocalDays
from snapshot_pipeline.metrics.engagement import Participation
from snapshot_pipeline.metrics.events import Events, StudentHistory
from snapshot_pipeline.metrics.grid import (
    Counts,
    Floats,
    count_by_day,
    round_half_away,
    window_sums,
)
from snapshot_pipeline.metrics.pace import PaceTerms, learning_paces
from snapshot_pipeline.metrics.quiz_average import running_averages

UNEXPECTED_ERROR = "unexpected_error"
"""The reason of every failure: the computation of the student raised."""

FORMULA_VERSION = 1
"""Increase it with each change that alters a figure for the same rows; it is stored with each computed day."""


def _no_failures() -> pd.DataFrame:
    reasons = pd.DataFrame({"reason": np.empty(0, dtype=object), "detail": np.empty(0, dtype=object)})
    empty = np.empty(0, dtype="datetime64[s]")
    return pd.concat([pd.DataFrame({"user_id": np.empty(0, np.int64), "snapshot_date": empty}), reasons], axis=1)


@dataclass(frozen=True)
class SnapshotBatch:
    """The snapshots and failures of a batch; both frames are sorted by student, then day.

    Attributes:
        published: `user_id` int64, `snapshot_date` datetime64[s], `pace_score` float64, `learning_pace` object,
            `quiz_average` float64 (NaN: no quiz yet), `lessons_completed_count`, `time_spent_minutes_today`,
            `quizzes_completed_count`, `exercises_submitted_count` int64, `last_activity_date` datetime64[s],
            `days_since_activity` int64.
        failures: `user_id` int64, `snapshot_date` datetime64[s], `reason`, `detail` object: student-days whose
            computation raised. A student-day is in one of the two frames, or in neither if no snapshot is due.
        issues: The invalid rows that were read, see `corrections.issue_frame`.
        participation: What ranks the students in their cohorts; None if the history lacks it.
    """

    published: pd.DataFrame
    failures: pd.DataFrame = field(default_factory=_no_failures)
    issues: pd.DataFrame = field(default_factory=issue_frame)
    participation: Participation | None = None


def compute_snapshots(history: StudentHistory, days: LocalDays) -> SnapshotBatch:
    """Compute one snapshot for each student and day on which one is due."""
    events = Events.of(history, days)
    participation = None
    if history.cohorts is not None and history.counted_attempts is not None:
        participation = Participation.of(events, days, history.cohorts, history.counted_attempts)
    return SnapshotBatch(_published(events, days), issues=history.issues, participation=participation)


def lessons_by_day(events: Events) -> Counts:
    """Completed lessons per student and day of the grid."""
    return count_by_day(events.progress_students, events.completion_days, events.shape)


def pace_terms(events: Events, lessons: Counts, averages: Floats) -> PaceTerms:
    """The terms of the pace score of each student and computed day.

    Args:
        lessons: `lessons_by_day(events)`.
        averages: `quiz_averages(events)`.
    """
    return PaceTerms.of(
        window_sums(lessons, events.lengths), window_sums(lessons > 0, events.lengths), events.lengths, averages
    )


def quiz_averages(events: Events) -> Floats:
    """The unrounded quiz average of each student and computed day; NaN without a scored attempt."""
    after_each = running_averages(events.scored["score"].to_numpy(np.float64), events.attempt_rank)
    return np.append(after_each, np.nan)[events.newest_score]


def _published(events: Events, days: LocalDays) -> pd.DataFrame:
    selected, lessons, averages = events.due, lessons_by_day(events), quiz_averages(events)
    # The lead days are needed for lessons only.
    shape = (events.shape[0], days.count)
    quizzes = count_by_day(events.attempt_students, events.attempt_days - LEAD_DAYS, shape)
    exercises = count_by_day(events.exercise_students, events.exercise_days - LEAD_DAYS, shape)
    completed = lessons[:, LEAD_DAYS:]
    scores = round_half_away(pace_terms(events, lessons, averages).scores[selected])
    rows, columns = np.nonzero(selected)
    dates = days.dates[columns].astype("datetime64[s]")
    last_activity = events.last_activity_dates(days)[selected]
    return pd.DataFrame(
        {
            "user_id": events.user_ids[rows],
            "snapshot_date": dates,
            "pace_score": scores,
            "learning_pace": learning_paces(scores),
            "quiz_average": round_half_away(averages[selected]),
            "lessons_completed_count": completed[selected],
            "time_spent_minutes_today": events.minutes_by_day[selected],
            "quizzes_completed_count": quizzes[selected],
            "exercises_submitted_count": exercises[selected],
            "last_activity_date": last_activity,
            "days_since_activity": (dates - last_activity).astype("timedelta64[D]").astype(np.int64),
        }
    )

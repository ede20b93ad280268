"""Compute the snapshots of a batch of students over a range of days, in one pass. Source: docs/metrics.md.

A new metric is one function in `metrics/`, one line in `_published`, one column in `store.tables`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snapshot_pipeline.metrics.days import LEAD_DAYS, LocalDays
from snapshot_pipeline.metrics.events import Events, StudentHistory
from snapshot_pipeline.metrics.grid import (
    Counts,
    Flags,
    Floats,
    Ints,
    count_by_day,
    round_half_away,
    sum_by_day,
    window_sums,
)
from snapshot_pipeline.metrics.issues import (
    COMPLETED_BEFORE_STARTED,
    NEGATIVE_TIME_SPENT,
    Issue,
    progress_issues,
    score_issues,
)
from snapshot_pipeline.metrics.pace import PaceTerms, learning_paces
from snapshot_pipeline.metrics.quiz_average import running_averages


@dataclass(frozen=True)
class SnapshotBatch:
    """The snapshots and failures of a batch; both frames are sorted by student, then day.

    Attributes:
        published: `user_id` int64, `snapshot_date` datetime64[s], `pace_score` float64, `learning_pace` object,
            `quiz_average` float64 (NaN: no quiz yet), `lessons_completed_count`, `time_spent_minutes_today`,
            `quizzes_completed_count`, `exercises_submitted_count` int64, `last_activity_date` datetime64[s].
        failures: `user_id` int64, `snapshot_date` datetime64[s], `reason`, `detail` object. A student-day is in one
            of the two frames, or in neither if no snapshot is due.
    """

    published: pd.DataFrame
    failures: pd.DataFrame


def compute_snapshots(history: StudentHistory, days: LocalDays) -> SnapshotBatch:
    """Compute one snapshot or one failure for each student and day on which a snapshot is due."""
    events = Events.of(history, days)
    issues = find_issues(events)
    failed = np.any([issue.rows >= 0 for issue in issues], axis=0)
    return SnapshotBatch(
        published=_published(events, days, events.due & ~failed),
        failures=_failures(events, days, issues, events.due & failed),
    )


def find_issues(events: Events) -> tuple[Issue, ...]:
    """The invalid rows by reason, in order of precedence."""
    return (
        score_issues(events.scored, events.attempt_rank, events.newest_score),
        _progress_issues(NEGATIVE_TIME_SPENT, events.minutes < 0, events),
        _progress_issues(COMPLETED_BEFORE_STARTED, events.completed_before_started, events),
    )


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
    with np.errstate(invalid="ignore"):  # an infinite score fails its student, whose average is not published
        after_each = running_averages(events.scored["score"].to_numpy(np.float64), events.attempt_rank)
    return np.append(after_each, np.nan)[events.newest_score]


def _progress_issues(reason: str, invalid: Flags, events: Events) -> Issue:
    days = (events.start_days, events.completion_days)
    return progress_issues(
        reason, invalid, events.progress, events.progress_students, days, events.lengths, events.shape
    )


def _published(events: Events, days: LocalDays, selected: Flags) -> pd.DataFrame:
    lessons, averages = lessons_by_day(events), quiz_averages(events)
    # The lead days are needed for lessons only.
    shape = (events.shape[0], days.count)
    minutes = sum_by_day(events.progress_students, events.start_days - LEAD_DAYS, events.minutes, shape)
    started = count_by_day(events.progress_students, events.start_days - LEAD_DAYS, shape)
    quizzes = count_by_day(events.attempt_students, events.attempt_days - LEAD_DAYS, shape)
    exercises = count_by_day(events.exercise_students, events.exercise_days - LEAD_DAYS, shape)
    completed = lessons[:, LEAD_DAYS:]
    active = (completed > 0) | (started > 0) | (quizzes > 0) | (exercises > 0)
    scores = round_half_away(pace_terms(events, lessons, averages).scores[selected])
    rows, columns = np.nonzero(selected)
    return pd.DataFrame(
        {
            "user_id": events.user_ids[rows],
            "snapshot_date": _seconds(days.dates[columns]),
            "pace_score": scores,
            "learning_pace": learning_paces(scores),
            "quiz_average": round_half_away(averages[selected]),
            "lessons_completed_count": completed[selected],
            "time_spent_minutes_today": minutes[selected],
            "quizzes_completed_count": quizzes[selected],
            "exercises_submitted_count": exercises[selected],
            "last_activity_date": _seconds(_last_active_dates(active, events.activity_before, days)[selected]),
        }
    )


def _last_active_dates(active: Flags, activity_before: Ints, days: LocalDays) -> NDArray[np.datetime64]:
    """The latest date with activity up to each computed day, `datetime64[D]`; NaT without any.

    Args:
        active: Whether the student was active on the day, shape (students, computed days).
        activity_before: The instant of the latest activity before the first day, shape (students,).
    """
    latest = np.maximum.accumulate(np.where(active, np.arange(days.count), -1), axis=1)
    dates = np.datetime64(days.first, "D") + latest.astype("timedelta64[D]")
    before = pd.DatetimeIndex(activity_before.view("datetime64[us]")).tz_localize("UTC").tz_convert(days.zone)
    older_dates = before.tz_localize(None).to_numpy().astype("datetime64[D]")
    return np.where(latest >= 0, dates, older_dates[:, None])


def _failures(events: Events, days: LocalDays, issues: tuple[Issue, ...], selected: Flags) -> pd.DataFrame:
    rows, columns = np.nonzero(selected)
    reasons = np.empty(len(rows), dtype=object)
    details = np.empty(len(rows), dtype=object)
    unexplained = np.ones(len(rows), dtype=bool)
    for issue in issues:
        source_rows = issue.rows[rows, columns]
        explained = np.flatnonzero(unexplained & (source_rows >= 0))
        distinct, which = np.unique(source_rows[explained], return_inverse=True)
        descriptions = np.array([issue.describe(int(row)) for row in distinct], dtype=object)
        reasons[explained] = issue.reason
        if len(explained):
            details[explained] = descriptions[which]
        unexplained[explained] = False
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

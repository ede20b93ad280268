"""What each student did on the days that the recommendations need. Source: docs/metrics.md, "The recommendations"."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snapshot_pipeline.metrics.corrections import local_dates
from snapshot_pipeline.metrics.days import LEAD_DAYS, LocalDays
from snapshot_pipeline.metrics.events import Events, StudentHistory
from snapshot_pipeline.metrics.grid import count_by_day, inside

ACTIVITY_DAYS = 14
"""Days of lessons and exercises, the week's Sunday included."""

BREAK_DAYS = 3
"""Days of minutes, the week's Sunday included."""


def week_activity(history: StudentHistory, days: LocalDays) -> pd.DataFrame:
    """Summarize what each student did up to the end of a week.

    Args:
        history: The rows that the days need.
        days: The `ACTIVITY_DAYS` days that end with the week's Sunday.

    Returns:
        One row per student, by `user_id` (int64): `minutes` (int64, of the last `BREAK_DAYS` days), `lessons`
        and `exercises` (int64, of all days), `last_activity_date` (`datetime64[s]`, NaT without any activity).
    """
    events = Events.of(history, days)
    shape = (events.shape[0], days.count)
    lessons = count_by_day(events.progress_students, events.completion_days - LEAD_DAYS, shape)
    exercises = count_by_day(events.exercise_students, events.exercise_days - LEAD_DAYS, shape)
    return pd.DataFrame(
        {
            "user_id": events.user_ids,
            "minutes": events.minutes_by_day[:, -BREAK_DAYS:].sum(axis=1, dtype=np.int64),
            "lessons": lessons.sum(axis=1, dtype=np.int64),
            "exercises": exercises.sum(axis=1, dtype=np.int64),
            "last_activity_date": _last_activity_dates(events, days),
        }
    )


def _last_activity_dates(events: Events, days: LocalDays) -> NDArray[np.datetime64]:
    """The local date of each student's latest activity, `datetime64[s]`."""
    latest = np.full(len(events.user_ids), -1)
    for rows, indices in (
        (events.progress_students, events.recorded_start_days),
        (events.progress_students, events.completion_days),
        (events.attempt_students, events.attempt_days),
        (events.exercise_students, events.exercise_days),
    ):
        inner = inside(indices, events.shape)
        np.maximum.at(latest, rows[inner], indices[inner])
    dates = np.datetime64(days.first, "D") - LEAD_DAYS + latest
    before = pd.Series(pd.DatetimeIndex(events.activity_before.view("datetime64[us]")).tz_localize("UTC"))
    return np.where(latest >= 0, dates.astype("datetime64[s]"), local_dates(before, days.zone))

"""What each student did on the days that the recommendations need. Source: docs/metrics.md, "The recommendations"."""

from __future__ import annotations

import numpy as np
import pandas as pd

from snapshot_pipeline.metrics.days import LEAD_DAYS, LocalDays
from snapshot_pipeline.metrics.events import Events, StudentHistory
from snapshot_pipeline.metrics.grid import count_by_day

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
            "last_activity_date": events.last_activity_dates(days)[:, -1],
        }
    )

"""Facts: the input of the rules for one batch of students and one week."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import pandas as pd

_MONDAY = 0


@dataclass(frozen=True)
class WeekFacts:
    """What was known of a batch of active students at `end(S)`, where `S` is the Sunday of the week.

    Rows may be in any order, and any frame may be empty. Rows of users who are not in `students` are ignored. Ids are
    `int64`. Texts are `str` or `object` columns, whose null is None or NaN.

    Attributes:
        week_start: The Monday that names the week; `S` is six days later.
        students: `user_id` (unique), `specialization` (text or null), `level` (text or null), `has_started` (bool:
            started a lesson before `end(S)`). All active students of the batch, who are the recipients.
        snapshots: `user_id`, `snapshot_date` (`datetime64[s]`, midnight of the local date), `time_spent_minutes_today`,
            `lessons_completed_count`, `exercises_submitted_count` (integers), `last_activity_date` (`datetime64[s]`).
            One row per student and day. The published snapshots of `S - 13 … S`; other days are ignored. A row before
            `S` without minutes, lessons and exercises may be missing.
        attempts: `user_id`, `attempt_id`, `lesson_id`, `score` (float64; neither NaN nor an infinite score counts as
            low), `completed_at` (`datetime64[us, UTC]`). The scored attempts that were completed on the days
            `S - 29 … S` and whose quiz belongs to a lesson.
        completions: `user_id`, `lesson_id`. The lessons completed before `end(S)`.
        lessons: `lesson_id` (unique), `title` (text), `specialization` (text or null), `level` (text or null),
            `display_order` (a number or null). The published lessons only.
        dismissals: `user_id`, `recommendation_type` (text). Types not to recommend to that student this week.

    Raises:
        ValueError: `week_start` is not a Monday.
    """

    week_start: date
    students: pd.DataFrame
    snapshots: pd.DataFrame
    attempts: pd.DataFrame
    completions: pd.DataFrame
    lessons: pd.DataFrame
    dismissals: pd.DataFrame

    def __post_init__(self) -> None:
        if self.week_start.weekday() != _MONDAY:
            raise ValueError(
                f"week_start is {self.week_start:%Y-%m-%d}, a {self.week_start:%A}; a week is named by its Monday"
            )

    @property
    def next_monday(self) -> pd.Timestamp:
        """`S + 1`, the day after the week, without a time zone."""
        return pd.Timestamp(self.week_start + timedelta(days=7))

    def snapshots_of_last_days(self, days: int) -> pd.DataFrame:
        """The snapshots of the last `days` days of the week, `S - days + 1 … S`."""
        day = self.snapshots["snapshot_date"]
        return self.snapshots[(day >= self.next_monday - pd.Timedelta(days=days)) & (day < self.next_monday)]

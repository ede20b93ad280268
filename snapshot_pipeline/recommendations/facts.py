"""Facts: the input of the rules for one batch of students and one week."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

import pandas as pd

from snapshot_pipeline.recommendations.next_lesson import next_lessons

_MONDAY = 0


@dataclass(frozen=True)
class WeekFacts:
    """What was known of a batch of active students at `end(S)`, where `S` is the Sunday of the week.

    Rows may be in any order, and any frame may be empty. Rows of users who are not in `students` are ignored. Ids are
    `int64`. Texts are `str` or `object` columns, whose null is None or NaN.

    Attributes:
        week_start: The Monday that names the week; `S` is six days later.
        students: `user_id` (unique), `specialization` (text or null), `level` (text or null), `has_started` (bool:
            started a lesson before `end(S)`), `cohort_has_begun`, `cohort_has_exercises` (bool, see `mark_cohorts`),
            `engagement_score` (float64, as published for `S`; NaN: none). All active students of the batch, who are the
            recipients.
        activity: `user_id` (unique), `minutes` (of the days `S - 2 … S`), `lessons` (completed) and `exercises`
            (submitted, of the days `S - 13 … S`; integers), `last_activity_date` (`datetime64[s]`, midnight of the
            local date; NaT: none).
        attempts: `user_id`, `attempt_id`, `quiz_id`, `lesson_id`, `score` (float64, in percent; NaN: not graded),
            `completed_at` (`datetime64[us, UTC]`). The attempts that were completed on the days `S - 29 … S` and whose
            quiz belongs to a lesson.
        completions: `user_id`, `lesson_id`. The lessons completed before `end(S)`.
        lessons: `lesson_id` (unique), `title` (text), `specialization` (text or null), `level` (text or null),
            `display_order` (a number or null). The published lessons only.
        dismissals: `user_id`, `recommendation_type` (text). Types not to recommend to that student this week.
        dismissed_lessons: `user_id`, `lesson_id`. Lessons not to recommend for review to that student this week.
        review_below_score: The score in percent below which a lesson is recommended for review.

    Raises:
        ValueError: `week_start` is not a Monday.
    """

    week_start: date
    students: pd.DataFrame
    activity: pd.DataFrame
    attempts: pd.DataFrame
    completions: pd.DataFrame
    lessons: pd.DataFrame
    dismissals: pd.DataFrame
    dismissed_lessons: pd.DataFrame
    review_below_score: float

    def __post_init__(self) -> None:
        if self.week_start.weekday() != _MONDAY:
            raise ValueError(
                f"week_start is {self.week_start:%Y-%m-%d}, a {self.week_start:%A}; a week is named by its Monday"
            )

    @property
    def sunday(self) -> pd.Timestamp:
        """`S`, without a time zone."""
        return pd.Timestamp(self.week_start + timedelta(days=6))

    @cached_property
    def next_lessons(self) -> pd.DataFrame:
        """`user_id`, `lesson_id`, `lesson_title` of the students who have a lesson left; see `next_lesson`."""
        return next_lessons(self.students, self.lessons, self.completions)

    @property
    def started(self) -> pd.Series:
        """The ids of the students who have started."""
        return self.students.loc[self.students["has_started"].astype(bool), "user_id"]

    @property
    def expected(self) -> pd.Series:
        """The ids of the students for whom there is something to do.

        They have a lesson left, and have started, or their cohort has begun.
        """
        can_go_on = self.students["has_started"].astype(bool) | self.students["cohort_has_begun"].astype(bool)
        user_ids = self.students.loc[can_go_on, "user_id"]
        return user_ids[user_ids.isin(self.next_lessons["user_id"])]

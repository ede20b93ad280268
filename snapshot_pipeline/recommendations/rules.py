"""The rules of docs/metrics.md, "The recommendations", one function each.

A rule returns one row per student to whom it applies: `user_id` and one column per key of the recommendation's
metadata; a key whose value is None is left out. It may return students who are not in the batch or have dismissed it:
`ranking` leaves those out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snapshot_pipeline.recommendations.facts import WeekFacts

BREAK_FROM_MINUTES = 600
RESUME_FROM_DAYS = 7
RESUME_BELOW_SCORE = 35
RESUME_WITHOUT_SCORE_FROM_DAYS = 14
LESSONS_TO_REVIEW = 3
PRACTICE_FROM_LESSONS = 5
PRACTICE_BELOW_EXERCISES = 2

_TIE = 1e-9  # in hundredths, as in metrics.grid
_LESSON = ["user_id", "lesson_id"]


def take_break(facts: WeekFacts) -> pd.DataFrame:
    """Students with at least 600 minutes on the last three days.

    Returns:
        `user_id` (int64), `total_minutes` (int64).
    """
    activity = pd.DataFrame({"user_id": facts.activity["user_id"], "total_minutes": facts.activity["minutes"]})
    return activity[activity["total_minutes"] >= BREAK_FROM_MINUTES]


def resume_learning(facts: WeekFacts) -> pd.DataFrame:
    """Students who have started, have a lesson left, and were inactive for a week with a low engagement score.

    A student without a score must have been inactive for two weeks.

    Returns:
        `user_id` (int64), `days_inactive` (int64), `lesson_id` (int64), `lesson_title` (object).
    """
    activity = facts.activity.dropna(subset=["last_activity_date"])
    days_inactive = (facts.sunday - activity["last_activity_date"]).dt.days
    inactive = pd.DataFrame({"user_id": activity["user_id"], "days_inactive": days_inactive})
    scores = facts.students.set_index("user_id")["engagement_score"].reindex(inactive["user_id"]).to_numpy()
    from_days = np.where(np.isnan(scores), RESUME_WITHOUT_SCORE_FROM_DAYS, RESUME_FROM_DAYS)
    is_away = (days_inactive.to_numpy() >= from_days) & ~(scores >= RESUME_BELOW_SCORE)
    inactive = inactive[is_away & inactive["user_id"].isin(facts.started)]
    resuming: pd.DataFrame = inactive.merge(facts.next_lessons, on="user_id")
    return resuming


def review_lesson(facts: WeekFacts) -> pd.DataFrame:
    """Students whose latest graded attempt at some quiz is low, with up to three of these lessons, lowest first.

    Returns:
        `user_id` (int64), `lesson_ids` (a list of int per row), `scores` (a list of float per row, in the same order).
    """
    low = _low_scores(facts)
    low = low[low["lesson_id"].isin(facts.lessons["lesson_id"])]
    dismissed = pd.MultiIndex.from_frame(facts.dismissed_lessons[_LESSON])
    low = low[~pd.MultiIndex.from_frame(low[_LESSON]).isin(dismissed)]
    low = low.sort_values(["user_id", "score", "lesson_id"]).drop_duplicates(_LESSON)
    low = low[low.groupby("user_id", sort=False).cumcount() < LESSONS_TO_REVIEW]
    user_ids, starts = np.unique(low["user_id"].to_numpy(), return_index=True)
    return pd.DataFrame(
        {
            "user_id": user_ids,
            "lesson_ids": _lists_from(low["lesson_id"].to_numpy(), starts),
            "scores": _lists_from(low["score"].to_numpy(), starts),
        }
    )


def start_learning(facts: WeekFacts) -> pd.DataFrame:
    """Students who have not started a lesson, of cohorts that have begun, with the first lesson if there is one.

    Returns:
        `user_id` (int64), `lesson_id` (object: int or None), `lesson_title` (object: text or None).
    """
    students = facts.students
    waiting = ~students["has_started"].astype(bool) & students["cohort_has_begun"].astype(bool)
    joined = students.loc[waiting, ["user_id"]].merge(facts.next_lessons.astype({"lesson_id": object}), how="left")
    return joined.astype({"lesson_title": object}).where(joined.notna(), None).astype({"user_id": np.int64})


def practice_more(facts: WeekFacts) -> pd.DataFrame:
    """Students with five or more lessons and fewer than two exercises in two weeks, where exercises are submitted.

    Returns:
        `user_id` (int64), `lessons_done` (int64), `exercises_done` (int64).
    """
    activity, students = facts.activity, facts.students
    has_exercises = activity["user_id"].isin(students.loc[students["cohort_has_exercises"].astype(bool), "user_id"])
    many = activity["lessons"] >= PRACTICE_FROM_LESSONS
    done = activity[has_exercises & many & (activity["exercises"] < PRACTICE_BELOW_EXERCISES)]
    done = done[["user_id", "lessons", "exercises"]]
    return done.rename(columns={"lessons": "lessons_done", "exercises": "exercises_done"})


def continue_learning(facts: WeekFacts) -> pd.DataFrame:
    """Students who have started and have a lesson left, with the first that is not completed.

    Returns:
        `user_id` (int64), `lesson_id` (int64), `lesson_title` (object, as the platform has it).
    """
    return facts.next_lessons[facts.next_lessons["user_id"].isin(facts.started)]


@dataclass(frozen=True)
class RecommendationType:
    """One kind of recommendation.

    Attributes:
        name: The type in tables, texts and the platform.
        priority: Unique; a student's three recommendations of the highest priority are published.
        find: The rule.
        removes: Names of types that a student does not get who gets this one.
    """

    name: str
    priority: int
    find: Callable[[WeekFacts], pd.DataFrame]
    removes: tuple[str, ...] = ()


RECOMMENDATION_TYPES = (
    RecommendationType("TAKE_BREAK", 95, take_break, removes=("PRACTICE_MORE", "CONTINUE_LEARNING")),
    RecommendationType("RESUME_LEARNING", 90, resume_learning, removes=("CONTINUE_LEARNING",)),
    RecommendationType("REVIEW_LESSON", 85, review_lesson),
    RecommendationType("START_LEARNING", 80, start_learning),
    RecommendationType("PRACTICE_MORE", 75, practice_more),
    RecommendationType("CONTINUE_LEARNING", 70, continue_learning),
)


def _low_scores(facts: WeekFacts) -> pd.DataFrame:
    """The latest graded attempt of each student and quiz that is low, its score rounded half away from zero."""
    attempts = facts.attempts.dropna(subset=["score"])
    attempts = attempts.assign(score=np.floor(attempts["score"] * 100 + 0.5 + _TIE) / 100)
    oldest_first = np.lexsort((attempts["attempt_id"], pd.DatetimeIndex(attempts["completed_at"]).asi8))
    latest = attempts.iloc[oldest_first].drop_duplicates(["user_id", "quiz_id"], keep="last")
    return latest[latest["score"] < facts.review_below_score]


def _lists_from(values: NDArray[np.int64] | NDArray[np.float64], starts: NDArray[np.intp]) -> list[list[object]]:
    """Split `values` into one list of Python numbers per start; each ends where the next one begins."""
    plain = values.tolist()
    return [plain[start:end] for start, end in pairwise([*starts.tolist(), len(plain)])]

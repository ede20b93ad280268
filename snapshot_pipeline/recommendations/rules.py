"""The rules of docs/metrics.md, "The recommendations", one function each.

A rule returns one row per student to whom it applies: `user_id` and one column per key of the recommendation's
metadata. It may return students who are not in the batch or have dismissed it: `ranking` leaves those out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snapshot_pipeline.recommendations.facts import WeekFacts

BREAK_DAYS = 3
BREAK_FROM_MINUTES = 600
INACTIVE_FROM_DAYS = 7
REVIEW_BELOW_SCORE = 70
LESSONS_TO_REVIEW = 3
PRACTICE_DAYS = 14
PRACTICE_FROM_LESSONS = 5
PRACTICE_BELOW_EXERCISES = 2


def take_break(facts: WeekFacts) -> pd.DataFrame:
    """Students with at least 600 minutes in the snapshots of the last three days.

    Returns:
        `user_id` (int64), `total_minutes` (int64).
    """
    recent = facts.snapshots_of_last_days(BREAK_DAYS)
    minutes = recent.groupby("user_id", as_index=False, sort=False).agg(
        total_minutes=("time_spent_minutes_today", "sum")
    )
    return minutes[minutes["total_minutes"] >= BREAK_FROM_MINUTES]


def resume_learning(facts: WeekFacts) -> pd.DataFrame:
    """Students whose last activity, by the snapshot of the Sunday, is seven or more days before the next Monday.

    Returns:
        `user_id` (int64), `days_inactive` (int64).
    """
    sunday = facts.snapshots_of_last_days(1).dropna(subset=["last_activity_date"])
    days_inactive = (facts.next_monday - sunday["last_activity_date"]).dt.days
    inactive = pd.DataFrame({"user_id": sunday["user_id"], "days_inactive": days_inactive})
    return inactive[inactive["days_inactive"] >= INACTIVE_FROM_DAYS]


def review_lesson(facts: WeekFacts) -> pd.DataFrame:
    """Students whose latest scored attempt for a lesson is below 70, with up to three such lessons, lowest first.

    Returns:
        `user_id` (int64), `lesson_ids` (a list of int per row), `scores` (a list of float per row, in the same order).
    """
    attempts = facts.attempts
    oldest_first = np.lexsort((attempts["attempt_id"], pd.DatetimeIndex(attempts["completed_at"]).asi8))
    latest = attempts.iloc[oldest_first].drop_duplicates(["user_id", "lesson_id"], keep="last")
    low = latest[np.isfinite(latest["score"]) & (latest["score"] < REVIEW_BELOW_SCORE)]
    low = low.sort_values(["user_id", "score", "lesson_id"])
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
    """Students who have not started a lesson.

    Returns:
        `user_id` (int64).
    """
    return facts.students.loc[~facts.students["has_started"].astype(bool), ["user_id"]]


def practice_more(facts: WeekFacts) -> pd.DataFrame:
    """Students with five or more lessons completed and fewer than two exercises submitted in the last 14 snapshots.

    Returns:
        `user_id` (int64), `lessons_done` (int64), `exercises_done` (int64).
    """
    recent = facts.snapshots_of_last_days(PRACTICE_DAYS)
    done = recent.groupby("user_id", as_index=False, sort=False).agg(
        lessons_done=("lessons_completed_count", "sum"),
        exercises_done=("exercises_submitted_count", "sum"),
    )
    return done[(done["lessons_done"] >= PRACTICE_FROM_LESSONS) & (done["exercises_done"] < PRACTICE_BELOW_EXERCISES)]


def continue_learning(facts: WeekFacts) -> pd.DataFrame:
    """The first lesson of each student's course that is not completed; none if all are.

    A *course* is the published lessons of one specialization and level in their order of study; a lesson's *position*
    in it counts from 0.

    Returns:
        `user_id` (int64), `lesson_id` (int64), `lesson_title` (str, as the platform has it).
    """
    lessons = _lessons_in_order(facts.lessons)
    courses = lessons.drop_duplicates("course")[["specialization", "level", "course"]]
    students = _drop_without_course(facts.students[["user_id", "specialization", "level"]])
    students = students.merge(courses, on=["specialization", "level"])[["user_id", "course"]]
    position = _first_open_positions(students, lessons, facts.completions)
    # The position after a completed course belongs to no lesson, so the join drops it.
    next_lessons = students.assign(position=position).merge(lessons, on=["course", "position"])
    return next_lessons[["user_id", "lesson_id", "title"]].rename(columns={"title": "lesson_title"})


@dataclass(frozen=True)
class RecommendationType:
    """One kind of recommendation.

    Attributes:
        name: The type in tables, texts and the platform.
        priority: Unique; a student's five recommendations of the highest priority are published.
        find: The rule.
    """

    name: str
    priority: int
    find: Callable[[WeekFacts], pd.DataFrame]


RECOMMENDATION_TYPES = (
    RecommendationType("TAKE_BREAK", 95, take_break),
    RecommendationType("RESUME_LEARNING", 90, resume_learning),
    RecommendationType("REVIEW_LESSON", 85, review_lesson),
    RecommendationType("START_LEARNING", 80, start_learning),
    RecommendationType("PRACTICE_MORE", 75, practice_more),
    RecommendationType("CONTINUE_LEARNING", 70, continue_learning),
)


def _lists_from(values: NDArray[np.int64] | NDArray[np.float64], starts: NDArray[np.intp]) -> list[list[object]]:
    """Split `values` into one list of Python numbers per start; each ends where the next one begins."""
    plain = values.tolist()
    return [plain[start:end] for start, end in pairwise([*starts.tolist(), len(plain)])]


def _drop_without_course(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a specialization and a level, both as `object`, so that any two frames can be joined."""
    return rows.dropna(subset=["specialization", "level"]).astype({"specialization": object, "level": object})


def _lessons_in_order(lessons: pd.DataFrame) -> pd.DataFrame:
    """The lessons that belong to a course, with `course` and `position` (int64, from 0), sorted by these two.

    Returns:
        `lesson_id`, `title` (object; "" for null), `specialization`, `level`, `course`, `position`.
    """
    ordered = _drop_without_course(lessons)
    ordered = ordered.assign(
        title=ordered["title"].astype(object).fillna(""),
        course=ordered.groupby(["specialization", "level"]).ngroup(),
    )
    ordered = ordered.sort_values(["course", "display_order", "lesson_id"], na_position="last", ignore_index=True)
    ordered = ordered.assign(position=ordered.groupby("course").cumcount())
    return ordered[["lesson_id", "title", "specialization", "level", "course", "position"]]


def _first_open_positions(
    students: pd.DataFrame, lessons: pd.DataFrame, completions: pd.DataFrame
) -> NDArray[np.int64]:
    """The lowest position in each student's course that is not completed; the length of the course if all are.

    Args:
        students: `user_id` (unique), `course`.
        lessons: `lesson_id` (unique), `course`, `position`.
        completions: `user_id`, `lesson_id`; may include other users, other courses and unknown lessons.

    Returns:
        int64, one per row of `students`.
    """
    student, position = _completed_positions(students, lessons, completions)
    # A student's n-th completed position is n exactly as long as none was left out; so the number of positions that
    # equal their rank is the first open position.
    completed = np.bincount(student, minlength=len(students))
    rank = np.arange(len(position)) - (np.cumsum(completed) - completed)[student]
    return np.bincount(student[position == rank], minlength=len(students))


def _completed_positions(
    students: pd.DataFrame, lessons: pd.DataFrame, completions: pd.DataFrame
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The positions that each student has completed in their course.

    Args:
        students: `user_id` (unique), `course`.
        lessons: `lesson_id` (unique), `course`, `position`.
        completions: `user_id`, `lesson_id`.

    Returns:
        The row in `students` and the position, both int64, sorted and unique.
    """
    student = pd.Index(students["user_id"]).get_indexer(completions["user_id"])
    lesson = pd.Index(lessons["lesson_id"]).get_indexer(completions["lesson_id"])
    known = (student >= 0) & (lesson >= 0)
    student, lesson = student[known], lesson[known]
    own_course = students["course"].to_numpy()[student] == lessons["course"].to_numpy()[lesson]
    stride = len(lessons) + 1
    pairs = student[own_course] * stride + lessons["position"].to_numpy()[lesson[own_course]]
    # Instead of np.unique, which takes 7 s for six million pairs (NumPy 2.4); this takes 0.1 s.
    pairs.sort()
    return np.divmod(pairs[np.append(True, pairs[1:] != pairs[:-1])[: len(pairs)]], stride)

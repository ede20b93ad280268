"""Issues: invalid rows, and the days whose figures they affect. Source: docs/metrics.md, "When a student fails"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from snapshot_pipeline.metrics.grid import Flags, Floats, Ints, Shape, inside, latest_by_day
from snapshot_pipeline.metrics.quiz_average import ATTEMPTS

SCORE_OUT_OF_RANGE = "score_out_of_range"
NEGATIVE_TIME_SPENT = "negative_time_spent"
COMPLETED_BEFORE_STARTED = "completed_before_started"
UNEXPECTED_ERROR = "unexpected_error"

REASONS = (SCORE_OUT_OF_RANGE, NEGATIVE_TIME_SPENT, COMPLETED_BEFORE_STARTED, UNEXPECTED_ERROR)
"""In order of precedence, if several apply to a student's day."""


@dataclass(frozen=True)
class Issue:
    """One kind of invalid rows, and the row that each student's day is affected by.

    Attributes:
        reason: One of `REASONS`.
        rows: Positions in `frame`, shape (students, computed days); -1 for an unaffected day.
        frame: The source rows.
    """

    reason: str
    rows: Ints
    frame: pd.DataFrame

    def describe(self, row: int) -> str:
        """Table, row and value, for the operator."""
        # By column, because a row of numeric columns would turn ids into floats.
        values = {name: column.iloc[row] for name, column in self.frame.items()}
        if self.reason == SCORE_OUT_OF_RANGE:
            return f"quiz_attempts id {values['attempt_id']}: score {float(values['score'])!r}"
        lesson = f"user_lesson_progress lesson {values['lesson_id']}"
        if self.reason == NEGATIVE_TIME_SPENT:
            return f"{lesson}: time_spent_minutes {values['time_spent_minutes']}"
        return (
            f"{lesson}: completed_at {_iso(values['completed_at'])} "
            f"is earlier than started_at {_iso(values['started_at'])}"
        )


def _iso(instant: pd.Timestamp) -> str:
    return instant.isoformat()


def is_invalid_score(scores: Floats) -> Flags:
    """Which scores are below 0, above 100 or NaN."""
    return ~((scores >= 0) & (scores <= 100))


def score_issues(scored: pd.DataFrame, attempt_rank: Ints, newest: Ints) -> Issue:
    """The newest invalid score among the ten of each day's average.

    Args:
        scored: The scored attempts by student, oldest first: `attempt_id`, `score`.
        attempt_rank: Number of earlier scored attempts of the same student, shape (attempts,).
        newest: Position of the newest attempt of each student and computed day; -1 if there is none.
    """
    positions = np.arange(len(scored))
    invalid = is_invalid_score(scored["score"].to_numpy())
    last_invalid = np.maximum.accumulate(np.where(invalid, positions, -1)) if len(scored) else positions
    oldest_used = positions - np.minimum(attempt_rank, ATTEMPTS - 1)
    affected_by = np.where(last_invalid >= oldest_used, last_invalid, -1)
    rows = np.append(affected_by, -1)[newest]  # newest is -1 without an attempt, which selects the appended -1
    return Issue(SCORE_OUT_OF_RANGE, rows, scored)


def progress_issues(
    reason: str,
    invalid: Flags,
    progress: pd.DataFrame,
    students: Ints,
    day_pairs: tuple[Ints, Ints],
    lengths: Ints,
    shape: Shape,
) -> Issue:
    """The invalid progress row that was last started or completed, for each day whose window contains it.

    Args:
        invalid: Which rows of `progress` are invalid, shape (rows,).
        progress: `lesson_id` and the columns that `Issue.describe` names.
        students: Grid row of each progress row, shape (rows,).
        day_pairs: Day indices of the start and of the completion of each progress row.
        lengths: Days in the window of each student and computed day.
        shape: (students, days) of the grid, lead days included.
    """
    computed = lengths.shape[1]
    if not invalid.any():
        return Issue(reason, np.full((shape[0], computed), -1, dtype=np.int64), progress)
    rows = np.tile(np.flatnonzero(invalid), 2)
    days = np.concatenate([day[invalid] for day in day_pairs])
    inner = inside(days, shape)
    rows, days = rows[inner], days[inner]
    order = np.lexsort((progress["lesson_id"].to_numpy()[rows], days, students[rows]))
    rows, days = rows[order], days[order]
    latest = latest_by_day(students[rows], days, shape)[:, -computed:]
    first_of_window = np.arange(shape[1] - computed, shape[1]) - lengths + 1
    in_window = (latest >= 0) & (np.append(days, -1)[latest] >= first_of_window)
    return Issue(reason, np.where(in_window, np.append(rows, -1)[latest], -1), progress)

"""Rows that cannot be right, and the days whose figures they would spoil. Source: `metrics.md`, "When a student fails".

Put here: each reason, how its rows are found, and the sentence that names the row.
Do not put here: errors of the computation itself (`pipeline.batches` isolates those).
"""

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
"""In the order in which they are reported when several hold for a student's day."""


@dataclass(frozen=True)
class Issue:
    """One reason, and for each student and day the row that is to blame.

    Attributes:
        reason: One of `REASONS`.
        rows: Row number into the frame that `describe` reads, shape (students, computed days); -1 where all is well.
        frame: The frame that holds the rows, in the order that the numbers count.
    """

    reason: str
    rows: Ints
    frame: pd.DataFrame

    def describe(self, row: int) -> str:
        """The table, the row and the value, for the operator."""
        # Column by column: a whole row would turn ids into floats wherever all its columns are numbers.
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


def score_is_wrong(scores: Floats) -> Flags:
    """Which scores are below 0, above 100 or not a number."""
    return ~((scores >= 0) & (scores <= 100))


def wrong_scores(scored: pd.DataFrame, places: Ints, newest: Ints) -> Issue:
    """The newest score that cannot be right among the ten of each day's average.

    Args:
        scored: The scored attempts by student, oldest first: `attempt_id`, `score`.
        places: How many scored attempts of the same student stand before each, shape (attempts,).
        newest: For each student and computed day, the number of the newest attempt; -1 where there is none.
    """
    numbers = np.arange(len(scored))
    wrong = score_is_wrong(scored["score"].to_numpy())
    last_wrong = np.maximum.accumulate(np.where(wrong, numbers, -1)) if len(scored) else numbers
    oldest_used = numbers - np.minimum(places, ATTEMPTS - 1)
    to_blame = np.where(last_wrong >= oldest_used, last_wrong, -1)
    rows = np.append(to_blame, -1)[newest]  # newest is -1 where there is no attempt: the appended -1
    return Issue(SCORE_OUT_OF_RANGE, rows, scored)


def wrong_progress(
    reason: str,
    wrong: Flags,
    progress: pd.DataFrame,
    students: Ints,
    day_pairs: tuple[Ints, Ints],
    lengths: Ints,
    shape: Shape,
) -> Issue:
    """The progress row that cannot be right and was last touched, for each day whose window it was touched in.

    Args:
        reason: Why the rows are wrong.
        wrong: Which rows of `progress` are, shape (rows,).
        progress: `lesson_id` and the columns that `Issue.describe` names.
        students: Row of the grid of each progress row, shape (rows,).
        day_pairs: Day index of the start and of the completion of each progress row.
        lengths: Days in the window of each student and computed day.
        shape: (students, days) of the grid, lead days included.
    """
    computed = lengths.shape[1]
    if not wrong.any():
        return Issue(reason, np.full((shape[0], computed), -1, dtype=np.int64), progress)
    rows = np.tile(np.flatnonzero(wrong), 2)
    days = np.concatenate([touched[wrong] for touched in day_pairs])
    kept = inside(days, shape)
    rows, days = rows[kept], days[kept]
    order = np.lexsort((progress["lesson_id"].to_numpy()[rows], days, students[rows]))
    rows, days = rows[order], days[order]
    latest = latest_by_day(students[rows], days, shape)[:, -computed:]
    first_of_window = np.arange(shape[1] - computed, shape[1]) - lengths + 1
    in_window = (latest >= 0) & (np.append(days, -1)[latest] >= first_of_window)
    return Issue(reason, np.where(in_window, np.append(rows, -1)[latest], -1), progress)

"""What the arithmetic is given: the frames of one batch of students.

Put here: the shape of the input. Do not put here: how it is read (`platform.reads`) or computed (`snapshot`).
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class StudentHistory:
    """What is known of a batch of active students, as frames whose rows may stand in any order.

    All instants are `datetime64[us, UTC]`, all ids `int64`. The frames hold at least the rows that the computed days
    `first … last` need, and may hold more of the same students: a row that no day needs changes no figure.

    Attributes:
        students: `user_id` (unique), `first_started_at` (NaT: nothing started yet), `last_activity_before` (before
            `first`, the latest activity that no row of the other frames shows; NaT where there is none, or where
            it cannot be the latest on any of the days).
        progress: `user_id`, `lesson_id`, `started_at` and `completed_at` (NaT: not yet), `time_spent_minutes` (int64).
            The rows started or completed on the days `first - 29 … last`.
        attempts: `user_id`, `attempt_id`, `completed_at`, `score` (float64), `is_scored` (bool; false: not graded
            yet, whereas a score of NaN is a scored attempt that cannot be right). Those completed on `first … last`,
            and the last ten scored ones before `first`.
        exercises: `user_id`, `created_at`. Those of `first … last`.
    """

    students: pd.DataFrame
    progress: pd.DataFrame
    attempts: pd.DataFrame
    exercises: pd.DataFrame

"""Summaries of a day's snapshots, over all students and by cohort. Source: docs/metrics.md, "The summary of a day".

All sums are sums of integers, because a published score is a whole number of hundredths. So a mean or a quartile is a
fraction of integers and is rounded exactly, whatever the other days and the order of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snapshot_pipeline.metrics.grid import Flags, Floats, Ints
from snapshot_pipeline.metrics.pace import LABELS, label_numbers

NONE = ""
"""The specialization or level of a student without one."""

INACTIVE_DAYS = (7, 14)
"""Minimum `days_since_activity` of the two counts of inactive students."""

QUARTILES = {"pace_p25": 1, "pace_median": 2, "pace_p75": 3}
"""Quartiles by column, in quarters."""

_HUNDREDTHS = 100


@dataclass(frozen=True)
class Cohorts:
    """The cohort of each student: one specialization and one level.

    Attributes:
        user_ids: int64, ascending, shape (users,).
        numbers: Position of each user's cohort in `names`, int64, shape (users,).
        names: (specialization, level) of each cohort, ascending; (`NONE`, `NONE`) is always included.
    """

    user_ids: Ints
    numbers: Ints
    names: list[tuple[str, str]]

    @classmethod
    def of(cls, users: pd.DataFrame) -> Cohorts:
        """The cohorts of users.

        Args:
            users: `user_id` int64 (unique), `specialization` and `level`: text or categories of text, or missing.
        """
        users = users.sort_values("user_id")
        specialization = users["specialization"].astype("category").cat
        level = users["level"].astype("category").cat
        width = len(level.categories) + 1
        # A missing value has the code -1.
        pairs = (specialization.codes.to_numpy(np.int64) + 1) * width + level.codes.to_numpy(np.int64) + 1
        distinct, which = np.unique(pairs, return_inverse=True)
        specializations, levels = [NONE, *specialization.categories], [NONE, *level.categories]
        named = [(specializations[pair // width], levels[pair % width]) for pair in distinct.tolist()]
        names = sorted({(NONE, NONE), *named})
        positions = {name: position for position, name in enumerate(names)}
        numbers = np.array([positions[name] for name in named], dtype=np.int64)
        return cls(users["user_id"].to_numpy(np.int64), numbers[which], names)

    def numbers_of(self, user_ids: Ints) -> Ints:
        """The cohort of each student; an unknown one, such as a deleted account, has none."""
        if not len(self.user_ids):
            return np.zeros(len(user_ids), dtype=np.int64)
        positions = np.minimum(np.searchsorted(self.user_ids, user_ids), len(self.user_ids) - 1)
        is_known = self.user_ids[positions] == user_ids
        return np.where(is_known, self.numbers[positions], self.names.index((NONE, NONE)))


@dataclass(frozen=True)
class Summaries:
    """Summaries of some days; both frames are sorted by their keys.

    Attributes:
        days: `snapshot_date` (datetime64[s]) and the figures of docs/metrics.md: one row per day.
        cohorts: `snapshot_date`, `specialization`, `level` and the same figures: one row per day and cohort that has a
            snapshot or a failure on that day.
    """

    days: pd.DataFrame
    cohorts: pd.DataFrame


def summarize(snapshots: pd.DataFrame, failures: pd.DataFrame, cohorts: Cohorts, first: date, last: date) -> Summaries:
    """Summarize the days `first … last`, both included.

    Args:
        snapshots: All snapshots of these days, in any order: `user_id` (int64), `snapshot_date` and
            `last_activity_date` (datetime64), `pace_score` and `quiz_average` (float64, two decimals; NaN: no quiz
            yet), `lessons_completed_count`, `time_spent_minutes_today` (integers).
        failures: All open failures of these days, in any order: `user_id`, `snapshot_date`.
    """
    rows = _SnapshotArrays.of(snapshots)
    dates = np.arange(np.datetime64(first, "D"), np.datetime64(last, "D") + 1)
    day = _days(snapshots["snapshot_date"]) - dates[0].astype(np.int64)
    failed_day = _days(failures["snapshot_date"]) - dates[0].astype(np.int64)
    width = len(cohorts.names)
    group = day * width + cohorts.numbers_of(snapshots["user_id"].to_numpy(np.int64))
    failed_group = failed_day * width + cohorts.numbers_of(failures["user_id"].to_numpy(np.int64))
    by_cohort = _summarize_groups(rows, group, failed_group, len(dates) * width)
    shown = np.flatnonzero(_counts(group, len(dates) * width) + _counts(failed_group, len(dates) * width))
    specializations, levels = (np.array(part, dtype=object) for part in zip(*cohorts.names, strict=True))
    seconds = dates.astype("datetime64[s]")
    return Summaries(
        days=pd.DataFrame({"snapshot_date": seconds, **_summarize_groups(rows, day, failed_day, len(dates))}),
        cohorts=pd.DataFrame(
            {
                "snapshot_date": seconds[shown // width],
                "specialization": specializations[shown % width],
                "level": levels[shown % width],
                **{name: values[shown] for name, values in by_cohort.items()},
            }
        ),
    )


@dataclass(frozen=True)
class _SnapshotArrays:
    """The snapshots as arrays, shape (rows,); scores in hundredths."""

    pace: Ints
    label: Ints
    has_quiz: Flags
    quiz_average: Ints
    minutes: Ints
    lessons: Ints
    days_since_activity: Ints

    @classmethod
    def of(cls, snapshots: pd.DataFrame) -> _SnapshotArrays:
        scores, averages = snapshots["pace_score"].to_numpy(np.float64), snapshots["quiz_average"].to_numpy(np.float64)
        return cls(
            pace=_hundredths(scores),
            label=label_numbers(scores),
            has_quiz=~np.isnan(averages),
            quiz_average=_hundredths(np.nan_to_num(averages)),
            minutes=snapshots["time_spent_minutes_today"].to_numpy(np.int64),
            lessons=snapshots["lessons_completed_count"].to_numpy(np.int64),
            days_since_activity=_days(snapshots["snapshot_date"]) - _days(snapshots["last_activity_date"]),
        )


def _days(dates: pd.Series) -> Ints:
    """Days since 1970."""
    return dates.to_numpy().astype("datetime64[D]").astype(np.int64)


def _hundredths(values: Floats) -> Ints:
    return np.rint(values * _HUNDREDTHS).astype(np.int64)


def _summarize_groups(
    rows: _SnapshotArrays, group: Ints, failed_group: Ints, groups: int
) -> dict[str, NDArray[np.generic]]:
    """The figures of each group, by column, shape (groups,).

    Args:
        group: The group of each snapshot.
        failed_group: The group of each failure.
        groups: Number of groups.
    """
    students = _counts(group, groups)
    labels = _counts(group * len(LABELS) + rows.label, groups * len(LABELS)).reshape(groups, len(LABELS))
    quizzes = _counts(group[rows.has_quiz], groups)
    return {
        "students": students,
        "failed": _counts(failed_group, groups),
        "active_students": _counts(group[rows.days_since_activity == 0], groups),
        "pace_mean": _means(_sums(group, rows.pace, groups), students),
        **_quartiles(rows.pace, group, students),
        **{f"{label.lower()}_students": labels[:, number] for number, label in enumerate(LABELS)},
        "quiz_average_mean": _means(_sums(group, rows.quiz_average, groups), quizzes),
        "minutes_spent": _sums(group, rows.minutes, groups),
        "lessons_completed": _sums(group, rows.lessons, groups),
        **{f"inactive_{days}_days": _counts(group[rows.days_since_activity >= days], groups) for days in INACTIVE_DAYS},
    }


def _counts(group: Ints, groups: int) -> Ints:
    return np.bincount(group, minlength=groups).astype(np.int64)


def _sums(group: Ints, values: Ints, groups: int) -> Ints:
    sums = np.zeros(groups, dtype=np.int64)
    np.add.at(sums, group, values)
    return sums


def _means(sums: Ints, counts: Ints) -> Floats:
    """Means of hundredths, rounded half away from zero to two decimals; NaN for an empty group."""
    rounded = (2 * sums + counts) // np.maximum(2 * counts, 1)
    return np.where(counts > 0, rounded / _HUNDREDTHS, np.nan)


def _quartiles(pace: Ints, group: Ints, students: Ints) -> dict[str, Floats]:
    """The quartiles of each group as `percentile_cont` interpolates them, rounded; NaN for an empty group.

    Args:
        pace: In hundredths, shape (rows,).
        group: The group of each row, shape (rows,).
        students: Rows of each group, shape (groups,).
    """
    span = int(pace.max(initial=0)) + 1
    ordered = np.append(np.sort(group * span + pace) % span, 0)  # one more, for empty groups
    starts = np.cumsum(students) - students
    last = np.maximum(students - 1, 0)
    quartiles = {}
    for name, quarters in QUARTILES.items():
        below, rest = np.divmod(quarters * last, 4)
        lower, upper = ordered[starts + below], ordered[starts + np.minimum(below + 1, last)]
        rounded = (lower * (4 - rest) + upper * rest + 2) // 4
        quartiles[name] = np.where(students > 0, rounded / _HUNDREDTHS, np.nan)
    return quartiles

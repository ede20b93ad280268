"""Corrections of the platform's rows, and the list of the invalid ones. Source: docs/metrics.md, "Invalid rows".

Every figure is computed from corrected rows; no invalid row fails a student. All functions are pure and vectorized. The
*moment* is when the run began: a later time does not exist yet.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snapshot_pipeline.metrics.grid import Flags, Floats

FULL_MARKS = 100.0

EARLIEST = pd.Timestamp("2000-01-01", tz="UTC")
"""Earlier times are wrong: platforms store the epoch's 0 for "never"."""

MAX_MINUTES = 10_080
"""A week. More minutes for one lesson are listed."""

NOT_A_NUMBER = -(2**63)
"""The minutes of a row whose column is NaN, which an integer cannot hold."""

MAX_SKEW = pd.Timedelta(minutes=5)
"""By how much a completion may precede its start without being listed: clocks differ."""

# The kinds of `data_issues.issue`.
NEGATIVE_SCORE = "negative_score"
NON_FINITE_SCORE = "non_finite_score"
NEGATIVE_MINUTES = "negative_minutes"
IMPLAUSIBLE_MINUTES = "implausible_minutes"
COMPLETED_BEFORE_STARTED = "completed_before_started"
DUPLICATE_PROGRESS = "duplicate_progress"
FUTURE_TIMESTAMP = "future_timestamp"
IMPLAUSIBLE_TIMESTAMP = "implausible_timestamp"

PROGRESS = "user_lesson_progress"
ATTEMPTS = "quiz_attempts"

_LESSON = ["user_id", "lesson_id"]
_Kind = tuple[str, "pd.Series | Flags", Callable[[pd.DataFrame], list[str]]]
"""The name of an issue, which rows have it, and what to say of them."""

ISSUE_COLUMNS = ("source_table", "source_key", "issue", "user_id", "day", "detail")


def correct_progress(rows: pd.DataFrame, moment: datetime) -> pd.DataFrame:
    """Correct lesson progress.

    Args:
        rows: `user_id`, `lesson_id`, `started_at`, `completed_at` (`datetime64[us, UTC]` or NaT), `time_spent_minutes`
            (int64, `NOT_A_NUMBER` for NaN), `copies` (how many rows with a valid time the table has for the student and
            lesson; all of them are there).
        moment: When the run began.

    Returns:
        One row for each student and lesson with a valid time, with the same columns: an invalid time is NaT, negative
        minutes are 0. `start` is the lesson's start: the earlier of the two times that are there.
    """
    started_at, completed_at = _valid(rows["started_at"], moment), _valid(rows["completed_at"], moment)
    corrected = rows.assign(
        started_at=started_at,
        completed_at=completed_at,
        start=_earlier(started_at, completed_at),
        time_spent_minutes=rows["time_spent_minutes"].clip(lower=0),
    )
    corrected = corrected[corrected["start"].notna()]
    return _choose(corrected) if (corrected["copies"] > 1).any() else corrected


def correct_attempts(rows: pd.DataFrame, moment: datetime, score_maximum: float) -> pd.DataFrame:
    """Correct quiz attempts.

    Args:
        rows: `completed_at` (`datetime64[us, UTC]` or NaT), `score` (float64, NaN if not graded), others.
        moment: When the run began.
        score_maximum: The score of full marks.

    Returns:
        The attempts that have a valid time, with the same columns and `is_scored`; `score` in percent, 0 to 100, NaN
        for an attempt that is not graded.
    """
    valid = _valid(rows["completed_at"], moment).notna()
    scores = in_percent(rows["score"].to_numpy(np.float64), score_maximum)
    return rows.assign(score=scores, is_scored=~np.isnan(scores))[valid]


def correct_exercises(rows: pd.DataFrame, moment: datetime) -> pd.DataFrame:
    """Return the exercises whose `created_at` is valid."""
    return rows[_valid(rows["created_at"], moment).notna()]


def in_percent(scores: Floats, score_maximum: float) -> Floats:
    """Scores as percent of full marks, limited to 0 to 100; one that is not finite is NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(np.isfinite(scores), np.clip(FULL_MARKS * scores / score_maximum, 0, FULL_MARKS), np.nan)


def progress_issues(rows: pd.DataFrame, moment: datetime, zone: ZoneInfo) -> pd.DataFrame:
    """List the invalid rows of lesson progress.

    Args:
        rows: As for `correct_progress`, and `copies`: how many rows the table has for the student and lesson.
        moment: When the run began.
        zone: The zone of the days.

    Returns:
        `ISSUE_COLUMNS`, one row for each invalid row and kind: texts, `user_id` int64, `day` `datetime64[s]`: the local
        day of the corrected start.
    """
    rows = rows[_may_be_invalid(rows, moment)]
    if rows.empty:
        return no_issues()
    started_at, completed_at = _valid(rows["started_at"], moment), _valid(rows["completed_at"], moment)
    valid = pd.DataFrame({"started_at": started_at, "completed_at": completed_at, "copies": rows["copies"]})
    valid["start"] = _earlier(started_at, completed_at)
    valid = _order(valid.assign(**rows[_LESSON])[valid["start"].notna()])
    rows, started_at, completed_at = rows.loc[valid.index], valid["started_at"], valid["completed_at"]
    minutes = rows["time_spent_minutes"]
    kinds: list[_Kind] = [
        (NEGATIVE_MINUTES, (minutes < 0) & (minutes != NOT_A_NUMBER), _value_of("time_spent_minutes")),
        (IMPLAUSIBLE_MINUTES, (minutes > MAX_MINUTES) | (minutes == NOT_A_NUMBER), _minutes_of),
        (COMPLETED_BEFORE_STARTED, started_at - completed_at > MAX_SKEW, _both_times),
        (DUPLICATE_PROGRESS, rows["copies"] > 1, lambda found: [f"{copies} rows" for copies in found["copies"]]),
        (FUTURE_TIMESTAMP, _any_time(rows, lambda times: times > moment), _times_that(lambda times: times > moment)),
        (
            IMPLAUSIBLE_TIMESTAMP,
            _any_time(rows, lambda times: times < EARLIEST),
            _times_that(lambda times: times < EARLIEST),
        ),
    ]
    return _list_issues(PROGRESS, rows, _LESSON, valid["start"], zone, kinds)


def attempt_issues(rows: pd.DataFrame, moment: datetime, zone: ZoneInfo) -> pd.DataFrame:
    """List the invalid quiz attempts.

    Args:
        rows: `user_id`, `attempt_id`, `completed_at`, `score`, and `is_scored`: whether the score is not null.
        moment: When the run began.
        zone: The zone of the days.

    Returns:
        As `progress_issues`; `day` is that of the completion.
    """
    rows = rows[_valid(rows["completed_at"], moment).notna()]
    scores = rows["score"].to_numpy(np.float64)
    finite, scored = np.isfinite(scores), rows["is_scored"].to_numpy(bool)
    kinds: list[_Kind] = [
        (NEGATIVE_SCORE, scored & finite & (scores < 0), _value_of("score")),
        (NON_FINITE_SCORE, scored & ~finite, _value_of("score")),
    ]
    return _list_issues(ATTEMPTS, rows, ["attempt_id"], rows["completed_at"], zone, kinds)


def local_dates(instants: pd.Series, zone: ZoneInfo) -> NDArray[np.datetime64]:
    """The local date of each instant, `datetime64[s]`; NaT for NaT."""
    local = pd.DatetimeIndex(instants).tz_convert(zone).tz_localize(None)
    return local.to_numpy().astype("datetime64[D]").astype("datetime64[s]")


def no_issues() -> pd.DataFrame:
    empty = pd.DataFrame({name: np.empty(0, dtype=object) for name in ISSUE_COLUMNS})
    return empty.astype({"user_id": np.int64, "day": "datetime64[s]"})


def _list_issues(
    table: str,
    rows: pd.DataFrame,
    key: list[str],
    instants: pd.Series,
    zone: ZoneInfo,
    kinds: list[_Kind],
) -> pd.DataFrame:
    """The invalid rows; their keys and days are made for them alone, because hardly any row is invalid."""
    parts = [no_issues()]
    for issue, invalid, describe in kinds:
        flags = np.asarray(invalid, dtype=bool)
        if flags.any():
            found = rows[flags]
            parts.append(
                pd.DataFrame(
                    {
                        "source_table": table,
                        "source_key": ["/".join(map(str, values)) for values in found[key].to_numpy().tolist()],
                        "issue": issue,
                        "user_id": found["user_id"].to_numpy(np.int64),
                        "day": local_dates(instants[flags], zone),
                        "detail": describe(found),
                    }
                )
            )
    return pd.concat(parts, ignore_index=True).drop_duplicates(["source_key", "issue"]) if len(parts) > 1 else parts[0]


def _choose(corrected: pd.DataFrame) -> pd.DataFrame:
    """Of the rows of a student and lesson a completed one, then the earliest; with the largest minutes of all."""
    ordered = _order(corrected)
    minutes = ordered.groupby(_LESSON)["time_spent_minutes"].transform("max")
    return ordered.assign(time_spent_minutes=minutes).drop_duplicates(_LESSON)


def _order(corrected: pd.DataFrame) -> pd.DataFrame:
    """The rows by student and lesson, of duplicates the one that counts first."""
    if not (corrected["copies"] > 1).any():
        return corrected
    keys = corrected.assign(is_open=corrected["completed_at"].isna())
    order = [*_LESSON, "is_open", "start", "completed_at", "started_at"]
    return corrected.loc[keys.sort_values(order, kind="stable").index]


def _valid(times: pd.Series, moment: datetime) -> pd.Series:
    """The times from 2000 up to the moment; the others are NaT."""
    return times.where((times >= EARLIEST) & (times <= moment))


def _earlier(left: pd.Series, right: pd.Series) -> pd.Series:
    """The earlier of two times; of one and NaT, the one."""
    return left.where(left.le(right) | right.isna(), right)


def _may_be_invalid(rows: pd.DataFrame, moment: datetime) -> Flags:
    """Whether a row of progress can have an issue: hardly any can, and the exact rules are costlier than this."""
    started_at, completed_at, minutes = rows["started_at"], rows["completed_at"], rows["time_spent_minutes"]
    invalid_time = _any_time(rows, lambda times: (times < EARLIEST) | (times > moment))
    invalid_minutes = (minutes < 0) | (minutes > MAX_MINUTES)
    flags = invalid_time | invalid_minutes | (started_at > completed_at) | (rows["copies"] > 1)
    return np.asarray(flags, dtype=bool)


def _any_time(rows: pd.DataFrame, invalid: Callable[[pd.Series], pd.Series]) -> pd.Series:
    return invalid(rows["started_at"]) | invalid(rows["completed_at"])


def _value_of(column: str) -> Callable[[pd.DataFrame], list[str]]:
    return lambda rows: [f"{column} {value}" for value in rows[column].tolist()]


def _minutes_of(rows: pd.DataFrame) -> list[str]:
    minutes = rows["time_spent_minutes"].tolist()
    return [f"time_spent_minutes {'NaN' if value == NOT_A_NUMBER else value}" for value in minutes]


def _both_times(rows: pd.DataFrame) -> list[str]:
    times = zip(rows["completed_at"], rows["started_at"], strict=True)
    return [f"completed_at {completed.isoformat()}, started_at {started.isoformat()}" for completed, started in times]


def _times_that(invalid: Callable[[pd.Series], pd.Series]) -> Callable[[pd.DataFrame], list[str]]:
    def describe(rows: pd.DataFrame) -> list[str]:
        columns = ("started_at", "completed_at")
        flags = [invalid(rows[name]).to_numpy(bool) for name in columns]
        times = [rows[name].tolist() for name in columns]
        return [
            ", ".join(
                f"{name} {column[row].isoformat()}"
                for name, column, is_invalid in zip(columns, times, flags, strict=True)
                if is_invalid[row]
            )
            for row in range(len(rows))
        ]

    return describe

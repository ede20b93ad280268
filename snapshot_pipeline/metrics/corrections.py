"""Corrections of the platform's rows, and the list of the invalid ones. Source: docs/metrics.md, "Invalid rows".

Every figure is computed from corrected rows; no invalid row fails a student. All functions are pure, and vectorized
except for the rows that are listed. The *moment* is when the run began: a later time does not exist yet.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from datetime import datetime
from typing import Any, NamedTuple
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

MAX_SKEW = np.timedelta64(5, "m")
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
_TIMES = ("started_at", "completed_at")
_Instants = NDArray[np.datetime64]
"""`datetime64[us]`, in UTC. A comparison with NaT is false."""
_Row = dict[Hashable, Any]
_Kind = tuple[str, Flags, Callable[[_Row], str]]
"""The name of an issue, which rows have it, and what to say of one."""


class Issue(NamedTuple):
    """An invalid row; `day` is the local day of its corrected start or completion."""

    source_table: str
    source_key: str
    issue: str
    user_id: int
    day: np.datetime64
    detail: str


_ISSUE_TYPES = [np.dtype(kind) for kind in (object, object, object, np.int64, "datetime64[s]", object)]


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
    valid = _with_valid_times(rows, moment)
    corrected = valid.assign(time_spent_minutes=valid["time_spent_minutes"].clip(lower=0))
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
    valid = _is_valid(_instants(rows["completed_at"]), moment)
    scores = in_percent(rows["score"].to_numpy(np.float64), score_maximum)
    return rows.assign(score=scores, is_scored=~np.isnan(scores))[valid]


def correct_exercises(rows: pd.DataFrame, moment: datetime) -> pd.DataFrame:
    """Return the exercises whose `created_at` is valid."""
    return rows[_is_valid(_instants(rows["created_at"]), moment)]


def in_percent(scores: Floats, score_maximum: float) -> Floats:
    """Scores as percent of full marks, limited to 0 to 100; one that is not finite is NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(np.isfinite(scores), np.clip(FULL_MARKS * scores / score_maximum, 0, FULL_MARKS), np.nan)


def progress_issues(rows: pd.DataFrame, moment: datetime, zone: ZoneInfo) -> list[Issue]:
    """List the invalid rows of lesson progress, on the local days of their corrected starts.

    Args:
        rows: As for `correct_progress`, and `copies`: how many rows the table has for the student and lesson.
        moment: When the run began.
        zone: The zone of the days.
    """
    rows = rows[_may_be_invalid(rows, moment)]
    if rows.empty:
        return []
    valid = _order(_with_valid_times(rows, moment))
    rows = rows.loc[valid.index]
    minutes = rows["time_spent_minutes"].to_numpy(np.int64)
    skew = _instants(valid["started_at"]) - _instants(valid["completed_at"])
    kinds: list[_Kind] = [
        (NEGATIVE_MINUTES, (minutes < 0) & (minutes != NOT_A_NUMBER), _minutes_of),
        (IMPLAUSIBLE_MINUTES, (minutes > MAX_MINUTES) | (minutes == NOT_A_NUMBER), _minutes_of),
        (COMPLETED_BEFORE_STARTED, skew > MAX_SKEW, lambda row: _times_of(row, ["completed_at", "started_at"])),
        (DUPLICATE_PROGRESS, rows["copies"].to_numpy() > 1, lambda row: f"{row['copies']} rows"),
        (
            FUTURE_TIMESTAMP,
            _any_time(rows, lambda times: times > _instant(moment)),
            lambda row: _times_of(row, [name for name in _TIMES if row[name] > moment]),
        ),
        (
            IMPLAUSIBLE_TIMESTAMP,
            _any_time(rows, lambda times: times < _instant(EARLIEST)),
            lambda row: _times_of(row, [name for name in _TIMES if row[name] < EARLIEST]),
        ),
    ]
    return _list_issues(PROGRESS, rows, _lesson_of, valid["start"], zone, kinds)


def attempt_issues(rows: pd.DataFrame, moment: datetime, zone: ZoneInfo) -> list[Issue]:
    """List the invalid quiz attempts, on the local days of their completions.

    Args:
        rows: `user_id`, `attempt_id`, `completed_at`, `score`, and `is_scored`: whether the score is not null.
        moment: When the run began.
        zone: The zone of the days.
    """
    scores = rows["score"].to_numpy(np.float64)
    finite = np.isfinite(scores)
    invalid = rows["is_scored"].to_numpy(bool) & ~(finite & (scores >= 0))
    invalid &= _is_valid(_instants(rows["completed_at"]), moment)
    rows, finite = rows[invalid], finite[invalid]
    kinds: list[_Kind] = [
        (NEGATIVE_SCORE, finite, lambda row: f"score {row['score']}"),
        (NON_FINITE_SCORE, ~finite, lambda row: f"score {row['score']}"),
    ]
    return _list_issues(ATTEMPTS, rows, lambda row: str(row["attempt_id"]), rows["completed_at"], zone, kinds)


def issue_frame(issues: Iterable[Issue] = ()) -> pd.DataFrame:
    """The issues as a frame: texts, `user_id` int64, `day` `datetime64[s]`; of several of a row and kind the first."""
    distinct: dict[tuple[str, str, str], Issue] = {}
    for issue in issues:
        distinct.setdefault(issue[:3], issue)
    columns = list(zip(*distinct.values(), strict=True)) or [()] * len(_ISSUE_TYPES)
    arrays = (np.array(values, dtype=kind) for values, kind in zip(columns, _ISSUE_TYPES, strict=True))
    return pd.DataFrame(dict(zip(Issue._fields, arrays, strict=True)))


def local_dates(instants: pd.Series, zone: ZoneInfo) -> NDArray[np.datetime64]:
    """The local date of each instant, `datetime64[s]`; NaT for NaT."""
    local = pd.DatetimeIndex(instants).tz_convert(zone).tz_localize(None)
    return local.to_numpy().astype("datetime64[D]").astype("datetime64[s]")


def _list_issues(
    table: str,
    rows: pd.DataFrame,
    key: Callable[[_Row], str],
    instants: pd.Series,
    zone: ZoneInfo,
    kinds: list[_Kind],
) -> list[Issue]:
    if rows.empty:
        return []
    records, days = rows.to_dict("records"), local_dates(instants, zone)
    return [
        Issue(table, key(records[n]), issue, records[n]["user_id"], days[n], describe(records[n]))
        for issue, invalid, describe in kinds
        for n in np.flatnonzero(invalid).tolist()
    ]


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


def _with_valid_times(rows: pd.DataFrame, moment: datetime) -> pd.DataFrame:
    """The rows with a valid time, with NaT for an invalid one, and `start`: the earlier of the times that are there."""
    times = {name: _instants(rows[name]) for name in _TIMES}
    times = {name: np.where(_is_valid(at, moment), at, np.datetime64("NaT")) for name, at in times.items()}
    times["start"] = np.fmin(times["started_at"], times["completed_at"])
    valid = rows.assign(**{name: pd.DatetimeIndex(at, tz="UTC") for name, at in times.items()})
    return valid[~np.isnat(times["start"])]


def _is_valid(times: _Instants, moment: datetime) -> Flags:
    """Whether a time is there, not before 2000 and not after the moment."""
    return (times >= _instant(EARLIEST)) & (times <= _instant(moment))


def _instants(times: pd.Series) -> _Instants:
    return times.to_numpy("datetime64[us]")


def _instant(at: datetime) -> np.datetime64:
    return pd.Timestamp(at).to_datetime64()


def _may_be_invalid(rows: pd.DataFrame, moment: datetime) -> Flags:
    """Whether a row of progress can have an issue: hardly any can, and the exact rules are costlier than this."""
    earliest, latest = _instant(EARLIEST), _instant(moment)
    invalid_time = _any_time(rows, lambda times: (times < earliest) | (times > latest))
    minutes = rows["time_spent_minutes"].to_numpy(np.int64)
    is_reversed = _instants(rows["started_at"]) > _instants(rows["completed_at"])
    is_copy = rows["copies"].to_numpy(np.int64) > 1
    return invalid_time | (minutes < 0) | (minutes > MAX_MINUTES) | is_reversed | is_copy


def _any_time(rows: pd.DataFrame, invalid: Callable[[_Instants], Flags]) -> Flags:
    return invalid(_instants(rows["started_at"])) | invalid(_instants(rows["completed_at"]))


def _lesson_of(row: _Row) -> str:
    return f"{row['user_id']}/{row['lesson_id']}"


def _minutes_of(row: _Row) -> str:
    minutes = row["time_spent_minutes"]
    return f"time_spent_minutes {'NaN' if minutes == NOT_A_NUMBER else minutes}"


def _times_of(row: _Row, names: Iterable[str]) -> str:
    return ", ".join(f"{name} {row[name].isoformat()}" for name in names)

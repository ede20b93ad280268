"""The invalid rows of a sample: a score out of range, a negative time, a completion before the start."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from snapshot_pipeline.metrics.corrections import COMPLETED_BEFORE_STARTED, NEGATIVE_MINUTES, NEGATIVE_SCORE
from snapshot_pipeline.platform.sample.arrays import HOUR, MINUTE, Calendar, Ints, concatenate
from snapshot_pipeline.platform.sample.catalog import Catalog
from snapshot_pipeline.platform.sample.students import Attempts, People, Study

INVALID_REASONS = (NEGATIVE_SCORE, NEGATIVE_MINUTES, COMPLETED_BEFORE_STARTED)
"""The kinds of invalid rows; the students chosen get them in turn."""
AFFECTED_DAYS = 7
"""An invalid row affects its student on each of this many days before `until`, and usually on more."""

_QUIZ_AVERAGE_ATTEMPTS = 10  # the newest scored attempts enter a quiz average (metrics.md)
_INVALID_SCORES = (-5.0, 130.0, np.nan)


@dataclass(frozen=True)
class InvalidRows:
    """The invalid rows of a chunk, one array element each.

    Attributes:
        number: The row's number over all chunks; selects one of several invalid values.
        person: Index into `People`; unique.
        reason: Index into `INVALID_REASONS`.
        moment: The row's time: noon of the first affected day, or the student's first start if that is later.
    """

    number: Ints
    person: Ints
    reason: Ints
    moment: Ints


def choose_invalid(
    people: People,
    study: Study,
    attempts: Attempts,
    calendar: Calendar,
    first_number: int,
    count: int,
    generator: np.random.Generator,
) -> InvalidRows:
    """Choose `count` students with a snapshot on the last day; they get the reasons in turn.

    `first_number` is the number of invalid rows in all earlier chunks.
    """
    affected_from = _affected_from(calendar)
    eligible = np.flatnonzero(people.is_eligible)
    first_start = study.started[np.searchsorted(study.person, eligible)]
    moment = np.maximum(first_start, affected_from)
    # Students who had started before the affected days come first; the others only if these are too few.
    is_late = first_start > affected_from
    chosen = np.argsort(is_late + generator.random(len(eligible)), kind="stable")[:count]
    person, moment = eligible[chosen], moment[chosen]
    number = first_number + np.arange(count)
    reason = number % len(INVALID_REASONS)
    # An invalid score has an effect only among the newest ten attempts; a student with more newer ones gets reason 1.
    newer = _scored_since(person, moment, attempts, len(people.user_id))
    reason = np.where((reason == 0) & (newer >= _QUIZ_AVERAGE_ATTEMPTS), 1, reason)
    return InvalidRows(number, person, reason, moment)


def _affected_from(calendar: Calendar) -> int:
    """Return noon of the first affected day; that is before the first day if the period is short."""
    return calendar.start(calendar.count - AFFECTED_DAYS) + 12 * HOUR


def _scored_since(person: Ints, moment: Ints, attempts: Attempts, people: int) -> Ints:
    """Return the number of scored attempts that each person completed at the moment or later."""
    moments = np.full(people, np.iinfo(np.int64).max)
    moments[person] = moment
    is_newer = attempts.is_graded & (attempts.completed >= moments[attempts.person])
    return np.bincount(attempts.person[is_newer], minlength=people)[person]


def add_invalid(
    invalid: InvalidRows,
    people: People,
    study: Study,
    attempts: Attempts,
    calendar: Calendar,
    catalog: Catalog,
    generator: np.random.Generator,
) -> tuple[Study, Attempts]:
    """Return the study and the attempts with one invalid row added for each of the students chosen."""
    track = people.track[invalid.person]
    value = invalid.number // len(INVALID_REASONS) % len(_INVALID_SCORES)
    amount = generator.integers(1, 180, len(invalid.person))

    is_score = invalid.reason == 0
    invalid_attempts = Attempts(
        person=invalid.person,
        quiz=catalog.entry_tests[track],
        score=np.array(_INVALID_SCORES)[value],
        is_graded=np.ones(len(invalid.person), dtype=bool),
        completed=invalid.moment,
    )
    is_negative = invalid.reason == 1
    completed = invalid.moment + np.where(is_negative, amount, -amount) * MINUTE
    invalid_study = Study(
        person=invalid.person,
        lesson=catalog.last_lessons[track],
        started=invalid.moment,
        completed=completed,
        is_completed=completed < calendar.end,
        minutes=np.where(is_negative, -amount, amount),
    )
    study = concatenate([study, invalid_study.where(~is_score)])
    attempts = concatenate([attempts, invalid_attempts.where(is_score)])
    return study, attempts


def invalid_frame(people: People, invalid: InvalidRows) -> pd.DataFrame:
    """Return the students with an invalid row: `user_id` (int64), `reason` (text)."""
    reasons = np.array(INVALID_REASONS, dtype=object)[invalid.reason]
    return pd.DataFrame({"user_id": people.user_id[invalid.person], "reason": reasons})

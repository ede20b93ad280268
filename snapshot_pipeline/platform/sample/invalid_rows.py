"""The rows that cannot be right, and who is given one.

Put here: the kinds of wrong rows, the choice of students, and the rows planted.
Do not put here: how the pipeline finds them (`metrics.faults`), or rows that are right (`studies`, `attempts`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from snapshot_pipeline.metrics.issues import COMPLETED_BEFORE_STARTED, NEGATIVE_TIME_SPENT, SCORE_OUT_OF_RANGE
from snapshot_pipeline.platform.sample.arrays import Ints, concatenated
from snapshot_pipeline.platform.sample.attempts import Attempts
from snapshot_pipeline.platform.sample.calendar import HOUR, MINUTE, Calendar
from snapshot_pipeline.platform.sample.catalogue import Catalogue
from snapshot_pipeline.platform.sample.people import People
from snapshot_pipeline.platform.sample.studies import Study

PLANTED_REASONS = (SCORE_OUT_OF_RANGE, NEGATIVE_TIME_SPENT, COMPLETED_BEFORE_STARTED)
"""The kinds of wrong rows, in the order in which they are dealt out to students."""
CLOSED_DAYS_SPOILED = 7
"""A planted row makes its student fail on each of this many days before `until`, and usually on more."""

_NEWEST_ATTEMPTS = 10  # how many scored attempts enter a quiz average (metrics.md)
_PLANTED_SCORES = (-5.0, 130.0, np.nan)


@dataclass(frozen=True)
class Wrong:
    """The students who are given a wrong row, one array entry each.

    Attributes:
        number: The planted row's number over all chunks; decides which of several values it is given.
        person: The number of the person in the chunk.
        reason: The number of the reason in `PLANTED_REASONS`.
        moment: When the row happens: on the first spoiled day, or at the student's first start where that is later.
    """

    number: Ints
    person: Ints
    reason: Ints
    moment: Ints


def choose_wrong(
    people: People,
    study: Study,
    attempts: Attempts,
    calendar: Calendar,
    planted_before: int,
    wanted: int,
    generator: np.random.Generator,
) -> Wrong:
    """Choose `wanted` of those who have a snapshot on the last day, and deal the reasons out to them in turn.

    Args:
        people: The chunk's people.
        study: What they study.
        attempts: What they have handed in.
        calendar: The days.
        planted_before: How many wrong rows the chunks before this one were given.
        wanted: How many this one is given.
        generator: The chunk's random stream.
    """
    spoiled_from = _spoiled_from(calendar)
    eligible = np.flatnonzero(people.is_eligible)
    first_start = study.started[np.searchsorted(study.person, eligible)]
    moment = np.maximum(first_start, spoiled_from)
    # Those who were there on all the spoiled days come first; later arrivals only when these do not suffice.
    is_late = first_start > spoiled_from
    chosen = np.argsort(is_late + generator.random(len(eligible)), kind="stable")[:wanted]
    person, moment = eligible[chosen], moment[chosen]
    number = planted_before + np.arange(wanted)
    reason = number % len(PLANTED_REASONS)
    # A bad score tells while it is among the newest ten: not for whoever takes more quizzes than that in a week.
    newer = _scored_since(person, moment, attempts, len(people.user_id))
    reason = np.where((reason == 0) & (newer >= _NEWEST_ATTEMPTS), 1, reason)
    return Wrong(number, person, reason, moment)


def _spoiled_from(calendar: Calendar) -> int:
    """Noon of the first day on which a planted row has to tell; before the first day when the period is short."""
    return calendar.start(calendar.count - CLOSED_DAYS_SPOILED) + 12 * HOUR


def _scored_since(person: Ints, moment: Ints, attempts: Attempts, people: int) -> Ints:
    """How many scored attempts each of the persons completed at the moment or later."""
    moments = np.full(people, np.iinfo(np.int64).max)
    moments[person] = moment
    is_newer = attempts.is_graded & (attempts.completed >= moments[attempts.person])
    return np.bincount(attempts.person[is_newer], minlength=people)[person]


def plant(
    wrong: Wrong,
    people: People,
    study: Study,
    attempts: Attempts,
    calendar: Calendar,
    catalogue: Catalogue,
    generator: np.random.Generator,
) -> tuple[Study, Attempts]:
    """The study and the attempts with one more row for each of the students chosen."""
    track = people.track[wrong.person]
    value = wrong.number // len(PLANTED_REASONS) % len(_PLANTED_SCORES)
    amount = generator.integers(1, 180, len(wrong.person))

    is_score = wrong.reason == 0
    bad_attempts = Attempts(
        person=wrong.person,
        quiz=catalogue.entry_tests[track],
        score=np.array(_PLANTED_SCORES)[value],
        is_graded=np.ones(len(wrong.person), dtype=bool),
        completed=wrong.moment,
    )
    is_negative = wrong.reason == 1
    completed = wrong.moment + np.where(is_negative, amount, -amount) * MINUTE
    bad_study = Study(
        person=wrong.person,
        lesson=catalogue.last_lessons[track],
        started=wrong.moment,
        completed=completed,
        is_completed=completed < calendar.end,
        minutes=np.where(is_negative, -amount, amount),
    )
    return concatenated([study, bad_study.where(~is_score)]), concatenated([attempts, bad_attempts.where(is_score)])


def planted_frame(people: People, wrong: Wrong) -> pd.DataFrame:
    """Who was given a wrong row, and of what kind: `user_id` (int64), `reason` (text)."""
    reasons = np.array(PLANTED_REASONS, dtype=object)[wrong.reason]
    return pd.DataFrame({"user_id": people.user_id[wrong.person], "reason": reasons})

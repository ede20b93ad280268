"""Rows that a platform should not have, or that are easily mistaken for invalid: one kind for each student chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone

import numpy as np
import pandas as pd

from snapshot_pipeline.metrics.corrections import (
    COMPLETED_BEFORE_STARTED,
    FUTURE_TIMESTAMP,
    IMPLAUSIBLE_MINUTES,
    IMPLAUSIBLE_TIMESTAMP,
    MAX_MINUTES,
    NEGATIVE_MINUTES,
    NEGATIVE_SCORE,
    NON_FINITE_SCORE,
)
from snapshot_pipeline.platform.sample.arrays import DAY, HOUR, MINUTE, Calendar, Ints, Records, concatenate
from snapshot_pipeline.platform.sample.catalog import Catalog
from snapshot_pipeline.platform.sample.students import Attempts, People, Study

AFFECTED_DAYS = 7
"""The invalid rows fall on this many days before `until`."""

_DAYS_BEFORE_END = (1, 2, 1, 3, 1, 4, 1, 5, 1, 6, 1, 7)
"""The day of a row, by how often its kind has occurred before: every second is on the last day."""

_SECOND = MINUTE // 60
_EPOCH = 0
_FUTURE = int(datetime(2200, 1, 1, tzinfo=timezone.utc).timestamp()) * 1_000_000  # later than any permitted `until`


@dataclass(frozen=True)
class InvalidRows(Records):
    """The students of a chunk who get an invalid row, one array element each; instants in microseconds.

    Attributes:
        person: Index into `People`; unique.
        kind: Index into `KINDS`.
        moment: Noon of the row's day, or the student's first start if that is later.
        midnight: The end of the local day of `moment`.
        minutes: A plausible number of minutes, 10 to 179.
        lesson: The last lesson of the track, which no other row refers to.
        entry_test: A quiz without a lesson.
        unpublished_quiz: A quiz of a lesson of the track that is not published.
    """

    person: Ints
    kind: Ints
    moment: Ints
    midnight: Ints
    minutes: Ints
    lesson: Ints
    entry_test: Ints
    unpublished_quiz: Ints


def _attempt(rows: InvalidRows, score: float, quiz: Ints | None = None) -> Attempts:
    """Return a graded attempt at the entry test, or at another quiz."""
    return Attempts(
        person=rows.person,
        quiz=rows.entry_test if quiz is None else quiz,
        score=np.full(len(rows.person), score),
        is_graded=np.ones(len(rows.person), dtype=bool),
        completed=rows.moment,
    )


def _lesson(rows: InvalidRows, completed: Ints | None = None, minutes: Ints | None = None) -> Study:
    """Return a lesson started at the moment; without `completed` it is still open."""
    return Study(
        person=rows.person,
        lesson=rows.lesson,
        started=rows.moment,
        is_started=np.ones(len(rows.person), dtype=bool),
        completed=rows.moment if completed is None else completed,
        is_completed=np.full(len(rows.person), completed is not None),
        minutes=rows.minutes if minutes is None else minutes,
    )


def negative_score(rows: InvalidRows, score: float = -5.0) -> Attempts:
    """Return a graded attempt at the entry test with a score below 0."""
    return _attempt(rows, score)


def completed_before_start(rows: InvalidRows) -> Study:
    """Return a lesson that was completed minutes before it was started."""
    return _lesson(rows, completed=rows.moment - rows.minutes * MINUTE)


def _completed_without_start(rows: InvalidRows) -> Study:
    # `started` is the position among the rows: the platform wrote this one when the lesson was completed.
    completed = _lesson(rows, completed=rows.moment)
    return replace(completed, is_started=np.zeros(len(rows.person), dtype=bool))


def _minutes_over_midnight(rows: InvalidRows) -> Study:
    return replace(_lesson(rows), started=np.maximum(rows.moment, rows.midnight - 5 * MINUTE))


def _completed_at(moment: int) -> Callable[[InvalidRows], Study]:
    return lambda rows: _lesson(rows, completed=np.full(len(rows.person), moment))


@dataclass(frozen=True)
class Kind:
    """A kind of row.

    Attributes:
        issue: How `data_issues` lists the row; None: not at all.
        make: Creates one row for each student; None: `_finish`.
    """

    name: str
    issue: str | None
    make: Callable[[InvalidRows], Study | Attempts] | None


KINDS = (
    Kind("extra_credit", None, lambda rows: _attempt(rows, 110.0)),
    Kind("negative_score", NEGATIVE_SCORE, negative_score),
    Kind("float_noise", None, lambda rows: _attempt(rows, 100.00000000000001)),
    Kind("negative_minutes", NEGATIVE_MINUTES, lambda rows: _lesson(rows, minutes=-rows.minutes)),
    Kind("skew_of_a_second", None, lambda rows: _lesson(rows, completed=rows.moment - _SECOND)),
    Kind("completed_before_start", COMPLETED_BEFORE_STARTED, completed_before_start),
    Kind("completed_without_start", None, _completed_without_start),
    Kind("nan_score", NON_FINITE_SCORE, lambda rows: _attempt(rows, np.nan)),
    Kind("minutes_over_midnight", None, _minutes_over_midnight),
    Kind("implausible_minutes", IMPLAUSIBLE_MINUTES, lambda rows: _lesson(rows, minutes=rows.minutes + MAX_MINUTES)),
    Kind("more_minutes_than_passed", None, lambda rows: _lesson(rows, minutes=rows.minutes + 24 * 60)),
    Kind("epoch_for_never", IMPLAUSIBLE_TIMESTAMP, _completed_at(_EPOCH)),
    Kind("unpublished_lesson", None, lambda rows: _attempt(rows, 40.0, rows.unpublished_quiz)),
    Kind("future_completion", FUTURE_TIMESTAMP, _completed_at(_FUTURE)),
    Kind("finished_student", None, None),
    Kind("opened_again", COMPLETED_BEFORE_STARTED, lambda rows: _lesson(rows, completed=rows.moment - 3 * DAY)),
)
"""The kinds; the students chosen get them in turn. An invalid row fails nobody: see `metrics.corrections`.

A row that occurs twice is not among them, because the tables of a sample have a unique key.
"""


def choose_invalid(
    people: People,
    study: Study,
    calendar: Calendar,
    catalog: Catalog,
    first_number: int,
    count: int,
    generator: np.random.Generator,
) -> InvalidRows:
    """Choose `count` students with a snapshot on the last day; they get the kinds in turn.

    `first_number` is the number of invalid rows in all earlier chunks.
    """
    eligible = np.flatnonzero(people.is_eligible)
    first_start = study.started[np.searchsorted(study.person, eligible)]
    # Students who had started before the affected days come first; the others only if these are too few.
    is_late = first_start > _noon(calendar, AFFECTED_DAYS)
    chosen = np.argsort(is_late + generator.random(len(eligible)), kind="stable")[:count]
    person = eligible[chosen]
    number = first_number + np.arange(count)
    noons = np.array([_noon(calendar, days) for days in _DAYS_BEFORE_END])
    moment = np.maximum(first_start[chosen], noons[number // len(KINDS) % len(noons)])
    rows = invalid_rows(person, people, calendar, catalog, moment)
    return replace(rows, kind=number % len(KINDS), minutes=generator.integers(10, 180, count))


def invalid_rows(person: Ints, people: People, calendar: Calendar, catalog: Catalog, moment: Ints) -> InvalidRows:
    """Return the rows of these people at these moments, of kind 0 and with 45 minutes."""
    track = people.track[person]
    return InvalidRows(
        person=person,
        kind=np.zeros(len(person), dtype=np.int64),
        moment=moment,
        midnight=calendar.starts[np.searchsorted(calendar.starts, moment, side="right")],
        minutes=np.full(len(person), 45, dtype=np.int64),
        lesson=catalog.last_lessons[track],
        entry_test=catalog.entry_tests[track],
        unpublished_quiz=catalog.unpublished_quizzes[track],
    )


def _noon(calendar: Calendar, days_before_end: int) -> int:
    """Return noon of one of the last days; that is before the first day if the period is short."""
    return calendar.start(calendar.count - days_before_end) + 12 * HOUR


def add_invalid(
    invalid: InvalidRows, people: People, study: Study, attempts: Attempts, catalog: Catalog
) -> tuple[Study, Attempts]:
    """Return the study and the attempts with the rows of the students chosen."""
    studies, all_attempts = [study], [attempts]
    for number, kind in enumerate(KINDS):
        rows = invalid.where(invalid.kind == number)
        if kind.make is None:
            studies[0] = _finish(rows, people, studies[0], catalog)
        else:
            made = kind.make(rows)
            if isinstance(made, Study):
                studies.append(made)
            else:
                all_attempts.append(made)
    return concatenate(studies), concatenate(all_attempts)


def _finish(rows: InvalidRows, people: People, study: Study, catalog: Catalog) -> Study:
    """Complete all published lessons of the track, as an institution does that accepts credits from elsewhere."""
    if not len(rows.person):
        return study
    moments = np.zeros(len(people.user_id), dtype=np.int64)
    moments[rows.person] = rows.moment
    is_open = np.isin(study.person, rows.person) & ~study.is_completed
    closed = np.maximum(study.started, moments[study.person])
    completed = np.where(is_open, closed, study.completed)
    known = replace(study, completed=completed, is_completed=study.is_completed | is_open)
    accepted = [
        _accepted_lessons(person, moment, _missing_lessons(person, people, study, catalog))
        for person, moment in zip(rows.person.tolist(), rows.moment.tolist(), strict=True)
    ]
    return concatenate([known, *accepted])


def _missing_lessons(person: int, people: People, study: Study, catalog: Catalog) -> Ints:
    """Return the published lessons of the track that the student has not started."""
    lessons = catalog.published_lessons[people.track[person]]
    begin, end = np.searchsorted(study.person, [person, person + 1])
    return np.setdiff1d(lessons, study.lesson[begin:end])


def _accepted_lessons(person: int, moment: int, lessons: Ints) -> Study:
    """Return lessons that were completed at a moment, without start or minutes."""
    count = len(lessons)
    return Study(
        person=np.full(count, person),
        lesson=lessons,
        started=np.full(count, moment),
        is_started=np.zeros(count, dtype=bool),
        completed=np.full(count, moment),
        is_completed=np.ones(count, dtype=bool),
        minutes=np.zeros(count, dtype=np.int64),
    )


def invalid_frame(people: People, invalid: InvalidRows) -> pd.DataFrame:
    """Return the students chosen: `user_id` (int64), `kind` (text), `issue` (text; None: not listed)."""
    kinds = [KINDS[kind] for kind in invalid.kind]
    return pd.DataFrame(
        {
            "user_id": people.user_id[invalid.person],
            "kind": np.array([kind.name for kind in kinds], dtype=object),
            "issue": np.array([kind.issue for kind in kinds], dtype=object),
        }
    )

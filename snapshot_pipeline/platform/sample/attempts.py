"""What is handed in after the lessons: quiz attempts with their scores, and exercises.

Put here: all that becomes `quiz_attempts` and `exercise_submissions`.
Do not put here: the lessons that they follow from (`studies`), or scores that cannot be right (`faults`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snapshot_pipeline.platform.sample.arrays import Entries, Flags, Floats, Ints, concatenated
from snapshot_pipeline.platform.sample.calendar import HOUR, MINUTE, Calendar
from snapshot_pipeline.platform.sample.catalogue import Catalogue
from snapshot_pipeline.platform.sample.people import People
from snapshot_pipeline.platform.sample.studies import Study


@dataclass(frozen=True)
class Attempts(Entries):
    """The quiz attempts, one array entry each: as in `quiz_attempts`, with the number of the person in the chunk."""

    person: Ints
    quiz: Ints
    score: Floats
    is_graded: Flags
    completed: Ints


@dataclass(frozen=True)
class Submissions(Entries):
    """The exercises handed in, one array entry each."""

    person: Ints
    created: Ints


def make_attempts(
    people: People, study: Study, calendar: Calendar, catalogue: Catalogue, generator: np.random.Generator
) -> Attempts:
    """Attempts at the quizzes of completed lessons with up to two retries, and the entry tests."""
    quiz = catalogue.quiz_of_lesson[study.lesson]
    taken = np.flatnonzero(study.is_completed & (quiz > 0) & (generator.random(len(quiz)) < 0.44))
    starters = np.flatnonzero(people.has_started)
    tested = starters[generator.random(len(starters)) < 0.3]
    first_rows = np.searchsorted(study.person, tested)  # the rows are by person and time
    latest = _first_attempts(
        people,
        person=np.concatenate([study.person[taken], tested]),
        quiz=np.concatenate([quiz[taken], catalogue.entry_tests[people.track[tested]]]),
        after=np.concatenate([study.completed[taken], study.started[first_rows]]),
        generator=generator,
    )
    tries = [latest]
    for share_of_retries in (0.6, 0.4):
        again = (latest.score < 70) & (generator.random(len(latest.score)) < share_of_retries)
        latest = _next_attempts(latest.where(again), generator)
        tries.append(latest)
    attempts = concatenated(tries)
    return attempts.where(attempts.completed < calendar.end)


def _first_attempts(people: People, person: Ints, quiz: Ints, after: Ints, generator: np.random.Generator) -> Attempts:
    count = len(person)
    score = people.ability[person] + 9 * generator.standard_normal(count)
    pause = MINUTE * (2 + 25 * generator.standard_exponential(count))
    is_graded = generator.random(count) >= 0.05
    return Attempts(person, quiz, _marked(score), is_graded, after + pause.astype(np.int64))


def _next_attempts(before: Attempts, generator: np.random.Generator) -> Attempts:
    count = len(before.person)
    score = before.score + np.abs(12 + 6 * generator.standard_normal(count))
    pause = HOUR * (0.2 + 14 * generator.standard_exponential(count))
    is_graded = generator.random(count) >= 0.05
    completed = before.completed + pause.astype(np.int64)
    return Attempts(before.person, before.quiz, _marked(score), is_graded, completed)


def _marked(score: Floats) -> Floats:
    """Percent in steps of 2.5: a quiz of forty points."""
    return np.clip(np.round(score / 2.5) * 2.5, 0, 100)


def make_submissions(people: People, study: Study, calendar: Calendar, generator: np.random.Generator) -> Submissions:
    """The exercises of completed lessons, by diligence."""
    handed_in = study.is_completed & (generator.random(len(study.person)) < people.diligence[study.person])
    person = study.person[handed_in]
    pause = HOUR * 10 * generator.standard_exponential(len(person))
    created = study.completed[handed_in] + pause.astype(np.int64)
    return Submissions(person, created).where(created < calendar.end)

"""Students and what they do: the lessons they start and complete, their quiz attempts and exercises."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from snapshot_pipeline.platform.sample.arrays import (
    DAY,
    HOUR,
    MINUTE,
    Calendar,
    Flags,
    Floats,
    Ints,
    Records,
    concatenate,
)
from snapshot_pipeline.platform.sample.catalog import LESSONS_A_DAY, TRACK_WITHOUT_EXERCISES, Catalog

ROLES = ("student", "STUDENT", "Student", "teacher", "TEACHER", "admin")
_STUDENT_ROLE_SHARES = (0.85, 0.12, 0.03)
_STAFF_ROLE_SHARES = (0.0, 0.0, 0.0, 0.6, 0.25, 0.15)
_STAFF_PERCENT = 2
_ARCHETYPE_SHARES = (0.40, 0.15, 0.10, 0.15, 0.10, 0.10)  # in the order of Archetype
_TRACK_SHARES = (0.22, 0.13, 0.07, 0.18, 0.10, 0.06, 0.13, 0.07, 0.04)  # in the order of TRACKS
_LONGEST_DAY = 1 << 37  # a power of two above 25 hours
_WEEKDAY_FACTORS = np.array([1.2, 1.2, 1.15, 1.1, 0.95, 0.5, 0.5])  # Monday to Sunday
_DEADLINE_FACTORS = np.array([3.4, 2.6, 2.2, 1.4, *[0.14] * 10])  # by days left until the fortnight's Sunday


class Archetype(IntEnum):
    """A pattern of studying."""

    STEADY = 0
    CRAMMING = 1
    OVERWORKED = 2
    FADING = 3
    RETURNING = 4
    WEAK = 5


@dataclass(frozen=True)
class People:
    """The users of a chunk, one array element each.

    Attributes:
        user_id: Unique over all chunks, ascending with gaps.
        is_student: False for teachers and admins.
        role: Index into `ROLES`.
        track: Index into `TRACKS`.
        has_track: False for users who have not chosen a track.
        archetype: An `Archetype`.
        has_started: False for users who never start a lesson.
        enrolled_day: The day of the first lesson, 0 to count - 1.
        pace: Lessons per weekday, roughly.
        ability: The mean score in percent.
        diligence: Exercises submitted per completed lesson.
    """

    user_id: Ints
    is_student: Flags
    role: Ints
    is_active: Flags
    track: Ints
    has_track: Flags
    archetype: Ints
    has_started: Flags
    enrolled_day: Ints
    pace: Floats
    ability: Floats
    diligence: Floats

    @property
    def is_eligible(self) -> Flags:
        """Whether a user has a snapshot on the last day, and so may get an invalid row."""
        return self.is_student & self.is_active & self.has_started


def make_people(first_student: int, students: int, calendar: Calendar, generator: np.random.Generator) -> People:
    """Create the students from `first_student` on, with 2 % teachers and admins among them."""
    first = first_student + _staff_before(first_student)
    count = first_student + students + _staff_before(first_student + students) - first
    is_student = np.ones(count, dtype=bool)
    is_student[generator.permutation(count)[: count - students]] = False
    archetype = np.where(is_student, _pick(_ARCHETYPE_SHARES, count, generator), Archetype.FADING)
    has_started = generator.random(count) >= np.where(is_student, 0.02, 0.8)
    is_weak = archetype == Archetype.WEAK
    return People(
        user_id=1_000 + 3 * np.arange(first, first + count) + generator.integers(0, 3, count),
        is_student=is_student,
        role=np.where(
            is_student, _pick(_STUDENT_ROLE_SHARES, count, generator), _pick(_STAFF_ROLE_SHARES, count, generator)
        ),
        is_active=generator.random(count) >= 0.03,
        track=_pick(_TRACK_SHARES, count, generator),
        has_track=has_started | (generator.random(count) < 0.7),
        archetype=archetype,
        has_started=has_started,
        enrolled_day=_enrollment_day(count, calendar.count, generator),
        pace=np.clip(0.85 * np.exp(0.35 * generator.standard_normal(count)), 0.25, LESSONS_A_DAY),
        ability=np.clip(np.where(is_weak, 58, 83) + 7 * generator.standard_normal(count), 30, 98),
        diligence=np.where(generator.random(count) < 0.5, 0.04, 0.35),
    )


def _staff_before(students: int) -> int:
    return -(-students * _STAFF_PERCENT // 100)


def _pick(shares: tuple[float, ...], count: int, generator: np.random.Generator) -> Ints:
    """Return `count` random indexes into `shares`, each with the probability of its share."""
    bounds = np.cumsum(shares)
    bounds[-1] = 1.0  # the sum may differ from 1 in its last bit
    return np.searchsorted(bounds, generator.random(count), side="right").astype(np.int64)


def _enrollment_day(count: int, days: int, generator: np.random.Generator) -> Ints:
    """Return the day of enrollment: the first day, more often one of the first half, rarely a later one."""
    kind, where = generator.random(count), generator.random(count)
    begin = np.select([kind < 0.12, kind < 0.92], [0.0, 0.5 * where], 0.5 + 0.5 * where)
    return np.minimum((begin * days).astype(np.int64), days - 1)


@dataclass(frozen=True)
class Study(Records):
    """The rows of `user_lesson_progress`, one array element each; all instants in microseconds since 1970 UTC.

    Attributes:
        person: Index into `People`.
        started: Of a lesson that was never started (`is_started`), when the row was written.
        completed: Meaningless unless `is_completed`.
        is_completed: Whether it was completed before the end of the period.
    """

    person: Ints
    lesson: Ints
    started: Ints
    is_started: Flags
    completed: Ints
    is_completed: Flags
    minutes: Ints


def make_study(people: People, calendar: Calendar, catalog: Catalog, generator: np.random.Generator) -> Study:
    """Create the lessons that each person starts, by person and time, up to the end of the period."""
    is_burst = _burst_days(people, calendar, generator)
    rates = _lesson_rates(people, is_burst, calendar, generator)
    counts = generator.poisson(rates)
    starters = np.flatnonzero(people.has_started)
    first_days = people.enrolled_day[starters]
    counts[starters, first_days] = np.maximum(counts[starters, first_days], 1)

    student_day, time_of_day = _start_times(counts, calendar, generator)
    person, day = student_day // calendar.count, student_day % calendar.count
    rank = _ranks(counts.sum(axis=1))
    # A student who has taken all lessons of the track has none left to start.
    remains = rank < catalog.sequence_lengths[people.track[person]]
    person, day, rank, time_of_day = (array[remains] for array in (person, day, rank, time_of_day))
    position = _swap_neighbors(rank, generator)
    return _complete(
        person=person,
        lesson=catalog.sequences[people.track[person], position],
        started=calendar.starts[day] + time_of_day,
        is_burst=is_burst[person, day],
        end=calendar.end,
        generator=generator,
    )


def _burst_days(people: People, calendar: Calendar, generator: np.random.Generator) -> Flags:
    """Return the three-day periods in which an overworked student does far too much; shape (people, days)."""
    is_burst = np.zeros((len(people.user_id), calendar.count), dtype=bool)
    overworked = np.flatnonzero(people.archetype == Archetype.OVERWORKED)
    phase = generator.integers(0, 3, (len(overworked), 1))
    period = (np.arange(calendar.count) + phase) // 3
    is_heavy = generator.random((len(overworked), calendar.count // 3 + 2)) < 0.15
    is_burst[overworked] = np.take_along_axis(is_heavy, period, axis=1)
    return is_burst


def _lesson_rates(people: People, is_burst: Flags, calendar: Calendar, generator: np.random.Generator) -> Floats:
    """Return the mean number of lessons that each person starts on each day; shape (people, days)."""
    rates: Floats = people.pace[:, np.newaxis] * _WEEKDAY_FACTORS[calendar.weekdays]
    age = np.arange(calendar.count, dtype=np.int32) - people.enrolled_day.astype(np.int32)[:, np.newaxis]

    cramming = np.flatnonzero(people.archetype == Archetype.CRAMMING)
    # Half of the tracks have their deadline in the other week.
    days_left = (calendar.days_to_deadline + 7 * (people.track[cramming, np.newaxis] % 2)) % 14
    rates[cramming] = people.pace[cramming, np.newaxis] * _DEADLINE_FACTORS[days_left]

    fading = np.flatnonzero(people.archetype == Archetype.FADING)
    lifetime = 8 + 20 * generator.random((len(fading), 1))
    rates[fading] *= 1.3 * np.exp(-np.maximum(age[fading], 0) / lifetime)

    returning = np.flatnonzero(people.archetype == Archetype.RETURNING)
    presence = generator.integers(15, 45, (len(returning), 1))
    absence = generator.integers(14, 42, (len(returning), 1))
    rates[returning] *= age[returning] % (presence + absence) < presence

    rates[is_burst] = 3.5
    rates[(age < 0) | ~people.has_started[:, np.newaxis]] = 0
    return rates


def _start_times(counts: Ints, calendar: Calendar, generator: np.random.Generator) -> tuple[Ints, Ints]:
    """Return the student-day (person × days + day) and the time since midnight of each start, by person and time."""
    student_day = np.repeat(np.arange(counts.size), counts.ravel())
    hours = 17.5 + 2.5 * generator.standard_normal(len(student_day))  # late afternoon
    kind = generator.random(len(student_day))
    night = generator.standard_normal(len(student_day))
    hours = np.where(kind < 0.05, 0.75 * night, np.where(kind < 0.25, 21.5 + 1.5 * night, hours))
    time_of_day = (np.mod(hours, 24) * HOUR).astype(np.int64)
    lengths = np.diff(calendar.starts)  # 23 hours when the clocks go forward
    time_of_day = np.minimum(time_of_day, lengths[student_day % calendar.count] - 1)
    # One sort of plain numbers orders a day's lessons by time; a stable sort of two keys takes ten times as long.
    order = np.sort(student_day * _LONGEST_DAY + time_of_day)
    return order // _LONGEST_DAY, order % _LONGEST_DAY


def _ranks(counts: Ints) -> Ints:
    """Return 0, 1, 2, … within each of the consecutive groups of these sizes."""
    begins = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) - np.repeat(begins, counts)


def _swap_neighbors(rank: Ints, generator: np.random.Generator) -> Ints:
    """Return the ranks with some pairs of neighbors exchanged: now and then a student takes two lessons in reverse."""
    is_second = rank % 2
    swaps = (generator.random(len(rank)) < 0.06)[np.arange(len(rank)) - is_second]
    return np.where(swaps, rank + 1 - 2 * is_second, rank)


def _complete(
    person: Ints, lesson: Ints, started: Ints, is_burst: Flags, end: int, generator: np.random.Generator
) -> Study:
    """Return the lessons with time spent and completion; some are given up, some take days."""
    count = len(person)
    minutes = np.exp(np.log(22) + 0.6 * generator.standard_normal(count)) * np.where(is_burst, 3.0, 1.0)
    is_given_up = generator.random(count) < 0.09
    minutes = np.clip(np.where(is_given_up, 0.4 * minutes, minutes), 1, 240).astype(np.int64)
    days_later = np.where(generator.random(count) < 0.22, 1 + (2.5 * generator.standard_exponential(count)), 0)
    pause = (minutes * MINUTE * (1 + 0.3 * generator.random(count))).astype(np.int64)
    completed = started + pause + days_later.astype(np.int64) * DAY
    is_started = np.ones(count, dtype=bool)
    return Study(person, lesson, started, is_started, completed, ~is_given_up & (completed < end), minutes)


@dataclass(frozen=True)
class Attempts(Records):
    """The rows of `quiz_attempts`, one array element each; `person` is an index into `People`."""

    person: Ints
    quiz: Ints
    score: Floats
    is_graded: Flags
    completed: Ints


@dataclass(frozen=True)
class Submissions(Records):
    """The rows of `exercise_submissions`, one array element each; `person` is an index into `People`."""

    person: Ints
    created: Ints


def make_attempts(
    people: People, study: Study, calendar: Calendar, catalog: Catalog, generator: np.random.Generator
) -> Attempts:
    """Create attempts at the quizzes of completed lessons and at the entry tests, with up to two retries each."""
    quiz = catalog.quiz_of_lesson[study.lesson]
    taken = np.flatnonzero(study.is_completed & (quiz > 0) & (generator.random(len(quiz)) < 0.44))
    starters = np.flatnonzero(people.has_started)
    tested = starters[generator.random(len(starters)) < 0.3]
    first_rows = np.searchsorted(study.person, tested)  # the rows are by person and time
    latest = _first_attempts(
        people,
        person=np.concatenate([study.person[taken], tested]),
        quiz=np.concatenate([quiz[taken], catalog.entry_tests[people.track[tested]]]),
        after=np.concatenate([study.completed[taken], study.started[first_rows]]),
        generator=generator,
    )
    rounds = [latest]
    for retry_share in (0.6, 0.4):
        is_retried = (latest.score < 70) & (generator.random(len(latest.score)) < retry_share)
        latest = _next_attempts(latest.where(is_retried), generator)
        rounds.append(latest)
    attempts = concatenate(rounds)
    return attempts.where(attempts.completed < calendar.end)


def _first_attempts(people: People, person: Ints, quiz: Ints, after: Ints, generator: np.random.Generator) -> Attempts:
    count = len(person)
    score = people.ability[person] + 9 * generator.standard_normal(count)
    pause = MINUTE * (2 + 25 * generator.standard_exponential(count))
    is_graded = generator.random(count) >= 0.05
    return Attempts(person, quiz, _rounded(score), is_graded, after + pause.astype(np.int64))


def _next_attempts(previous: Attempts, generator: np.random.Generator) -> Attempts:
    count = len(previous.person)
    score = previous.score + np.abs(12 + 6 * generator.standard_normal(count))
    pause = HOUR * (0.2 + 14 * generator.standard_exponential(count))
    is_graded = generator.random(count) >= 0.05
    completed = previous.completed + pause.astype(np.int64)
    return Attempts(previous.person, previous.quiz, _rounded(score), is_graded, completed)


def _rounded(score: Floats) -> Floats:
    """Round to steps of 2.5 percent: a quiz of forty points."""
    return np.clip(np.round(score / 2.5) * 2.5, 0, 100)


def make_submissions(people: People, study: Study, calendar: Calendar, generator: np.random.Generator) -> Submissions:
    """Create the exercises of completed lessons; how many depends on diligence. One track has none."""
    is_submitted = study.is_completed & (generator.random(len(study.person)) < people.diligence[study.person])
    is_submitted &= people.track[study.person] != TRACK_WITHOUT_EXERCISES
    person = study.person[is_submitted]
    pause = HOUR * 10 * generator.standard_exponential(len(person))
    created = study.completed[is_submitted] + pause.astype(np.int64)
    return Submissions(person, created).where(created < calendar.end)

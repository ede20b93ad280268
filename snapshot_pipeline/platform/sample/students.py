"""Which lessons are begun when, for how long, and which are completed.

Put here: a person's days and hours at the lessons; all that becomes `user_lesson_progress`.
Do not put here: what is handed in after a lesson (`attempts`), or rows that cannot be right (`faults`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snapshot_pipeline.platform.sample.arrays import Entries, Flags, Floats, Ints
from snapshot_pipeline.platform.sample.calendar import DAY, HOUR, MINUTE, Calendar
from snapshot_pipeline.platform.sample.catalogue import Catalogue
from snapshot_pipeline.platform.sample.people import Archetype, People

_LONGEST_DAY = 1 << 37  # a power of two above 25 hours
_WEEKDAY_FACTORS = np.array([1.2, 1.2, 1.15, 1.1, 0.95, 0.5, 0.5])  # Monday to Sunday
_DEADLINE_FACTORS = np.array([3.4, 2.6, 2.2, 1.4, *[0.14] * 10])  # by days left until the fortnight's Sunday


@dataclass(frozen=True)
class Study(Entries):
    """The lessons begun, one array entry each; all instants in microseconds since 1970 UTC.

    Attributes:
        person: The number of the person in the chunk.
        lesson: The lesson's id.
        started: When it was begun.
        completed: When it was completed; meaningless where not `is_completed`.
        is_completed: Whether that had happened before the period's end.
        minutes: The time spent.
    """

    person: Ints
    lesson: Ints
    started: Ints
    completed: Ints
    is_completed: Flags
    minutes: Ints


def make_study(people: People, calendar: Calendar, catalogue: Catalogue, generator: np.random.Generator) -> Study:
    """The lessons that each person begins, by person and time, up to the end of the period."""
    is_burst = _bursts(people, calendar, generator)
    rates = _lessons_a_day(people, is_burst, calendar, generator)
    counts = generator.poisson(rates)
    starters = np.flatnonzero(people.has_started)
    first_days = people.enrolled_day[starters]
    counts[starters, first_days] = np.maximum(counts[starters, first_days], 1)

    cell, time_of_day = _moments_of_study(counts, calendar, generator)
    person, day = cell // calendar.count, cell % calendar.count
    rank = _ranks(counts.sum(axis=1))
    # Whoever has been through the whole level has nothing left to start.
    remains = rank < catalogue.walk_lengths[people.track[person]]
    person, day, rank, time_of_day = (array[remains] for array in (person, day, rank, time_of_day))
    place = _swap_neighbours(rank, generator)
    return _worked_on(
        person=person,
        lesson=catalogue.walks[people.track[person], place],
        started=calendar.starts[day] + time_of_day,
        is_burst=is_burst[person, day],
        end=calendar.end,
        generator=generator,
    )


def _bursts(people: People, calendar: Calendar, generator: np.random.Generator) -> Flags:
    """The three-day stretches in which an overworked student does far too much; shape (people, days)."""
    is_burst = np.zeros((len(people.user_id), calendar.count), dtype=bool)
    overworked = np.flatnonzero(people.archetype == Archetype.OVERWORKED)
    phase = generator.integers(0, 3, (len(overworked), 1))
    stretch = (np.arange(calendar.count) + phase) // 3
    is_heavy = generator.random((len(overworked), calendar.count // 3 + 2)) < 0.15
    is_burst[overworked] = np.take_along_axis(is_heavy, stretch, axis=1)
    return is_burst


def _lessons_a_day(people: People, is_burst: Flags, calendar: Calendar, generator: np.random.Generator) -> Floats:
    """How many lessons each person is to start on each day on average; shape (people, days)."""
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


def _moments_of_study(counts: Ints, calendar: Calendar, generator: np.random.Generator) -> tuple[Ints, Ints]:
    """For each lesson started, by person and time: its cell (person times days plus day), the time since midnight."""
    cell = np.repeat(np.arange(counts.size), counts.ravel())
    hours = 17.5 + 2.5 * generator.standard_normal(len(cell))  # late afternoon
    kind = generator.random(len(cell))
    night = generator.standard_normal(len(cell))
    hours = np.where(kind < 0.05, 0.75 * night, np.where(kind < 0.25, 21.5 + 1.5 * night, hours))
    time_of_day = (np.mod(hours, 24) * HOUR).astype(np.int64)
    lengths = np.diff(calendar.starts)  # 23 hours when the clocks go forward
    time_of_day = np.minimum(time_of_day, lengths[cell % calendar.count] - 1)
    # One sort of plain numbers orders a day's lessons by time; a stable sort of two keys takes ten times as long.
    order = np.sort(cell * _LONGEST_DAY + time_of_day)
    return order // _LONGEST_DAY, order % _LONGEST_DAY


def _ranks(counts: Ints) -> Ints:
    """0, 1, 2, … within each of the groups that lie one after the other."""
    begins = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) - np.repeat(begins, counts)


def _swap_neighbours(rank: Ints, generator: np.random.Generator) -> Ints:
    """The place in the walk of a student's first, second, … lesson: mostly the same, now and then two change places."""
    is_second = rank % 2
    swaps = (generator.random(len(rank)) < 0.06)[np.arange(len(rank)) - is_second]
    return np.where(swaps, rank + 1 - 2 * is_second, rank)


def _worked_on(
    person: Ints, lesson: Ints, started: Ints, is_burst: Flags, end: int, generator: np.random.Generator
) -> Study:
    count = len(person)
    minutes = np.exp(np.log(22) + 0.6 * generator.standard_normal(count)) * np.where(is_burst, 3.0, 1.0)
    is_given_up = generator.random(count) < 0.09
    minutes = np.clip(np.where(is_given_up, 0.4 * minutes, minutes), 1, 240).astype(np.int64)
    days_later = np.where(generator.random(count) < 0.22, 1 + (2.5 * generator.standard_exponential(count)), 0)
    pause = (minutes * MINUTE * (1 + 0.3 * generator.random(count))).astype(np.int64)
    completed = started + pause + days_later.astype(np.int64) * DAY
    return Study(person, lesson, started, completed, ~is_given_up & (completed < end), minutes)

"""The users of a sample: who they are, and how they go about learning.

Put here: what is true of a person for the whole of the sample.
Do not put here: what they do on a day (`studies`, `attempts`), or which of them are given a wrong row (`faults`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from snapshot_pipeline.platform.sample.arrays import Flags, Floats, Ints
from snapshot_pipeline.platform.sample.calendar import Calendar
from snapshot_pipeline.platform.sample.catalogue import LESSONS_A_DAY

ROLES = ("student", "STUDENT", "Student", "teacher", "TEACHER", "admin")
_STUDENT_ROLE_SHARES = (0.85, 0.12, 0.03)
_STAFF_ROLE_SHARES = (0.0, 0.0, 0.0, 0.6, 0.25, 0.15)
_STAFF_PERCENT = 2
_ARCHETYPE_SHARES = (0.40, 0.15, 0.10, 0.15, 0.10, 0.10)  # in the order of Archetype
_TRACK_SHARES = (0.22, 0.13, 0.07, 0.18, 0.10, 0.06, 0.13, 0.07, 0.04)  # in the order of TRACKS


class Archetype(IntEnum):
    """How a student goes about it."""

    STEADY = 0
    CRAMMING = 1
    OVERWORKED = 2
    FADING = 3
    RETURNING = 4
    WEAK = 5


@dataclass(frozen=True)
class People:
    """The users of a chunk, one array entry each.

    Attributes:
        user_id: Unique over all chunks, growing with gaps.
        is_student: False for teachers and admins.
        role: The number of the role in `ROLES`.
        is_active: As on the platform.
        track: The number of the track.
        has_track: False for those who have not chosen one.
        archetype: An `Archetype`.
        has_started: False for those who never start a lesson.
        enrolled_day: The day of the first lesson, 0 to count - 1.
        pace: Lessons a weekday, roughly.
        ability: The mean score in percent.
        diligence: Exercises handed in per completed lesson.
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
        """Who has a snapshot on the last day, and so may be given a wrong row."""
        return self.is_student & self.is_active & self.has_started


def make_people(first_student: int, students: int, calendar: Calendar, generator: np.random.Generator) -> People:
    """The students from `first_student` on, and the staff that falls among them: 2 % on top."""
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
        enrolled_day=_enrolment(count, calendar.count, generator),
        pace=np.clip(0.85 * np.exp(0.35 * generator.standard_normal(count)), 0.25, LESSONS_A_DAY),
        ability=np.clip(np.where(is_weak, 58, 83) + 7 * generator.standard_normal(count), 30, 98),
        diligence=np.where(generator.random(count) < 0.5, 0.04, 0.35),
    )


def _staff_before(students: int) -> int:
    return -(-students * _STAFF_PERCENT // 100)


def _pick(shares: tuple[float, ...], count: int, generator: np.random.Generator) -> Ints:
    """`count` numbers of entries of `shares`, each as often as its share says."""
    bounds = np.cumsum(shares)
    bounds[-1] = 1.0  # whatever the sum's last bit
    return np.searchsorted(bounds, generator.random(count), side="right").astype(np.int64)


def _enrolment(count: int, days: int, generator: np.random.Generator) -> Ints:
    """Some are there from the first day, most come during the first half, a few as late as the last day."""
    kind, where = generator.random(count), generator.random(count)
    begin = np.select([kind < 0.12, kind < 0.92], [0.0, 0.5 * where], 0.5 + 0.5 * where)
    return np.minimum((begin * days).astype(np.int64), days - 1)

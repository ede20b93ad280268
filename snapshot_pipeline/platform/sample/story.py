"""The events of a sample with a story: cohorts that differ, one that loses its students, two days with invalid rows.

Nothing here draws random numbers, so a seed means the same students with and without the story.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from snapshot_pipeline.platform.sample.arrays import DAY, HOUR, Calendar, Floats, Ints, concatenate
from snapshot_pipeline.platform.sample.catalog import LESSONS_A_DAY, TRACKS, Catalog
from snapshot_pipeline.platform.sample.invalid_rows import (
    InvalidRows,
    completed_before_start,
    invalid_rows,
    negative_score,
)
from snapshot_pipeline.platform.sample.students import Attempts, People, Study

SWAPPED_DAYS_AGO = 6
"""How many days before the last one an import swapped start and completion of lessons."""

SWAPPED_TRACKS = tuple(TRACKS.index(("data", level)) for level in "12")
UNGRADED_TRACKS = tuple(TRACKS.index(("design", level)) for level in "123")
"""Whose entry tests of the last day have the score -1, which means not graded."""

DESERTED_TRACK = TRACKS.index(("web", "1"))

_PACE_BY_TRACK: Floats = np.array([1.15, 1.0, 0.8, 1.05, 0.9, 0.75, 1.1, 1.0, 0.85])  # in the order of TRACKS
_ABILITY_BY_TRACK: Floats = np.array([4.0, 0.0, -6.0, 1.0, -2.0, -8.0, 3.0, 2.0, 0.0])
_LEAVING_DAYS = 7
_INACTIVE_DAYS = 14


def differ_by_track(people: People) -> People:
    """Return the people with the pace and the ability of their track."""
    return replace(
        people,
        pace=np.minimum(people.pace * _PACE_BY_TRACK[people.track], LESSONS_A_DAY),
        ability=np.clip(people.ability + _ABILITY_BY_TRACK[people.track], 30, 98),
    )


def desert(people: People, study: Study, calendar: Calendar) -> Study:
    """Return the study without the lessons that three fifths of a track's students start after they stopped.

    They stop in one week, two weeks before the last Sunday: in the last full week they become inactive for 14 days.
    """
    last_sunday = int(np.flatnonzero(calendar.weekdays == 6).max(initial=0))
    number = np.arange(len(people.user_id))
    last_day = last_sunday - _INACTIVE_DAYS - number % _LEAVING_DAYS
    leaves = (people.track == DESERTED_TRACK) & (number % 5 < 3) & (people.enrolled_day <= last_day)
    end = calendar.starts[np.clip(np.where(leaves, last_day + 1, calendar.count), 0, calendar.count)]
    return study.where(study.started < end[study.person])


def add_bad_days(
    people: People, study: Study, attempts: Attempts, calendar: Calendar, catalog: Catalog, excluded: Ints
) -> tuple[Study, Attempts]:
    """Return the study and the attempts with the invalid rows of two days; no row for the people `excluded`."""

    def rows(tracks: tuple[int, ...], day: int) -> InvalidRows:
        person = _active_people(people, study, tracks, calendar.start(day))
        person = np.setdiff1d(person, excluded)
        return invalid_rows(person, people, calendar, catalog, np.full(len(person), calendar.start(day) + 12 * HOUR))

    swapped = completed_before_start(rows(SWAPPED_TRACKS, calendar.count - 1 - SWAPPED_DAYS_AGO))
    ungraded = negative_score(rows(UNGRADED_TRACKS, calendar.count - 1), -1.0)
    return concatenate([study, swapped]), concatenate([attempts, ungraded])


def _active_people(people: People, study: Study, tracks: tuple[int, ...], moment: int) -> Ints:
    """Return the eligible students of the tracks who started a lesson in the week before a moment."""
    is_recent = (study.started >= moment - 7 * DAY) & (study.started < moment)
    person = np.unique(study.person[is_recent])
    return person[people.is_eligible[person] & np.isin(people.track[person], tracks)]

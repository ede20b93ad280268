"""A life-like platform made up from a seed: for the demo, the tests and the benchmark.

Put here: what the made-up students do, the rows that this leaves on the platform, and the rows planted to be wrong.
Do not put here: how rows enter the database (`ownership`), or rows that a user brings along (`csv_files`).

The students come in chunks, each with a random stream of its own that follows from the seed, so that a million of them
need no more memory than one chunk. Within a chunk nothing loops over students: how many lessons each student starts on
each day is one Poisson draw over a dense students-by-days array, and the rows follow from that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import date, timedelta
from enum import IntEnum
from functools import cached_property
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import URL

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.metrics.days import start_of_day
from snapshot_pipeline.metrics.faults import COMPLETED_BEFORE_STARTED, NEGATIVE_TIME_SPENT, SCORE_OUT_OF_RANGE
from snapshot_pipeline.platform.ownership import arrow_schema, replace_platform
from snapshot_pipeline.platform.tables import TABLE_NAMES, platform_metadata

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

MAX_STUDENTS = 10_000_000
MAX_DAYS = 3_650
PLANTED_REASONS = (SCORE_OUT_OF_RANGE, NEGATIVE_TIME_SPENT, COMPLETED_BEFORE_STARTED)
"""The kinds of wrong rows, in the order in which they are dealt out to students."""
CLOSED_DAYS_SPOILED = 7
"""A planted row makes its student fail on each of this many days before `until`, and usually on more."""
CHUNK_CELLS = 3_000_000
"""Students times days made at a time: about 0.4 GB, and no slower than larger chunks. Part of what a seed means."""

_STAFF_PERCENT = 2
_NEWEST_ATTEMPTS = 10  # how many scored attempts enter a quiz average (metrics.md)
_PLANTED_SCORES = (-5.0, 130.0, np.nan)

_MINUTE = 60_000_000  # microseconds, like every instant here
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_LONGEST_DAY = 1 << 37  # a power of two above 25 hours

_LESSONS_A_DAY = 1.3  # room in the catalogue, so that a steady student never runs out of lessons
_WEEKDAY_FACTORS = np.array([1.2, 1.2, 1.15, 1.1, 0.95, 0.5, 0.5])  # Monday to Sunday
_DEADLINE_FACTORS = np.array([3.4, 2.6, 2.2, 1.4, *[0.14] * 10])  # by days left until the fortnight's Sunday


class SampleError(SnapshotPipelineError):
    """The sample asked for is impossible or beyond what is made; the message names the option and its bounds."""


class _Archetype(IntEnum):
    """How a student goes about it."""

    STEADY = 0
    CRAMMING = 1
    OVERWORKED = 2
    FADING = 3
    RETURNING = 4
    WEAK = 5


_ARCHETYPE_SHARES = (0.40, 0.15, 0.10, 0.15, 0.10, 0.10)

# A track is one specialization at one level: what a student is enrolled in.
_TOPICS_OF_TRACKS = {
    ("data", "1"): (
        "Tables and types; Selecting rows; Filters and conditions; Sorting and limits; Joins and keys; "
        "Grouping and totals; Missing values; Dates and times; Text and patterns; Charts that tell the truth; "
        "Mean, median and spread; A first report"
    ),
    ("data", "2"): (
        "Subqueries; Window functions; Views and reuse; Indexes and plans; Cleaning messy files; Reshaping "
        "tables; Sampling and bias; Correlation and cause; Hypotheses and tests; Dashboards; Data quality "
        "checks; Working with an API"
    ),
    ("data", "3"): (
        "Star schemas; Slowly changing dimensions; Partitions and backfills; Streams and batches; Linear "
        "models; Trees and forests; Evaluating a model; Time series; Experiments at scale; Privacy and "
        "consent; Cost and performance; Lineage and contracts"
    ),
    ("web", "1"): (
        "How a page is loaded; Headings and paragraphs; Links and images; Lists and tables; Forms and labels; "
        "Selectors and the cascade; The box model; Colours and type; Flexible layouts; Grids; Pages on small "
        "screens; Publishing a site"
    ),
    ("web", "2"): (
        "Variables and functions; Arrays and objects; Events; Changing the page; Fetching data; Promises; "
        "Modules; Components and state; Routing; Validating input; Accessibility; Testing a page"
    ),
    ("web", "3"): (
        "Servers and requests; Databases behind a site; Sessions and sign-in; Cross-site attacks; Caching; "
        "Queues and workers; Logs and traces; Rendering on the server; Real-time updates; Containers; "
        "Deploying without downtime; Measuring speed"
    ),
    ("design", "1"): (
        "Seeing and sketching; Contrast; Alignment and rhythm; White space; Typefaces; Colour harmony; Icons; "
        "Photographs; Composition; Giving feedback; Paper prototypes; A first poster"
    ),
    ("design", "2"): (
        "Interviews; Personas; User journeys; Card sorting; Wireframes; Clickable prototypes; Usability "
        "tests; Writing for buttons; Forms people finish; Empty states; Motion; Design for everyone"
    ),
    ("design", "3"): (
        "Design systems; Tokens and themes; Components and variants; Handing over to engineers; Measuring "
        "success; Service blueprints; Running a workshop; Design for trust; Dark patterns; Localisation; "
        "Critique and craft; Building a portfolio"
    ),
}
_FORMS = (
    "worked examples",
    "practice",
    "common mistakes",
    "in pairs",
    "a small project",
    "a closer look",
    "case study",
    "review",
    "challenge",
)
_TRACKS = tuple(_TOPICS_OF_TRACKS)
_TRACK_SHARES = (0.22, 0.13, 0.07, 0.18, 0.10, 0.06, 0.13, 0.07, 0.04)


@dataclass(frozen=True)
class SampleOptions:
    """What is made; the same options make the same tables.

    Attributes:
        students: How many users have the role of a student; about 2 % teachers and admins come on top.
        days: How many local days are covered.
        seed: Picks the random streams; 0 or more.
        until: The first day that is not covered: no row lies at or after its local midnight.
        bad_rate: The share, 0 to 1, of the students with a snapshot on the last day who are given one wrong row.
        zone: The platform's time zone: study hours and weekends are local.

    Raises:
        SampleError: A value is out of bounds.
    """

    students: int
    days: int
    seed: int
    until: date
    bad_rate: float
    zone: ZoneInfo

    def __post_init__(self) -> None:
        if not 1 <= self.students <= MAX_STUDENTS:
            raise SampleError(f"students={self.students}: expected 1 to {MAX_STUDENTS:,} students")
        if not 1 <= self.days <= MAX_DAYS:
            raise SampleError(f"days={self.days}: expected 1 to {MAX_DAYS:,} days")
        if self.seed < 0:
            raise SampleError(f"seed={self.seed}: expected a whole number of 0 or more")
        if not 0 <= self.bad_rate <= 1:
            raise SampleError(f"bad rate={self.bad_rate}: expected a share between 0 and 1, such as 0.05 for 5 %")
        # The planted rows may lie a week before a short period, and microseconds since 1970 stay positive.
        if not 1990 <= self.until.year < 2200:
            raise SampleError(f"until={self.until}: expected a day from 1990-01-01 to 2199-12-31")


@dataclass(frozen=True)
class SamplePlatform:
    """The six tables, or one chunk of them, in the Arrow types of `ownership.arrow_schema`.

    Attributes:
        users: `id`, `role`, `is_active`, `current_specialization`, `current_level`; ids grow with gaps.
        lessons: `id`, `title`, `specialization_id`, `level_id`, `display_order`, `is_published`.
        user_lesson_progress: `user_id`, `lesson_id`, `started_at`, `completed_at` (null: not completed),
            `time_spent_minutes`; by `started_at`, as a platform would have written them.
        quizzes: `id`, `lesson_id` (null: an entry test), `title`.
        quiz_attempts: `id`, `user_id`, `quiz_id`, `score` (null: not graded), `completed_at`; by `completed_at`.
        exercise_submissions: `id`, `user_id`, `created_at`; by `created_at`.
        planted: A frame of the students who were given a wrong row: `user_id` (int64, unique), `reason` (one of
            `PLANTED_REASONS`). No other student has one.
    """

    users: pa.Table
    lessons: pa.Table
    user_lesson_progress: pa.Table
    quizzes: pa.Table
    quiz_attempts: pa.Table
    exercise_submissions: pa.Table
    planted: pd.DataFrame

    def tables(self) -> dict[str, pa.Table]:
        """The six tables by name, in the order of `TABLE_NAMES`."""
        return {name: getattr(self, name) for name in TABLE_NAMES}


def generate(options: SampleOptions) -> SamplePlatform:
    """Make the whole platform in memory: some 10 KB a student over 120 days.

    Args:
        options: What is made.

    Returns:
        All chunks of `generate_chunks`, one after the other.
    """
    chunks = list(generate_chunks(options))
    tables = {name: pa.concat_tables([chunk.tables()[name] for chunk in chunks]) for name in TABLE_NAMES}
    return SamplePlatform(**tables, planted=pd.concat([chunk.planted for chunk in chunks], ignore_index=True))


def generate_chunks(options: SampleOptions) -> Iterator[SamplePlatform]:
    """Make the platform some ten thousand students at a time, in bounded memory.

    Args:
        options: What is made.

    Yields:
        Pieces that make up the platform when each table's are appended in turn. The first one holds all lessons and
        quizzes, the others none. Rows are in the order of time within a piece only.
    """
    calendar = _Calendar(options.until - timedelta(days=options.days), options.days, options.zone)
    catalogue = _make_catalogue(options)
    no_lessons, no_quizzes = catalogue.lessons.slice(0, 0), catalogue.quizzes.slice(0, 0)
    chunk_students = CHUNK_CELLS // options.days
    eligible = planted = attempts = exercises = 0
    for number, first_student in enumerate(range(0, options.students, chunk_students)):
        students = min(chunk_students, options.students - first_student)
        generator = _generator(options.seed, 1 + number)
        people = _make_people(first_student, students, calendar, generator)
        study = _make_study(people, calendar, catalogue, generator)
        tries = _make_attempts(people, study, calendar, catalogue, generator)
        submissions = _make_exercises(people, study, calendar, generator)
        # Rounded over all students so far, so that the rate is exact over the whole sample, not chunk by chunk.
        eligible += int(people.is_eligible.sum())
        wanted = round(options.bad_rate * eligible) - planted
        wrong = _choose_wrong(people, study, tries, calendar, planted, wanted, generator)
        study, tries = _plant(wrong, people, study, tries, calendar, catalogue, generator)
        yield SamplePlatform(
            users=_users_table(people),
            lessons=no_lessons if number else catalogue.lessons,
            user_lesson_progress=_progress_table(people, study),
            quizzes=no_quizzes if number else catalogue.quizzes,
            quiz_attempts=_attempts_table(people, tries, first_id=1 + attempts),
            exercise_submissions=_exercises_table(people, submissions, first_id=1 + exercises),
            planted=_planted_frame(people, wrong),
        )
        planted += wanted
        attempts += len(tries.person)
        exercises += len(submissions.person)


def load_sample(
    options: SampleOptions, url: URL, schema: str, progress: Callable[[int], None] | None = None
) -> dict[str, int]:
    """Make the platform and put it in the place of an earlier sample, in one transaction.

    Args:
        options: What is made.
        url: The database.
        schema: The schema of the platform's tables.
        progress: Told the number of students written so far, chunk by chunk. Keys and indexes follow after the last.

    Returns:
        The number of rows by table name.

    Raises:
        PlatformNotOursError: The schema holds a platform that we did not make; nothing is changed.
        PlatformWriteError: The database cannot be reached or refuses; nothing is changed.
    """
    students = 0
    with replace_platform(url, schema) as writer:
        for chunk in generate_chunks(options):
            for name, table in chunk.tables().items():
                writer.append(name, table)
            students = min(options.students, students + CHUNK_CELLS // options.days)
            if progress is not None:
                progress(students)
    return dict(writer.rows)


def _generator(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(stream,))))


# The calendar and the catalogue


@dataclass(frozen=True)
class _Calendar:
    """The local days that are covered, and a week before them; a day's number counts from 0 at `first`."""

    first: date
    count: int
    zone: ZoneInfo

    @cached_property
    def starts(self) -> Ints:
        """The instant at which each day begins, and the end of the last one: shape (count + 1,)."""
        return np.array([self._start(number) for number in range(self.count + 1)], dtype=np.int64)

    @cached_property
    def weekdays(self) -> Ints:
        """0 for Monday … 6 for Sunday, shape (count,)."""
        return (self.first.weekday() + np.arange(self.count)) % 7

    @cached_property
    def days_to_deadline(self) -> Ints:
        """Days left until the Sunday that ends the fortnight, 0 to 13, shape (count,)."""
        # Day 14 of the proleptic calendar is a Sunday.
        return -(self.first.toordinal() + np.arange(self.count)) % 14

    @property
    def end(self) -> int:
        """The instant before which every row lies."""
        return int(self.starts[-1])

    @property
    def spoiled_from(self) -> int:
        """Noon of the first day on which a planted row has to tell; before the first day when the period is short."""
        return self._start(self.count - CLOSED_DAYS_SPOILED) + 12 * _HOUR

    def _start(self, number: int) -> int:
        return int(start_of_day(self.first + timedelta(days=number), self.zone).timestamp()) * 1_000_000


@dataclass(frozen=True)
class _Catalogue:
    """The lessons and quizzes, and how students walk through them.

    Attributes:
        walks: Shape (tracks, longest): the published lessons by display order, without the last one; padded with 0.
        walk_lengths: Shape (tracks,), even numbers.
        last_lessons: Shape (tracks,): the lesson that nobody reaches, where a planted row cannot meet another one.
        quiz_of_lesson: By lesson id: the id of its quiz, 0 where it has none.
        entry_tests: Shape (tracks,): the quiz without a lesson.
    """

    lessons: pa.Table
    quizzes: pa.Table
    walks: Ints
    walk_lengths: Ints
    last_lessons: Ints
    quiz_of_lesson: Ints
    entry_tests: Ints


def _make_catalogue(options: SampleOptions) -> _Catalogue:
    generator = _generator(options.seed, 0)
    lessons = _make_lessons(options.days, generator)
    quizzes = _make_quizzes(lessons, generator)
    quiz_of_lesson = np.zeros(int(lessons["id"].max()) + 1, dtype=np.int64)
    of_lesson = quizzes["lesson_id"].notna()
    quiz_of_lesson[quizzes.loc[of_lesson, "lesson_id"].to_numpy(np.int64)] = quizzes.loc[of_lesson, "id"]

    by_track = [lessons.loc[lessons["track"] == track] for track in range(len(_TRACKS))]
    ways = [track.loc[track["is_published"], "id"].to_numpy()[:-1] for track in by_track]
    lengths = np.array([len(way) // 2 * 2 for way in ways], dtype=np.int64)
    walks = np.zeros((len(_TRACKS), int(lengths.max())), dtype=np.int64)
    for track, way in enumerate(ways):
        walks[track, : lengths[track]] = way[: lengths[track]]
    return _Catalogue(
        lessons=_frame_table("lessons", lessons),
        quizzes=_frame_table("quizzes", quizzes),
        walks=walks,
        walk_lengths=lengths,
        last_lessons=np.array([track["id"].iloc[-1] for track in by_track], dtype=np.int64),
        quiz_of_lesson=quiz_of_lesson,
        entry_tests=quizzes.loc[~of_lesson, "id"].to_numpy(np.int64),
    )


def _make_lessons(days: int, generator: np.random.Generator) -> pd.DataFrame:
    """The lessons of all tracks by display order, with the number of the `track` as a further column."""
    counts = [16 + int(_LESSONS_A_DAY * days) + 4 * (track % 3) for track in range(len(_TRACKS))]
    lessons = pd.DataFrame(
        {
            "track": np.repeat(np.arange(len(_TRACKS)), counts),
            "title": [title for track, count in enumerate(counts) for title in _titles(track, count)],
            "display_order": np.concatenate([10 * np.arange(1, count + 1) for count in counts]),
        }
    )
    lessons["specialization_id"] = [_TRACKS[track][0] for track in lessons["track"]]
    lessons["level_id"] = [_TRACKS[track][1] for track in lessons["track"]]
    # Some lessons were written later than those around them: the order of ids is not the order of study.
    written = np.arange(len(lessons)) + len(lessons) * (generator.random(len(lessons)) < 0.05)
    lessons["id"] = 101 + np.argsort(np.argsort(written))
    is_last = (lessons["track"] != lessons["track"].shift(-1)).to_numpy()
    lessons["is_published"] = (generator.random(len(lessons)) >= 0.04) | is_last
    return lessons


def _titles(track: int, count: int) -> list[str]:
    """Titles such as "Joins and keys" and "Joins and keys: worked examples", topic by topic."""
    topics = _TOPICS_OF_TRACKS[_TRACKS[track]].split("; ")
    per_topic = -(-count // len(topics))
    titles = []
    for number in range(count):
        topic, part = topics[number // per_topic], number % per_topic
        volume, form = divmod(part - 1, len(_FORMS))
        suffix = "" if part == 0 else f": {_FORMS[form]}" + (f", part {volume + 1}" if volume else "")
        titles.append(topic + suffix)
    return titles


def _make_quizzes(lessons: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """A quiz for most lessons, and for every track an entry test that belongs to no lesson."""
    with_quiz = lessons.loc[generator.random(len(lessons)) < 0.85]
    titles = [f"Quiz: {title}" for title in with_quiz["title"]]
    tests = [f"Entry test: {specialization}, level {level}" for specialization, level in _TRACKS]
    return pd.DataFrame(
        {
            "id": np.arange(1, len(titles) + len(tests) + 1),
            "lesson_id": [*with_quiz["id"], *[None] * len(tests)],
            "title": [*titles, *tests],
        }
    ).astype({"lesson_id": "Int64"})


# The people


@dataclass(frozen=True)
class _People:
    """The users of a chunk, one array entry each.

    Attributes:
        user_id: Unique over all chunks, growing with gaps.
        is_student: False for teachers and admins.
        role: The number of the role in `_ROLES`.
        is_active: As on the platform.
        track: The number of the track.
        has_track: False for those who have not chosen one.
        archetype: An `_Archetype`.
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


_ROLES = ("student", "STUDENT", "Student", "teacher", "TEACHER", "admin")
_STUDENT_ROLE_SHARES = (0.85, 0.12, 0.03)
_STAFF_ROLE_SHARES = (0.0, 0.0, 0.0, 0.6, 0.25, 0.15)


def _make_people(first_student: int, students: int, calendar: _Calendar, generator: np.random.Generator) -> _People:
    first = first_student + _staff_before(first_student)
    count = first_student + students + _staff_before(first_student + students) - first
    is_student = np.ones(count, dtype=bool)
    is_student[generator.permutation(count)[: count - students]] = False
    archetype = np.where(is_student, _pick(_ARCHETYPE_SHARES, count, generator), _Archetype.FADING)
    has_started = generator.random(count) >= np.where(is_student, 0.02, 0.8)
    is_weak = archetype == _Archetype.WEAK
    return _People(
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
        pace=np.clip(0.85 * np.exp(0.35 * generator.standard_normal(count)), 0.25, _LESSONS_A_DAY),
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


# What they study


@dataclass(frozen=True)
class _Study:
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


def _make_study(people: _People, calendar: _Calendar, catalogue: _Catalogue, generator: np.random.Generator) -> _Study:
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


def _bursts(people: _People, calendar: _Calendar, generator: np.random.Generator) -> Flags:
    """The three-day stretches in which an overworked student does far too much; shape (people, days)."""
    is_burst = np.zeros((len(people.user_id), calendar.count), dtype=bool)
    overworked = np.flatnonzero(people.archetype == _Archetype.OVERWORKED)
    phase = generator.integers(0, 3, (len(overworked), 1))
    stretch = (np.arange(calendar.count) + phase) // 3
    is_heavy = generator.random((len(overworked), calendar.count // 3 + 2)) < 0.15
    is_burst[overworked] = np.take_along_axis(is_heavy, stretch, axis=1)
    return is_burst


def _lessons_a_day(people: _People, is_burst: Flags, calendar: _Calendar, generator: np.random.Generator) -> Floats:
    """How many lessons each person is to start on each day on average; shape (people, days)."""
    rates: Floats = people.pace[:, np.newaxis] * _WEEKDAY_FACTORS[calendar.weekdays]
    age = np.arange(calendar.count, dtype=np.int32) - people.enrolled_day.astype(np.int32)[:, np.newaxis]

    cramming = np.flatnonzero(people.archetype == _Archetype.CRAMMING)
    # Half of the tracks have their deadline in the other week.
    days_left = (calendar.days_to_deadline + 7 * (people.track[cramming, np.newaxis] % 2)) % 14
    rates[cramming] = people.pace[cramming, np.newaxis] * _DEADLINE_FACTORS[days_left]

    fading = np.flatnonzero(people.archetype == _Archetype.FADING)
    lifetime = 8 + 20 * generator.random((len(fading), 1))
    rates[fading] *= 1.3 * np.exp(-np.maximum(age[fading], 0) / lifetime)

    returning = np.flatnonzero(people.archetype == _Archetype.RETURNING)
    presence = generator.integers(15, 45, (len(returning), 1))
    absence = generator.integers(14, 42, (len(returning), 1))
    rates[returning] *= age[returning] % (presence + absence) < presence

    rates[is_burst] = 3.5
    rates[(age < 0) | ~people.has_started[:, np.newaxis]] = 0
    return rates


def _moments_of_study(counts: Ints, calendar: _Calendar, generator: np.random.Generator) -> tuple[Ints, Ints]:
    """For each lesson started, by person and time: its cell (person times days plus day), the time since midnight."""
    cell = np.repeat(np.arange(counts.size), counts.ravel())
    hours = 17.5 + 2.5 * generator.standard_normal(len(cell))  # late afternoon
    kind = generator.random(len(cell))
    night = generator.standard_normal(len(cell))
    hours = np.where(kind < 0.05, 0.75 * night, np.where(kind < 0.25, 21.5 + 1.5 * night, hours))
    time_of_day = (np.mod(hours, 24) * _HOUR).astype(np.int64)
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
) -> _Study:
    count = len(person)
    minutes = np.exp(np.log(22) + 0.6 * generator.standard_normal(count)) * np.where(is_burst, 3.0, 1.0)
    is_given_up = generator.random(count) < 0.09
    minutes = np.clip(np.where(is_given_up, 0.4 * minutes, minutes), 1, 240).astype(np.int64)
    days_later = np.where(generator.random(count) < 0.22, 1 + (2.5 * generator.standard_exponential(count)), 0)
    pause = (minutes * _MINUTE * (1 + 0.3 * generator.random(count))).astype(np.int64)
    completed = started + pause + days_later.astype(np.int64) * _DAY
    return _Study(person, lesson, started, completed, ~is_given_up & (completed < end), minutes)


# What they hand in


@dataclass(frozen=True)
class _Attempts:
    """The quiz attempts, one array entry each: as in `quiz_attempts`, with the number of the person in the chunk."""

    person: Ints
    quiz: Ints
    score: Floats
    is_graded: Flags
    completed: Ints

    def where(self, chosen: Flags) -> _Attempts:
        """The chosen ones."""
        return _Attempts(*(values[chosen] for values in _arrays(self)))


@dataclass(frozen=True)
class _Submissions:
    """The exercises handed in, one array entry each."""

    person: Ints
    created: Ints


def _make_attempts(
    people: _People, study: _Study, calendar: _Calendar, catalogue: _Catalogue, generator: np.random.Generator
) -> _Attempts:
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
    attempts = _concatenated(tries)
    return attempts.where(attempts.completed < calendar.end)


def _first_attempts(
    people: _People, person: Ints, quiz: Ints, after: Ints, generator: np.random.Generator
) -> _Attempts:
    count = len(person)
    score = people.ability[person] + 9 * generator.standard_normal(count)
    pause = _MINUTE * (2 + 25 * generator.standard_exponential(count))
    is_graded = generator.random(count) >= 0.05
    return _Attempts(person, quiz, _marked(score), is_graded, after + pause.astype(np.int64))


def _next_attempts(before: _Attempts, generator: np.random.Generator) -> _Attempts:
    count = len(before.person)
    score = before.score + np.abs(12 + 6 * generator.standard_normal(count))
    pause = _HOUR * (0.2 + 14 * generator.standard_exponential(count))
    is_graded = generator.random(count) >= 0.05
    completed = before.completed + pause.astype(np.int64)
    return _Attempts(before.person, before.quiz, _marked(score), is_graded, completed)


def _marked(score: Floats) -> Floats:
    """Percent in steps of 2.5: a quiz of forty points."""
    return np.clip(np.round(score / 2.5) * 2.5, 0, 100)


def _make_exercises(
    people: _People, study: _Study, calendar: _Calendar, generator: np.random.Generator
) -> _Submissions:
    handed_in = study.is_completed & (generator.random(len(study.person)) < people.diligence[study.person])
    person = study.person[handed_in]
    pause = _HOUR * 10 * generator.standard_exponential(len(person))
    created = study.completed[handed_in] + pause.astype(np.int64)
    in_time = created < calendar.end
    return _Submissions(person[in_time], created[in_time])


# The rows that cannot be right


@dataclass(frozen=True)
class _Wrong:
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


def _choose_wrong(
    people: _People,
    study: _Study,
    attempts: _Attempts,
    calendar: _Calendar,
    planted_before: int,
    wanted: int,
    generator: np.random.Generator,
) -> _Wrong:
    eligible = np.flatnonzero(people.is_eligible)
    first_start = study.started[np.searchsorted(study.person, eligible)]
    moment = np.maximum(first_start, calendar.spoiled_from)
    # Those who were there on all the spoiled days come first; later arrivals only when these do not suffice.
    is_late = first_start > calendar.spoiled_from
    chosen = np.argsort(is_late + generator.random(len(eligible)), kind="stable")[:wanted]
    person, moment = eligible[chosen], moment[chosen]
    number = planted_before + np.arange(wanted)
    reason = number % len(PLANTED_REASONS)
    # A bad score tells while it is among the newest ten: not for whoever takes more quizzes than that in a week.
    newer = _scored_since(person, moment, attempts, len(people.user_id))
    reason = np.where((reason == 0) & (newer >= _NEWEST_ATTEMPTS), 1, reason)
    return _Wrong(number, person, reason, moment)


def _scored_since(person: Ints, moment: Ints, attempts: _Attempts, people: int) -> Ints:
    """How many scored attempts each of the persons completed at the moment or later."""
    moments = np.full(people, np.iinfo(np.int64).max)
    moments[person] = moment
    is_newer = attempts.is_graded & (attempts.completed >= moments[attempts.person])
    return np.bincount(attempts.person[is_newer], minlength=people)[person]


def _plant(
    wrong: _Wrong,
    people: _People,
    study: _Study,
    attempts: _Attempts,
    calendar: _Calendar,
    catalogue: _Catalogue,
    generator: np.random.Generator,
) -> tuple[_Study, _Attempts]:
    """The study and the attempts with one more row for each of the students chosen."""
    track = people.track[wrong.person]
    value = wrong.number // len(PLANTED_REASONS) % len(_PLANTED_SCORES)
    amount = generator.integers(1, 180, len(wrong.person))

    is_score = wrong.reason == 0
    bad_attempts = _Attempts(
        person=wrong.person,
        quiz=catalogue.entry_tests[track],
        score=np.array(_PLANTED_SCORES)[value],
        is_graded=np.ones(len(wrong.person), dtype=bool),
        completed=wrong.moment,
    )
    is_negative = wrong.reason == 1
    completed = wrong.moment + np.where(is_negative, amount, -amount) * _MINUTE
    bad_study = _Study(
        person=wrong.person,
        lesson=catalogue.last_lessons[track],
        started=wrong.moment,
        completed=completed,
        is_completed=completed < calendar.end,
        minutes=np.where(is_negative, -amount, amount),
    )
    bad_study = _Study(*(values[~is_score] for values in _arrays(bad_study)))
    return _concatenated([study, bad_study]), _concatenated([attempts, bad_attempts.where(is_score)])


def _planted_frame(people: _People, wrong: _Wrong) -> pd.DataFrame:
    reasons = np.array(PLANTED_REASONS, dtype=object)[wrong.reason]
    return pd.DataFrame({"user_id": people.user_id[wrong.person], "reason": reasons})


# From arrays to Arrow

_SCHEMAS = {table.name: arrow_schema(table) for table in platform_metadata("public").tables.values()}


def _frame_table(name: str, frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame, schema=_SCHEMAS[name], preserve_index=False).replace_schema_metadata(None)


def _users_table(people: _People) -> pa.Table:
    specializations = pa.array([specialization for specialization, _ in _TRACKS])
    levels = pa.array([level for _, level in _TRACKS])
    track = pa.array(people.track, mask=~people.has_track)
    columns = [
        pa.array(people.user_id),
        pa.array(_ROLES).take(pa.array(people.role)),
        pa.array(people.is_active),
        specializations.take(track),
        levels.take(track),
    ]
    return pa.Table.from_arrays(columns, schema=_SCHEMAS["users"])


def _progress_table(people: _People, study: _Study) -> pa.Table:
    order = np.argsort(study.started, kind="stable")
    columns = [
        pa.array(people.user_id[study.person[order]]),
        pa.array(study.lesson[order]),
        _instants(study.started[order]),
        _instants(study.completed[order], missing=~study.is_completed[order]),
        pa.array(study.minutes[order].astype(np.int32)),
    ]
    return pa.Table.from_arrays(columns, schema=_SCHEMAS["user_lesson_progress"])


def _attempts_table(people: _People, attempts: _Attempts, first_id: int) -> pa.Table:
    order = np.argsort(attempts.completed, kind="stable")
    columns = [
        pa.array(first_id + np.arange(len(order))),
        pa.array(people.user_id[attempts.person[order]]),
        pa.array(attempts.quiz[order]),
        # Null is not graded yet, NaN is a planted score: they must not be taken for one another.
        pa.array(attempts.score[order], mask=~attempts.is_graded[order], from_pandas=False),
        _instants(attempts.completed[order]),
    ]
    return pa.Table.from_arrays(columns, schema=_SCHEMAS["quiz_attempts"])


def _exercises_table(people: _People, submissions: _Submissions, first_id: int) -> pa.Table:
    order = np.argsort(submissions.created, kind="stable")
    columns = [
        pa.array(first_id + np.arange(len(order))),
        pa.array(people.user_id[submissions.person[order]]),
        _instants(submissions.created[order]),
    ]
    return pa.Table.from_arrays(columns, schema=_SCHEMAS["exercise_submissions"])


def _instants(microseconds: Ints, missing: Flags | None = None) -> pa.Array:
    return pa.array(microseconds, mask=missing).view(pa.timestamp("us", tz="UTC"))


_Rows = TypeVar("_Rows", _Study, _Attempts)


def _arrays(rows: _Study | _Attempts) -> list[NDArray[Any]]:
    return [getattr(rows, field.name) for field in fields(rows)]


def _concatenated(parts: list[_Rows]) -> _Rows:
    return type(parts[0])(*(np.concatenate(columns) for columns in zip(*map(_arrays, parts), strict=True)))

"""The lessons and quizzes of a sample, by track, and the order in which students take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from snapshot_pipeline.platform.sample.arrays import Ints
from snapshot_pipeline.platform.sample.options import SampleOptions, random_stream

LESSONS_A_DAY = 1.3
"""Size of the catalog, so that a steady student never runs out of lessons."""

_TOPICS_BY_TRACK = {
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
TRACKS = tuple(_TOPICS_BY_TRACK)
"""Specialization and level of each track; a student is enrolled in one. Other code refers to a track by its index."""
TRACK_WITHOUT_EXERCISES = TRACKS.index(("design", "3"))
"""Its students submit no exercises: the course has none."""


@dataclass(frozen=True)
class Catalog:
    """The lessons and quizzes, and the order in which students take them.

    Attributes:
        lessons: The columns of the platform's table, and `track`.
        quizzes: The columns of the platform's table.
        sequences: Shape (tracks, longest): the published lessons by display order without the last; padded with 0.
        sequence_lengths: Shape (tracks,), even numbers.
        last_lessons: Shape (tracks,): a lesson that no student reaches, so that an invalid row is the only row of it.
        published_lessons: The ids of the published lessons of each track.
        unpublished_quizzes: Shape (tracks,): the quiz of a lesson that is not published.
        quiz_of_lesson: By lesson id: the id of its quiz, 0 if it has none.
        entry_tests: Shape (tracks,): the quiz without a lesson.
    """

    lessons: pd.DataFrame
    quizzes: pd.DataFrame
    sequences: Ints
    sequence_lengths: Ints
    last_lessons: Ints
    published_lessons: tuple[Ints, ...]
    unpublished_quizzes: Ints
    quiz_of_lesson: Ints
    entry_tests: Ints


def make_catalog(options: SampleOptions) -> Catalog:
    """Create enough lessons in every track for all days, and the quizzes, from the seed's random stream 0."""
    generator = random_stream(options.seed, 0)
    lessons = _make_lessons(options.days, generator)
    quizzes = _make_quizzes(lessons, generator)
    quiz_of_lesson = np.zeros(int(lessons["id"].max()) + 1, dtype=np.int64)
    of_lesson = quizzes["lesson_id"].notna()
    quiz_of_lesson[quizzes.loc[of_lesson, "lesson_id"].to_numpy(np.int64)] = quizzes.loc[of_lesson, "id"]

    by_track = [lessons.loc[lessons["track"] == track] for track in range(len(TRACKS))]
    published_lessons = tuple(track.loc[track["is_published"], "id"].to_numpy(np.int64) for track in by_track)
    lengths = np.array([(len(ids) - 1) // 2 * 2 for ids in published_lessons], dtype=np.int64)
    sequences = np.zeros((len(TRACKS), int(lengths.max())), dtype=np.int64)
    for track, ids in enumerate(published_lessons):
        sequences[track, : lengths[track]] = ids[: lengths[track]]
    return Catalog(
        lessons=lessons,
        quizzes=quizzes,
        sequences=sequences,
        sequence_lengths=lengths,
        last_lessons=np.array([track["id"].iloc[-1] for track in by_track], dtype=np.int64),
        published_lessons=published_lessons,
        unpublished_quizzes=quiz_of_lesson[[track["id"].iloc[-2] for track in by_track]],
        quiz_of_lesson=quiz_of_lesson,
        entry_tests=quizzes.loc[~of_lesson, "id"].to_numpy(np.int64),
    )


def _make_lessons(days: int, generator: np.random.Generator) -> pd.DataFrame:
    """Return the lessons of all tracks by display order, with the columns `track` and `is_last_but_one` in addition."""
    counts = [16 + int(LESSONS_A_DAY * days) + 4 * (track % 3) for track in range(len(TRACKS))]
    lessons = pd.DataFrame(
        {
            "track": np.repeat(np.arange(len(TRACKS)), counts),
            "title": [title for track, count in enumerate(counts) for title in _titles(track, count)],
            "display_order": np.concatenate([10 * np.arange(1, count + 1) for count in counts]),
        }
    )
    lessons["specialization_id"] = [TRACKS[track][0] for track in lessons["track"]]
    lessons["level_id"] = [TRACKS[track][1] for track in lessons["track"]]
    # Some lessons are written later than their neighbors: the order of ids is not the order of study.
    written = np.arange(len(lessons)) + len(lessons) * (generator.random(len(lessons)) < 0.05)
    lessons["id"] = 101 + np.argsort(np.argsort(written))
    is_last = (lessons["track"] != lessons["track"].shift(-1)).to_numpy()
    lessons["is_last_but_one"] = np.roll(is_last, -1)
    lessons["is_published"] = ((generator.random(len(lessons)) >= 0.04) | is_last) & ~lessons["is_last_but_one"]
    return lessons


def _make_quizzes(lessons: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """Return a quiz for most lessons, and for every track an entry test that belongs to no lesson.

    The last lesson but one of a track is not published, and has a quiz.
    """
    with_quiz = lessons.loc[(generator.random(len(lessons)) < 0.85) | lessons["is_last_but_one"]]
    titles = [f"Quiz: {title}" for title in with_quiz["title"]]
    tests = [f"Entry test: {specialization}, level {level}" for specialization, level in TRACKS]
    return pd.DataFrame(
        {
            "id": np.arange(1, len(titles) + len(tests) + 1),
            "lesson_id": [*with_quiz["id"], *[None] * len(tests)],
            "title": [*titles, *tests],
        }
    ).astype({"lesson_id": "Int64"})


def _titles(track: int, count: int) -> list[str]:
    """Return titles such as "Joins and keys" and "Joins and keys: worked examples", topic by topic."""
    topics = _TOPICS_BY_TRACK[TRACKS[track]].split("; ")
    per_topic = -(-count // len(topics))
    titles = []
    for number in range(count):
        topic, part = topics[number // per_topic], number % per_topic
        volume, form = divmod(part - 1, len(_FORMS))
        suffix = "" if part == 0 else f": {_FORMS[form]}" + (f", part {volume + 1}" if volume else "")
        titles.append(topic + suffix)
    return titles

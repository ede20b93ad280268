"""The lessons and quizzes of a sample, and the order in which students come upon them.

Put here: what is offered, by track.
Do not put here: the words (`topics`), or who has done what (`studies`, `attempts`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from snapshot_pipeline.platform.sample.arrays import Ints
from snapshot_pipeline.platform.sample.options import SampleOptions, random_stream
from snapshot_pipeline.platform.sample.topics import TRACKS, titles

LESSONS_A_DAY = 1.3
"""Room in the catalogue, so that a steady student never runs out of lessons."""


@dataclass(frozen=True)
class Catalogue:
    """The lessons and quizzes, and how students walk through them.

    Attributes:
        lessons: The columns of the platform's table, and the number of the `track`.
        quizzes: The columns of the platform's table.
        walks: Shape (tracks, longest): the published lessons by display order, without the last one; padded with 0.
        walk_lengths: Shape (tracks,), even numbers.
        last_lessons: Shape (tracks,): the lesson that nobody reaches, where a planted row cannot meet another one.
        quiz_of_lesson: By lesson id: the id of its quiz, 0 where it has none.
        entry_tests: Shape (tracks,): the quiz without a lesson.
    """

    lessons: pd.DataFrame
    quizzes: pd.DataFrame
    walks: Ints
    walk_lengths: Ints
    last_lessons: Ints
    quiz_of_lesson: Ints
    entry_tests: Ints


def make_catalogue(options: SampleOptions) -> Catalogue:
    """Enough lessons in every track for all the days, and the quizzes; drawn from the seed's stream 0."""
    generator = random_stream(options.seed, 0)
    lessons = _make_lessons(options.days, generator)
    quizzes = _make_quizzes(lessons, generator)
    quiz_of_lesson = np.zeros(int(lessons["id"].max()) + 1, dtype=np.int64)
    of_lesson = quizzes["lesson_id"].notna()
    quiz_of_lesson[quizzes.loc[of_lesson, "lesson_id"].to_numpy(np.int64)] = quizzes.loc[of_lesson, "id"]

    by_track = [lessons.loc[lessons["track"] == track] for track in range(len(TRACKS))]
    ways = [track.loc[track["is_published"], "id"].to_numpy()[:-1] for track in by_track]
    lengths = np.array([len(way) // 2 * 2 for way in ways], dtype=np.int64)
    walks = np.zeros((len(TRACKS), int(lengths.max())), dtype=np.int64)
    for track, way in enumerate(ways):
        walks[track, : lengths[track]] = way[: lengths[track]]
    return Catalogue(
        lessons=lessons,
        quizzes=quizzes,
        walks=walks,
        walk_lengths=lengths,
        last_lessons=np.array([track["id"].iloc[-1] for track in by_track], dtype=np.int64),
        quiz_of_lesson=quiz_of_lesson,
        entry_tests=quizzes.loc[~of_lesson, "id"].to_numpy(np.int64),
    )


def _make_lessons(days: int, generator: np.random.Generator) -> pd.DataFrame:
    """The lessons of all tracks by display order, with the number of the `track` as a further column."""
    counts = [16 + int(LESSONS_A_DAY * days) + 4 * (track % 3) for track in range(len(TRACKS))]
    lessons = pd.DataFrame(
        {
            "track": np.repeat(np.arange(len(TRACKS)), counts),
            "title": [title for track, count in enumerate(counts) for title in titles(track, count)],
            "display_order": np.concatenate([10 * np.arange(1, count + 1) for count in counts]),
        }
    )
    lessons["specialization_id"] = [TRACKS[track][0] for track in lessons["track"]]
    lessons["level_id"] = [TRACKS[track][1] for track in lessons["track"]]
    # Some lessons were written later than those around them: the order of ids is not the order of study.
    written = np.arange(len(lessons)) + len(lessons) * (generator.random(len(lessons)) < 0.05)
    lessons["id"] = 101 + np.argsort(np.argsort(written))
    is_last = (lessons["track"] != lessons["track"].shift(-1)).to_numpy()
    lessons["is_published"] = (generator.random(len(lessons)) >= 0.04) | is_last
    return lessons


def _make_quizzes(lessons: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """A quiz for most lessons, and for every track an entry test that belongs to no lesson."""
    with_quiz = lessons.loc[generator.random(len(lessons)) < 0.85]
    titles = [f"Quiz: {title}" for title in with_quiz["title"]]
    tests = [f"Entry test: {specialization}, level {level}" for specialization, level in TRACKS]
    return pd.DataFrame(
        {
            "id": np.arange(1, len(titles) + len(tests) + 1),
            "lesson_id": [*with_quiz["id"], *[None] * len(tests)],
            "title": [*titles, *tests],
        }
    ).astype({"lesson_id": "Int64"})

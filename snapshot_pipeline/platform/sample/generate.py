"""The whole sample, put together chunk by chunk.

Put here: the order in which things are made, and what is counted from one chunk to the next.
Do not put here: how any of them is made, or how rows enter the database (`loading`).

The students come in chunks, each with a random stream of its own that follows from the seed, so that a million of them
need no more memory than one chunk. The order in which the makers draw from the stream is part of what a seed means.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pandas as pd
import pyarrow as pa

from snapshot_pipeline.platform.sample.arrow_tables import (
    attempts_table,
    frame_table,
    progress_table,
    submissions_table,
    users_table,
)
from snapshot_pipeline.platform.sample.attempts import make_attempts, make_submissions
from snapshot_pipeline.platform.sample.calendar import Calendar
from snapshot_pipeline.platform.sample.catalogue import make_catalogue
from snapshot_pipeline.platform.sample.invalid_rows import choose_wrong, plant, planted_frame
from snapshot_pipeline.platform.sample.options import SampleOptions, random_stream
from snapshot_pipeline.platform.sample.people import make_people
from snapshot_pipeline.platform.sample.studies import make_study
from snapshot_pipeline.platform.tables import TABLE_NAMES


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
    calendar = Calendar(options.until - timedelta(days=options.days), options.days, options.zone)
    catalogue = make_catalogue(options)
    lessons, quizzes = frame_table("lessons", catalogue.lessons), frame_table("quizzes", catalogue.quizzes)
    eligible = planted = attempts = exercises = 0
    for number, first_student in enumerate(range(0, options.students, options.chunk_students)):
        students = min(options.chunk_students, options.students - first_student)
        generator = random_stream(options.seed, 1 + number)
        people = make_people(first_student, students, calendar, generator)
        study = make_study(people, calendar, catalogue, generator)
        tries = make_attempts(people, study, calendar, catalogue, generator)
        submissions = make_submissions(people, study, calendar, generator)
        # Rounded over all students so far, so that the rate is exact over the whole sample, not chunk by chunk.
        eligible += int(people.is_eligible.sum())
        wanted = round(options.bad_rate * eligible) - planted
        wrong = choose_wrong(people, study, tries, calendar, planted, wanted, generator)
        study, tries = plant(wrong, people, study, tries, calendar, catalogue, generator)
        yield SamplePlatform(
            users=users_table(people),
            lessons=lessons,
            user_lesson_progress=progress_table(people, study),
            quizzes=quizzes,
            quiz_attempts=attempts_table(people, tries, first_id=1 + attempts),
            exercise_submissions=submissions_table(people, submissions, first_id=1 + exercises),
            planted=planted_frame(people, wrong),
        )
        lessons, quizzes = lessons.slice(0, 0), quizzes.slice(0, 0)
        planted += wanted
        attempts += len(tries.person)
        exercises += len(submissions.person)

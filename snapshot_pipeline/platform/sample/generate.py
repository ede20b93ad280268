"""The whole sample: chunk by chunk, as Arrow tables, in memory or into a database.

The students come in chunks, each with a random stream of its own that follows from the seed, so that a million of them
need no more memory than one chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
from sqlalchemy import URL

from snapshot_pipeline.platform.ownership import arrow_schema, replace_platform
from snapshot_pipeline.platform.sample.arrays import Calendar, Flags, Ints
from snapshot_pipeline.platform.sample.catalog import TRACKS, make_catalog
from snapshot_pipeline.platform.sample.invalid_rows import add_invalid, choose_invalid, invalid_frame
from snapshot_pipeline.platform.sample.options import SampleOptions, random_stream
from snapshot_pipeline.platform.sample.story import add_bad_days, desert, differ_by_track
from snapshot_pipeline.platform.sample.students import (
    ROLES,
    Attempts,
    People,
    Study,
    Submissions,
    make_attempts,
    make_people,
    make_study,
    make_submissions,
)
from snapshot_pipeline.platform.tables import TABLE_NAMES, platform_metadata

_SCHEMAS = {table.name: arrow_schema(table) for table in platform_metadata("public").tables.values()}


@dataclass(frozen=True)
class SamplePlatform:
    """The six tables, or one chunk of them, in the Arrow types of `ownership.arrow_schema`.

    Attributes:
        users: `id`, `role`, `is_active`, `current_specialization`, `current_level`; ids ascend with gaps.
        lessons: `id`, `title`, `specialization_id`, `level_id`, `display_order`, `is_published`.
        user_lesson_progress: `user_id`, `lesson_id`, `started_at` (null: completed without a start), `completed_at`
            (null: not completed), `time_spent_minutes`; in the order of `started_at`, as a platform would have written
            them.
        quizzes: `id`, `lesson_id` (null: an entry test), `title`.
        quiz_attempts: `id`, `user_id`, `quiz_id`, `score` (null: not graded), `completed_at`; in the order of
            `completed_at`.
        exercise_submissions: `id`, `user_id`, `created_at`; in the order of `created_at`.
        invalid_rows: A frame of the students with an invalid row: `user_id` (int64, unique), `kind` (a name of
            `KINDS`), `issue` (how `data_issues` lists the row; None: not at all).
    """

    users: pa.Table
    lessons: pa.Table
    user_lesson_progress: pa.Table
    quizzes: pa.Table
    quiz_attempts: pa.Table
    exercise_submissions: pa.Table
    invalid_rows: pd.DataFrame

    def tables(self) -> dict[str, pa.Table]:
        """Return the six tables by name, in the order of `TABLE_NAMES`."""
        return {name: getattr(self, name) for name in TABLE_NAMES}


def generate(options: SampleOptions) -> SamplePlatform:
    """Generate the whole platform in memory: about 10 KB per student over 120 days."""
    chunks = list(generate_chunks(options))
    tables = {name: pa.concat_tables([chunk.tables()[name] for chunk in chunks]) for name in TABLE_NAMES}
    invalid_rows = pd.concat([chunk.invalid_rows for chunk in chunks], ignore_index=True)
    return SamplePlatform(**tables, invalid_rows=invalid_rows)


def generate_chunks(options: SampleOptions) -> Iterator[SamplePlatform]:
    """Generate the platform in bounded memory, some ten thousand students at a time.

    Yields:
        Chunks whose tables, appended in turn, make up the platform. The first chunk has all lessons and quizzes, the
        others none. Rows are in the order of time only within a chunk.
    """
    calendar = Calendar(options.until - timedelta(days=options.days), options.days, options.zone)
    catalog = make_catalog(options)
    lessons, quizzes = _frame_table("lessons", catalog.lessons), _frame_table("quizzes", catalog.quizzes)
    eligible_count = invalid_count = attempt_count = submission_count = 0
    for number, first_student in enumerate(range(0, options.students, options.chunk_students)):
        students = min(options.chunk_students, options.students - first_student)
        generator = random_stream(options.seed, 1 + number)
        people = make_people(first_student, students, calendar, generator)
        if options.story:
            people = differ_by_track(people)
        study = make_study(people, calendar, catalog, generator)
        if options.story:
            study = desert(people, study, calendar)
        attempts = make_attempts(people, study, calendar, catalog, generator)
        submissions = make_submissions(people, study, calendar, generator)
        # Rounded over all students so far, so that the rate is exact over the whole sample, not chunk by chunk.
        eligible_count += int(people.is_eligible.sum())
        count = round(options.bad_rate * eligible_count) - invalid_count
        invalid = choose_invalid(people, study, calendar, catalog, invalid_count, count, generator)
        study, attempts = add_invalid(invalid, people, study, attempts, catalog)
        if options.story:
            study, attempts = add_bad_days(people, study, attempts, calendar, catalog, excluded=invalid.person)
        yield SamplePlatform(
            users=_users_table(people),
            lessons=lessons,
            user_lesson_progress=_progress_table(people, study),
            quizzes=quizzes,
            quiz_attempts=_attempts_table(people, attempts, first_id=1 + attempt_count),
            exercise_submissions=_submissions_table(people, submissions, first_id=1 + submission_count),
            invalid_rows=invalid_frame(people, invalid),
        )
        lessons, quizzes = lessons.slice(0, 0), quizzes.slice(0, 0)
        invalid_count += count
        attempt_count += len(attempts.person)
        submission_count += len(submissions.person)


def load_sample(
    options: SampleOptions, url: URL, schema: str, progress: Callable[[int], None] | None = None
) -> dict[str, int]:
    """Replace an earlier sample by a new one, in one transaction; returns the number of rows by table name.

    Args:
        progress: Called after each chunk with the number of students written so far. Keys and indexes are created
            after the last chunk.

    Raises:
        PlatformNotOursError: The schema contains tables that neither a sample nor `load` created; nothing is changed.
        PlatformWriteError: The database cannot be reached or refuses; nothing is changed.
    """
    students = 0
    with replace_platform(url, schema) as writer:
        for chunk in generate_chunks(options):
            for name, table in chunk.tables().items():
                writer.append(name, table)
            students = min(options.students, students + options.chunk_students)
            if progress is not None:
                progress(students)
    return dict(writer.rows)


def _frame_table(name: str, frame: pd.DataFrame) -> pa.Table:
    """Return a table from a frame that has its columns, and maybe others."""
    return pa.Table.from_pandas(frame, schema=_SCHEMAS[name], preserve_index=False).replace_schema_metadata(None)


def _users_table(people: People) -> pa.Table:
    """Return `users` in the order of their ids."""
    specializations = pa.array([specialization for specialization, _ in TRACKS])
    levels = pa.array([level for _, level in TRACKS])
    track = pa.array(people.track, mask=~people.has_track)
    columns = [
        pa.array(people.user_id),
        pa.array(ROLES).take(pa.array(people.role)),
        pa.array(people.is_active),
        specializations.take(track),
        levels.take(track),
    ]
    return pa.Table.from_arrays(columns, schema=_SCHEMAS["users"])


def _progress_table(people: People, study: Study) -> pa.Table:
    """Return `user_lesson_progress` in the order of `started_at`."""
    order = np.argsort(study.started, kind="stable")
    columns = [
        pa.array(people.user_id[study.person[order]]),
        pa.array(study.lesson[order]),
        _instants(study.started[order], missing=~study.is_started[order]),
        _instants(study.completed[order], missing=~study.is_completed[order]),
        pa.array(study.minutes[order].astype(np.int32)),
    ]
    return pa.Table.from_arrays(columns, schema=_SCHEMAS["user_lesson_progress"])


def _attempts_table(people: People, attempts: Attempts, first_id: int) -> pa.Table:
    """Return `quiz_attempts` in the order of `completed_at`, with ids in that order."""
    order = np.argsort(attempts.completed, kind="stable")
    columns = [
        pa.array(first_id + np.arange(len(order))),
        pa.array(people.user_id[attempts.person[order]]),
        pa.array(attempts.quiz[order]),
        # Null is not graded yet, NaN is an invalid score: Arrow must not turn one into the other.
        pa.array(attempts.score[order], mask=~attempts.is_graded[order], from_pandas=False),
        _instants(attempts.completed[order]),
    ]
    return pa.Table.from_arrays(columns, schema=_SCHEMAS["quiz_attempts"])


def _submissions_table(people: People, submissions: Submissions, first_id: int) -> pa.Table:
    """Return `exercise_submissions` in the order of `created_at`, with ids in that order."""
    order = np.argsort(submissions.created, kind="stable")
    columns = [
        pa.array(first_id + np.arange(len(order))),
        pa.array(people.user_id[submissions.person[order]]),
        _instants(submissions.created[order]),
    ]
    return pa.Table.from_arrays(columns, schema=_SCHEMAS["exercise_submissions"])


def _instants(microseconds: Ints, missing: Flags | None = None) -> pa.Array:
    return pa.array(microseconds, mask=missing).view(pa.timestamp("us", tz="UTC"))

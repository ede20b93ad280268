"""From arrays and frames to the platform's tables in Arrow.

Put here: the order of rows, the types, and what is null.
Do not put here: how the arrays come about (`people`, `studies`, `attempts`), or how rows enter a database
(`ownership`).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from snapshot_pipeline.platform.ownership import arrow_schema
from snapshot_pipeline.platform.sample.arrays import Flags, Ints
from snapshot_pipeline.platform.sample.attempts import Attempts, Submissions
from snapshot_pipeline.platform.sample.people import ROLES, People
from snapshot_pipeline.platform.sample.studies import Study
from snapshot_pipeline.platform.sample.topics import TRACKS
from snapshot_pipeline.platform.tables import platform_metadata

_SCHEMAS = {table.name: arrow_schema(table) for table in platform_metadata("public").tables.values()}


def frame_table(name: str, frame: pd.DataFrame) -> pa.Table:
    """A platform's table from a frame that has its columns; others are left out."""
    return pa.Table.from_pandas(frame, schema=_SCHEMAS[name], preserve_index=False).replace_schema_metadata(None)


def users_table(people: People) -> pa.Table:
    """`users`, in the order of their ids."""
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


def progress_table(people: People, study: Study) -> pa.Table:
    """`user_lesson_progress`, by `started_at`."""
    order = np.argsort(study.started, kind="stable")
    columns = [
        pa.array(people.user_id[study.person[order]]),
        pa.array(study.lesson[order]),
        _instants(study.started[order]),
        _instants(study.completed[order], missing=~study.is_completed[order]),
        pa.array(study.minutes[order].astype(np.int32)),
    ]
    return pa.Table.from_arrays(columns, schema=_SCHEMAS["user_lesson_progress"])


def attempts_table(people: People, attempts: Attempts, first_id: int) -> pa.Table:
    """`quiz_attempts`, by `completed_at`; the ids follow that order."""
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


def submissions_table(people: People, submissions: Submissions, first_id: int) -> pa.Table:
    """`exercise_submissions`, by `created_at`; the ids follow that order."""
    order = np.argsort(submissions.created, kind="stable")
    columns = [
        pa.array(first_id + np.arange(len(order))),
        pa.array(people.user_id[submissions.person[order]]),
        _instants(submissions.created[order]),
    ]
    return pa.Table.from_arrays(columns, schema=_SCHEMAS["exercise_submissions"])


def _instants(microseconds: Ints, missing: Flags | None = None) -> pa.Array:
    return pa.array(microseconds, mask=missing).view(pa.timestamp("us", tz="UTC"))

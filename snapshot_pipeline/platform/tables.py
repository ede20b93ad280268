"""The platform's tables as we know them: which columns we read, and how a database's own are found.

Put here: names, columns and the reflection of the real tables (their time stamp and id types differ).
Do not put here: queries (`reads`), the verdict on a database (`contract`), or anything that we own (`store`).
See `metrics.md`, "The platform's tables".
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    inspect,
)
from sqlalchemy.engine.reflection import ObjectKind
from sqlalchemy.exc import SAWarning

TABLE_NAMES = (
    "users",
    "lessons",
    "user_lesson_progress",
    "quizzes",
    "quiz_attempts",
    "exercise_submissions",
)
OPTIONAL_TABLES = frozenset({"exercise_submissions"})


def platform_metadata(schema: str) -> MetaData:
    """The six tables as `load` and the sample data create them: `bigint` ids, `timestamptz`, no foreign keys."""
    metadata = MetaData(schema=schema)
    moment = DateTime(timezone=True)
    Table(
        "users",
        metadata,
        Column("id", BigInteger, primary_key=True, autoincrement=False, doc="The user."),
        Column("role", String, nullable=False, doc="What the user is; a student is STUDENT, in any case."),
        Column(
            "is_active",
            Boolean,
            nullable=False,
            doc="Whether the user may study; nothing is computed for one who may not.",
        ),
        Column("current_specialization", String, doc="What the student studies, as in `lessons.specialization_id`."),
        Column("current_level", String, doc="How far the student is, as in `lessons.level_id`."),
    )
    Table(
        "lessons",
        metadata,
        Column("id", BigInteger, primary_key=True, autoincrement=False, doc="The lesson."),
        Column("title", String, nullable=False, doc="What it is called."),
        Column("specialization_id", String, doc="The specialization that it belongs to."),
        Column("level_id", String, doc="The level that it belongs to."),
        Column("display_order", Integer, doc="Its place in the order of study."),
        Column("is_published", Boolean, nullable=False, doc="Whether students can see it."),
    )
    Table(
        "user_lesson_progress",
        metadata,
        Column("user_id", BigInteger, nullable=False, doc="The student, `users.id`."),
        Column("lesson_id", BigInteger, nullable=False, doc="The lesson, `lessons.id`."),
        Column("started_at", moment, doc="When the student started the lesson; null before."),
        Column("completed_at", moment, doc="When the student completed it; null before."),
        Column("time_spent_minutes", Integer, doc="The minutes spent on it so far."),
        UniqueConstraint("user_id", "lesson_id", name="user_lesson_progress_user_id_lesson_id_key"),
    )
    Table(
        "quizzes",
        metadata,
        Column("id", BigInteger, primary_key=True, autoincrement=False, doc="The quiz."),
        Column("lesson_id", BigInteger, doc="The lesson that it belongs to, `lessons.id`; null for none."),
        Column("title", String, doc="What it is called."),
    )
    Table(
        "quiz_attempts",
        metadata,
        Column(
            "id",
            BigInteger,
            primary_key=True,
            autoincrement=False,
            doc="The attempt; of two at the same moment the higher one is newer.",
        ),
        Column("user_id", BigInteger, nullable=False, doc="The student, `users.id`."),
        Column("quiz_id", BigInteger, nullable=False, doc="The quiz, `quizzes.id`."),
        Column("score", Double, doc="The score in percent, 0 to 100; null until it is graded."),
        Column("completed_at", moment, doc="When the student handed it in; null before."),
    )
    Table(
        "exercise_submissions",
        metadata,
        Column("id", BigInteger, primary_key=True, autoincrement=False, doc="The submission."),
        Column("user_id", BigInteger, nullable=False, doc="The student, `users.id`."),
        Column("created_at", moment, nullable=False, doc="When it was handed in."),
    )
    return metadata


def reflected_tables(engine: Engine, schema: str) -> dict[str, Table]:
    """Those of the six that are there, by name, with the columns and types that they have in this database.

    Tables, views, materialized views and foreign tables alike, in one look: a look a table, keys and indexes included,
    takes a tenth of the time of a small run.
    """
    with warnings.catch_warnings():
        # The platform's other columns may be of any type, an extension's too; none of them is read.
        warnings.filterwarnings("ignore", "Did not recognize type", SAWarning)
        found = inspect(engine).get_multi_columns(schema, filter_names=TABLE_NAMES, kind=ObjectKind.ANY)
    metadata = MetaData(schema=schema)
    return {
        name: Table(name, metadata, *(Column(column["name"], column["type"]) for column in columns))
        for (_, name), columns in found.items()
    }


@dataclass(frozen=True)
class AdvisedIndex:
    """An index that our reads lean on: without it they are right, but scan whole tables."""

    table: str
    columns: tuple[str, ...]
    reason: str

    @property
    def name(self) -> str:
        """The name under which it is created."""
        return f"{self.table}_{'_'.join(self.columns)}_idx"


ADVISED_INDEXES = (
    AdvisedIndex("user_lesson_progress", ("user_id", "started_at"), "the first start of a student"),
    AdvisedIndex("user_lesson_progress", ("user_id", "completed_at"), "the last completed lesson of a student"),
    AdvisedIndex("user_lesson_progress", ("started_at",), "the lessons started in a window of days"),
    AdvisedIndex("user_lesson_progress", ("completed_at",), "the lessons completed in a window of days"),
    AdvisedIndex("quiz_attempts", ("user_id", "completed_at", "id"), "the last ten attempts of a student"),
    AdvisedIndex("quiz_attempts", ("completed_at",), "the attempts of a window of days"),
    AdvisedIndex("exercise_submissions", ("user_id", "created_at"), "the last exercise of a student"),
    AdvisedIndex("exercise_submissions", ("created_at",), "the exercises of a window of days"),
)

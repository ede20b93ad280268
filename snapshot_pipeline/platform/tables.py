"""The platform's tables: names, the columns that are read, and the reflection of the tables of a given database.

Types of ids and timestamps differ between platforms. See `metrics.md`, "The platform's tables".
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Double,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    cast,
    func,
    inspect,
)
from sqlalchemy.engine.reflection import ObjectKind
from sqlalchemy.exc import SAWarning

TABLE_NAMES = ("users", "lessons", "user_lesson_progress", "quizzes", "quiz_attempts", "exercise_submissions")
OPTIONAL_TABLES = frozenset({"exercise_submissions"})


def _id(doc: str) -> Column[int]:
    return Column("id", BigInteger, primary_key=True, autoincrement=False, doc=doc)


def platform_metadata(schema: str) -> MetaData:
    """The six tables as `load` and the sample data create them: `bigint` ids, `timestamptz`, no foreign keys."""
    metadata = MetaData(schema=schema)
    timestamptz = DateTime(timezone=True)
    Table(
        "users",
        metadata,
        _id("The user."),
        Column("role", String, nullable=False, doc="The role; students have one of SNAPSHOT_STUDENT_ROLES."),
        Column(
            "is_active",
            Boolean,
            nullable=False,
            doc="Whether the account is active; nothing is computed for inactive users.",
        ),
        Column(
            "current_specialization", String, doc="The student's specialization, as in `lessons.specialization_id`."
        ),
        Column("current_level", String, doc="The student's level, as in `lessons.level_id`."),
    )
    Table(
        "lessons",
        metadata,
        _id("The lesson."),
        Column("title", String, nullable=False, doc="The title."),
        Column("specialization_id", String, doc="The lesson's specialization."),
        Column("level_id", String, doc="The lesson's level."),
        Column("display_order", Integer, doc="The position in the order of study."),
        Column("is_published", Boolean, nullable=False, doc="Whether students can see it."),
    )
    Table(
        "user_lesson_progress",
        metadata,
        Column("user_id", BigInteger, nullable=False, doc="The student, `users.id`."),
        Column("lesson_id", BigInteger, nullable=False, doc="The lesson, `lessons.id`."),
        Column("started_at", timestamptz, doc="When the student started the lesson; null until then."),
        Column("completed_at", timestamptz, doc="When the student completed the lesson; null until then."),
        Column("time_spent_minutes", Integer, doc="Minutes spent on the lesson so far."),
        UniqueConstraint("user_id", "lesson_id", name="user_lesson_progress_user_id_lesson_id_key"),
    )
    Table(
        "quizzes",
        metadata,
        _id("The quiz."),
        Column("lesson_id", BigInteger, doc="The quiz's lesson, `lessons.id`; null if it has none."),
        Column("title", String, doc="The title."),
    )
    Table(
        "quiz_attempts",
        metadata,
        _id("The attempt; of two completed at the same time, the one with the higher id is newer."),
        Column("user_id", BigInteger, nullable=False, doc="The student, `users.id`."),
        Column("quiz_id", BigInteger, nullable=False, doc="The quiz, `quizzes.id`."),
        Column("score", Double, doc="The score; full marks are SNAPSHOT_SCORE_MAXIMUM. Null until it is graded."),
        Column("completed_at", timestamptz, doc="When the student submitted the attempt; null until then."),
    )
    Table(
        "exercise_submissions",
        metadata,
        _id("The submission."),
        Column("user_id", BigInteger, nullable=False, doc="The student, `users.id`."),
        Column("created_at", timestamptz, nullable=False, doc="When it was submitted."),
    )
    return metadata


def is_student(users: Table, roles: Sequence[str]) -> ColumnElement[bool]:
    """Return whether a user has one of the roles of students, compared trimmed and in any case."""
    role = func.upper(func.trim(cast(users.c.role, String)))
    return role.in_([name.strip().upper() for name in roles])


def reflected_tables(engine: Engine, schema: str) -> dict[str, Table]:
    """Return the existing tables, by name, with their columns and types in this database.

    Includes views, materialized views and foreign tables. One query for all tables, without keys and indexes:
    reflecting them table by table takes a tenth of the time of a small run.
    """
    with warnings.catch_warnings():
        # Columns that are not read may have any type, including an extension's.
        warnings.filterwarnings("ignore", "Did not recognize type", SAWarning)
        columns_by_table = inspect(engine).get_multi_columns(schema, filter_names=TABLE_NAMES, kind=ObjectKind.ANY)
    metadata = MetaData(schema=schema)
    return {
        name: Table(name, metadata, *(Column(column["name"], column["type"]) for column in columns))
        for (_, name), columns in columns_by_table.items()
    }


@dataclass(frozen=True)
class AdvisedIndex:
    """An index that makes a read fast; without it the read is correct, but scans the whole table."""

    table: str
    columns: tuple[str, ...]
    reason: str

    @property
    def name(self) -> str:
        """The name of the index when the pipeline creates it."""
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

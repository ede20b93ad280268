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
        Column("id", BigInteger, primary_key=True, autoincrement=False),
        Column("role", String, nullable=False),
        Column("is_active", Boolean, nullable=False),
        Column("current_specialization", String),
        Column("current_level", String),
    )
    Table(
        "lessons",
        metadata,
        Column("id", BigInteger, primary_key=True, autoincrement=False),
        Column("title", String, nullable=False),
        Column("specialization_id", String),
        Column("level_id", String),
        Column("display_order", Integer),
        Column("is_published", Boolean, nullable=False),
    )
    Table(
        "user_lesson_progress",
        metadata,
        Column("user_id", BigInteger, nullable=False),
        Column("lesson_id", BigInteger, nullable=False),
        Column("started_at", moment),
        Column("completed_at", moment),
        Column("time_spent_minutes", Integer),
        UniqueConstraint("user_id", "lesson_id", name="user_lesson_progress_user_id_lesson_id_key"),
    )
    Table(
        "quizzes",
        metadata,
        Column("id", BigInteger, primary_key=True, autoincrement=False),
        Column("lesson_id", BigInteger),
        Column("title", String),
    )
    Table(
        "quiz_attempts",
        metadata,
        Column("id", BigInteger, primary_key=True, autoincrement=False),
        Column("user_id", BigInteger, nullable=False),
        Column("quiz_id", BigInteger, nullable=False),
        Column("score", Double),
        Column("completed_at", moment),
    )
    Table(
        "exercise_submissions",
        metadata,
        Column("id", BigInteger, primary_key=True, autoincrement=False),
        Column("user_id", BigInteger, nullable=False),
        Column("created_at", moment, nullable=False),
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

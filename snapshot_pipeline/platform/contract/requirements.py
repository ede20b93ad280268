"""The pipeline's requirements of the platform's tables: columns, types, keys, references."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Accepted:
    """The types that a column may have, by name in `pg_type`; an empty set accepts any type.

    Attributes:
        type_for_null: The type to give a column of a view that is always NULL.
    """

    words: str
    type_names: frozenset[str] = frozenset()
    or_enum: bool = False
    type_for_null: str = "text"


INTEGERS = frozenset({"int2", "int4", "int8"})
NUMBERS = INTEGERS | {"numeric", "float4", "float8"}
ID = Accepted("integer or bigint", INTEGERS, type_for_null="bigint")
MOMENT = Accepted("timestamp or timestamptz", frozenset({"timestamp", "timestamptz"}), type_for_null="timestamptz")
_FLAG = Accepted("boolean", frozenset({"bool"}), type_for_null="boolean")
_NUMBER = Accepted("a numeric type", NUMBERS, type_for_null="integer")
_WORD = Accepted("text, varchar or an enum", frozenset({"text", "varchar", "bpchar", "citext", "name"}), or_enum=True)
# Compared and displayed as text.
_ANY = Accepted("any type")


COLUMNS: dict[str, dict[str, Accepted]] = {
    "users": {
        "id": ID,
        "role": _WORD,
        "is_active": _FLAG,
        "current_specialization": _ANY,
        "current_level": _ANY,
    },
    "lessons": {
        "id": ID,
        "title": _ANY,
        "specialization_id": _ANY,
        "level_id": _ANY,
        "display_order": _NUMBER,
        "is_published": _FLAG,
    },
    "user_lesson_progress": {
        "user_id": ID,
        "lesson_id": ID,
        "started_at": MOMENT,
        "completed_at": MOMENT,
        "time_spent_minutes": _NUMBER,
    },
    "quizzes": {"id": ID, "lesson_id": ID, "title": _ANY},
    "quiz_attempts": {"id": ID, "user_id": ID, "quiz_id": ID, "score": _NUMBER, "completed_at": MOMENT},
    "exercise_submissions": {"id": ID, "user_id": ID, "created_at": MOMENT},
}
OPTIONAL_COLUMNS = {("quizzes", "title"): "quizzes are named by their id"}
"""Columns that may be missing, and what happens then."""
KEYS = {
    "users": ("id",),
    "lessons": ("id",),
    "user_lesson_progress": ("user_id", "lesson_id"),
    "quizzes": ("id",),
    "quiz_attempts": ("id",),
}
REFERENCES = (
    ("user_lesson_progress", "user_id", "users"),
    ("user_lesson_progress", "lesson_id", "lessons"),
    ("quizzes", "lesson_id", "lessons"),
    ("quiz_attempts", "user_id", "users"),
    ("quiz_attempts", "quiz_id", "quizzes"),
    ("exercise_submissions", "user_id", "users"),
)
TIMES = {
    "user_lesson_progress": ("started_at", "completed_at"),
    "quiz_attempts": ("completed_at",),
    "exercise_submissions": ("created_at",),
}
"""The times of a row; the other tables have none."""
ROW_KEYS = {
    "user_lesson_progress": ("user_id", "lesson_id"),
    "quiz_attempts": ("id",),
    "exercise_submissions": ("id",),
}
"""The columns that name a row in an example."""

"""The pipeline's requirements of the platform's tables: columns, types, keys, references."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Accepted:
    """The types that a column may have, by name in `pg_type`; an empty set accepts any type."""

    words: str
    type_names: frozenset[str] = frozenset()
    or_enum: bool = False


INTEGERS = frozenset({"int2", "int4", "int8"})
_NUMBERS = INTEGERS | {"numeric", "float4", "float8"}
_ID = Accepted("integer or bigint", INTEGERS)
_MOMENT = Accepted("timestamp or timestamptz", frozenset({"timestamp", "timestamptz"}))
_FLAG = Accepted("boolean", frozenset({"bool"}))
_NUMBER = Accepted("a numeric type", _NUMBERS)
_WORD = Accepted("text, varchar or an enum", frozenset({"text", "varchar", "bpchar", "citext", "name"}), or_enum=True)
# Compared and displayed as text.
_ANY = Accepted("any type")


COLUMNS: dict[str, dict[str, Accepted]] = {
    "users": {
        "id": _ID,
        "role": _WORD,
        "is_active": _FLAG,
        "current_specialization": _ANY,
        "current_level": _ANY,
    },
    "lessons": {
        "id": _ID,
        "title": _ANY,
        "specialization_id": _ANY,
        "level_id": _ANY,
        "display_order": _NUMBER,
        "is_published": _FLAG,
    },
    "user_lesson_progress": {
        "user_id": _ID,
        "lesson_id": _ID,
        "started_at": _MOMENT,
        "completed_at": _MOMENT,
        "time_spent_minutes": _NUMBER,
    },
    "quizzes": {"id": _ID, "lesson_id": _ID, "title": _ANY},
    "quiz_attempts": {"id": _ID, "user_id": _ID, "quiz_id": _ID, "score": _NUMBER, "completed_at": _MOMENT},
    "exercise_submissions": {"id": _ID, "user_id": _ID, "created_at": _MOMENT},
}
# Part of the platform's tables in metrics.md, but not read.
NOT_READ = frozenset({("quizzes", "title")})
KEYS = {
    "users": ("id",),
    "lessons": ("id",),
    "user_lesson_progress": ("user_id", "lesson_id"),
    "quizzes": ("id",),
    "quiz_attempts": ("id",),
}
REFERENCES = (
    ("user_lesson_progress", "user_id", "users"),
    ("quiz_attempts", "user_id", "users"),
    ("exercise_submissions", "user_id", "users"),
    ("quiz_attempts", "quiz_id", "quizzes"),
)

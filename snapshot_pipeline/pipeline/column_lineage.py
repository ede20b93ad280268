"""The columns that each of our published columns is computed from, as docs/metrics.md defines them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class ColumnRef:
    """A column of the platform's tables or of ours."""

    table: str
    column: str

    def __str__(self) -> str:
        return f"{self.table}.{self.column}"


def _columns(table: str, *columns: str) -> tuple[ColumnRef, ...]:
    return tuple(ColumnRef(table, column) for column in columns)


_STUDENTS = _columns("users", "id", "role", "is_active")
_COMPLETED = _columns("user_lesson_progress", "completed_at")
_ATTEMPTED = _columns("quiz_attempts", "completed_at")
_SUBMITTED = _columns("exercise_submissions", "created_at")
_SCORED = _columns("quiz_attempts", "score", "completed_at")
_STARTED = _columns("user_lesson_progress", "started_at")
_PACE = (*_STARTED, *_COMPLETED, *_SCORED)

_ORDER_OF_STUDY = (
    *_columns("lessons", "id", "specialization_id", "level_id", "display_order", "is_published"),
    *_columns("users", "current_specialization", "current_level"),
    *_columns("user_lesson_progress", "lesson_id", "started_at", "completed_at"),
)
_COHORT = _columns("users", "current_specialization", "current_level")
_COUNTED = (
    *_COHORT,
    *_columns("quiz_attempts", "quiz_id", "score", "completed_at"),
    *_columns("quizzes", "lesson_id"),
    *_columns("lessons", "specialization_id", "level_id", "is_published"),
)
_ACTIVITY = (*_STARTED, *_COMPLETED, *_ATTEMPTED, *_SUBMITTED)
_RULES = (
    *_ORDER_OF_STUDY,
    *_columns("user_lesson_progress", "time_spent_minutes"),
    *_SCORED,
    *_SUBMITTED,
    *_columns("quizzes", "lesson_id"),
)

COLUMN_LINEAGE: Mapping[str, Mapping[str, tuple[ColumnRef, ...]]] = {
    "performance_snapshots": {
        "user_id": (*_STUDENTS, *_columns("user_lesson_progress", "user_id", "started_at")),
        "pace_score": _PACE,
        "learning_pace": _PACE,
        "quiz_average": _SCORED,
        "lessons_completed_count": _COMPLETED,
        "time_spent_minutes_today": _columns("user_lesson_progress", "time_spent_minutes", "started_at"),
        "quizzes_completed_count": _ATTEMPTED,
        "exercises_submitted_count": _SUBMITTED,
        "last_activity_date": _ACTIVITY,
        "days_since_activity": _ACTIVITY,
        "engagement_score": tuple(dict.fromkeys((*_COUNTED, *_ACTIVITY))),
        "engagement_results": _COUNTED,
        "engagement_presence": (*_COHORT, *_ACTIVITY),
        "engagement_timeliness": tuple(ref for ref in _COUNTED if ref.column != "score"),
        "engagement_recency": (*_COHORT, *_ACTIVITY),
    },
    "cohort_summary": {
        "specialization": _columns("users", "current_specialization"),
        "level": _columns("users", "current_level"),
        "students": _columns("performance_snapshots", "user_id"),
        "active_students": _columns("performance_snapshots", "last_activity_date"),
        **dict.fromkeys(
            ("pace_mean", "pace_p25", "pace_median", "pace_p75"), _columns("performance_snapshots", "pace_score")
        ),
        **dict.fromkeys(
            ("slow_students", "medium_students", "fast_students", "accelerated_students"),
            _columns("performance_snapshots", "learning_pace"),
        ),
        "quiz_average_mean": _columns("performance_snapshots", "quiz_average"),
        "minutes_spent": _columns("performance_snapshots", "time_spent_minutes_today"),
        "lessons_completed": _columns("performance_snapshots", "lessons_completed_count"),
        "inactive_7_days": _columns("performance_snapshots", "last_activity_date"),
        "inactive_14_days": _columns("performance_snapshots", "last_activity_date"),
    },
    "adaptive_recommendations": {
        "user_id": _STUDENTS,
        "recommendation_type": _RULES,
        "priority": _RULES,
        "title": (*_RULES, *_columns("lessons", "title")),
        "message": (*_RULES, *_columns("lessons", "title")),
        "metadata": (*_RULES, *_columns("lessons", "title")),
    },
    "at_risk_students": {
        "user_id": _STUDENTS,
        "state": (*_ACTIVITY, *_ORDER_OF_STUDY, *_columns("performance_snapshots", "engagement_score")),
        **{
            name: _columns("performance_snapshots", f"engagement_{name}")
            for name in ("score", "results", "presence", "timeliness", "recency")
        },
        "reasons": (
            *_ACTIVITY,
            *_COUNTED,
            *_columns("quizzes", "title"),
            *_columns(
                "performance_snapshots",
                "engagement_results",
                "engagement_presence",
                "engagement_timeliness",
                "engagement_recency",
            ),
        ),
        "specialization": _columns("users", "current_specialization"),
        "level": _columns("users", "current_level"),
        "peers": (*_COHORT, *_ACTIVITY),
    },
}
"""By table and column. Columns that are not computed from others, such as days and times, are left out."""

"""The platform's tables as external assets: they stand at the left of the graph, and are never materialized by us."""

from __future__ import annotations

import dagster as dg

from snapshot_pipeline.settings import Settings

GROUP = "learning_platform"

_SENTENCES = {
    "users": "Students, their specialization and level, and whether they are active.",
    "lessons": "The lessons of each specialization and level, in their order of study.",
    "user_lesson_progress": "One row per student and lesson: when it was started and completed, and the minutes spent.",
    "quizzes": "Quizzes and the lesson that each belongs to.",
    "quiz_attempts": "Every attempt at a quiz, with its score in percent.",
    "exercise_submissions": "Exercises that students handed in; a platform without exercises has none.",
}

SNAPSHOT_SOURCES = ("users", "user_lesson_progress", "quiz_attempts", "exercise_submissions")
"""What the snapshots are made of."""

RECOMMENDATION_SOURCES = ("users", "lessons", "user_lesson_progress", "quizzes", "quiz_attempts")
"""What the recommendations need besides the snapshots."""


def key(table: str) -> dg.AssetKey:
    """The asset key of a table of the platform."""
    return dg.AssetKey([GROUP, table])


def build_learning_platform(settings: Settings) -> list[dg.AssetSpec]:
    """One external asset per table of the platform."""
    return [
        dg.AssetSpec(
            key(table),
            group_name=GROUP,
            description=f"{sentence} Owned by the learning platform; read every night, never written.",
            kinds={"postgres", "table"},
            metadata={"dagster/table_name": f"{settings.platform_schema}.{table}"},
        )
        for table, sentence in _SENTENCES.items()
    ]

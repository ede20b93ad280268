"""The platform's tables as external assets: they stand at the left of the graph, and are never materialized by us."""

from __future__ import annotations

import dagster as dg

from snapshot_pipeline.orchestration.asset_keys import LEARNING_PLATFORM, table_key
from snapshot_pipeline.orchestration.descriptions import described
from snapshot_pipeline.orchestration.table_metadata import platform_table_metadata
from snapshot_pipeline.orchestration.tags import GRAIN, NOW
from snapshot_pipeline.settings import Settings

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


def build_learning_platform(settings: Settings) -> list[dg.AssetSpec]:
    """One external asset per table of the platform."""
    return [
        dg.AssetSpec(
            table_key(table),
            group_name=LEARNING_PLATFORM,
            description=_description(sentence),
            kinds={"postgres", "table"},
            tags={GRAIN: NOW},
            metadata=platform_table_metadata(table, settings),
        )
        for table, sentence in _SENTENCES.items()
    ]


def _description(sentence: str) -> str:
    return described(
        f"{sentence} Owned by the learning platform; the columns below are those that are read, and none is written.",
        reads="nothing: the application fills it, as students learn.",
        runs="never: it is what it is when a night's run reads it, and cannot be materialized here.",
        remediation=(
            "it cannot be. Whether it has the columns, types, rights and indexes that the pipeline needs is said by "
            "`snapshot-pipeline check`."
        ),
    )

"""The platform's tables as external assets, at the left of the graph; `platform_checks` reports their state daily."""

from __future__ import annotations

import dagster as dg

from snapshot_pipeline.orchestration.names import GRAIN_TAG, LEARNING_PLATFORM
from snapshot_pipeline.orchestration.partitions import daily_checks_freshness
from snapshot_pipeline.orchestration.table_metadata import platform_table_metadata, table_key
from snapshot_pipeline.settings import Settings

_DESCRIPTIONS = {
    "users": "Students, their specialization and level, and whether they are active.",
    "lessons": "The lessons of each specialization and level, in their order of study.",
    "user_lesson_progress": "One row per student and lesson: when it was started and completed, and the minutes spent.",
    "quizzes": "Quizzes and the lesson that each belongs to.",
    "quiz_attempts": "Every attempt at a quiz, with its score in percent.",
    "exercise_submissions": "Submitted exercises; empty on a platform without exercises.",
}


def build_learning_platform(settings: Settings) -> list[dg.AssetSpec]:
    """Build one external asset per table of the platform."""
    return [
        dg.AssetSpec(
            table_key(table),
            group_name=LEARNING_PLATFORM,
            description=description,
            kinds={"postgres", "table"},
            tags={GRAIN_TAG: "now"},
            metadata=platform_table_metadata(table, settings),
            freshness_policy=daily_checks_freshness(settings),
        )
        for table, description in _DESCRIPTIONS.items()
    ]

"""The way from our columns to the platform's: a name that is not there would send a reader nowhere."""

from __future__ import annotations

from snapshot_pipeline.pipeline.column_lineage import COLUMN_LINEAGE, ColumnRef
from snapshot_pipeline.platform.tables import platform_metadata
from snapshot_pipeline.store.tables import StoreTables

KNOWN = {
    ColumnRef(table.name, column.name)
    for metadata in (platform_metadata("public"), StoreTables.of("public").metadata)
    for table in metadata.tables.values()
    for column in table.columns
}

WITHOUT_ORIGIN = {
    "performance_snapshots": {"snapshot_date", "computed_at"},
    "cohort_summary": {"snapshot_date", "failed", "computed_at", "run_id"},  # failed: of a table that is no asset
    "adaptive_recommendations": {"id", "week_start", "is_active", "created_at", "dismissed_at"},
}
"""Columns that name the day, the week or a moment, or that the platform sets itself."""


def test_every_source_column_exists():
    assert {
        origin for columns in COLUMN_LINEAGE.values() for origins in columns.values() for origin in origins
    } <= KNOWN


def test_every_computed_column_has_lineage():
    for table, without in WITHOUT_ORIGIN.items():
        columns = {one.column for one in KNOWN if one.table == table}
        assert set(COLUMN_LINEAGE[table]) == columns - without


def test_pace_score_derives_from_completed_lessons_and_scored_quizzes():
    made_from = {str(origin) for origin in COLUMN_LINEAGE["performance_snapshots"]["pace_score"]}
    assert {"user_lesson_progress.completed_at", "quiz_attempts.score"} <= made_from

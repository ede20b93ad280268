"""Column lineage: every source column exists, and every computed column has sources."""

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

WITHOUT_SOURCES = {
    "performance_snapshots": {"snapshot_date", "computed_at"},
    "cohort_summary": {"snapshot_date", "failed", "computed_at", "run_id"},  # failed: from a table that is not an asset
    "adaptive_recommendations": {"id", "week_start", "is_active", "applies", "created_at", "dismissed_at"},
    "at_risk_students": {"week_start", "listed_since", "computed_at"},
}
"""Columns that hold the day, the week or a time, or that the platform sets."""


def test_every_source_column_exists():
    assert {
        source for columns in COLUMN_LINEAGE.values() for sources in columns.values() for source in sources
    } <= KNOWN


def test_every_computed_column_has_lineage():
    for table, without in WITHOUT_SOURCES.items():
        columns = {ref.column for ref in KNOWN if ref.table == table}
        assert set(COLUMN_LINEAGE[table]) == columns - without


def test_pace_score_derives_from_completed_lessons_and_scored_quizzes():
    sources = {str(source) for source in COLUMN_LINEAGE["performance_snapshots"]["pace_score"]}
    assert {"user_lesson_progress.completed_at", "quiz_attempts.score"} <= sources

"""The first tables: snapshots, failures, days, recommendations.

Revision: 0001, of 2026-11-23.
"""

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the four tables in the configured schema."""
    schema = context.config.attributes["schema"]
    op.create_table(
        "performance_snapshots",
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("snapshot_date", sa.Date, primary_key=True),
        sa.Column("pace_score", sa.Double, nullable=False),
        sa.Column("learning_pace", sa.Text, nullable=False),
        sa.Column("quiz_average", sa.Double),
        sa.Column("lessons_completed_count", sa.Integer, nullable=False),
        sa.Column("time_spent_minutes_today", sa.BigInteger, nullable=False),
        sa.Column("quizzes_completed_count", sa.Integer, nullable=False),
        sa.Column("exercises_submitted_count", sa.Integer, nullable=False),
        sa.Column("last_activity_date", sa.Date, nullable=False),
        sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
        schema=schema,
    )
    op.create_index(
        "performance_snapshots_snapshot_date_idx", "performance_snapshots", ["snapshot_date"], schema=schema
    )
    op.create_table(
        "snapshot_failures",
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("snapshot_date", sa.Date, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
        schema=schema,
    )
    op.create_index("snapshot_failures_snapshot_date_idx", "snapshot_failures", ["snapshot_date"], schema=schema)
    op.create_table(
        "snapshot_days",
        sa.Column("snapshot_date", sa.Date, primary_key=True),
        sa.Column("published", sa.BigInteger, nullable=False),
        sa.Column("failed", sa.BigInteger, nullable=False),
        sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        schema=schema,
    )
    op.create_table(
        "adaptive_recommendations",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        sa.Column("week_start", sa.Date, nullable=False),
        sa.Column("recommendation_type", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("metadata", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("dismissed_at", sa.DateTime(timezone=True)),
        sa.UniqueConstraint(
            "user_id", "week_start", "recommendation_type", name="adaptive_recommendations_user_id_week_start_type_key"
        ),
        schema=schema,
    )
    op.create_index(
        "adaptive_recommendations_week_start_idx", "adaptive_recommendations", ["week_start"], schema=schema
    )
    op.create_index(
        "adaptive_recommendations_active_idx",
        "adaptive_recommendations",
        ["user_id"],
        postgresql_where=sa.text("is_active"),
        schema=schema,
    )

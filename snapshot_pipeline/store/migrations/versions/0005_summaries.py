"""The summaries of a day: over all students, and by specialization and level.

Revision: 0005, of 2026-11-25.

Two tables, so that a sum over one of them never counts anybody twice.
"""

from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add both tables; a backfill of `cohort_summary` fills them for the days that are there."""
    schema = context.config.attributes["schema"]
    op.create_table(
        "day_summary",
        sa.Column("snapshot_date", sa.Date, primary_key=True),
        *_figures(),
        schema=schema,
    )
    op.create_table(
        "cohort_summary",
        sa.Column("snapshot_date", sa.Date, primary_key=True),
        sa.Column("specialization", sa.Text, primary_key=True),
        sa.Column("level", sa.Text, primary_key=True),
        *_figures(),
        schema=schema,
    )


def _figures() -> list[sa.Column[Any]]:
    return [
        sa.Column("students", sa.BigInteger, nullable=False),
        sa.Column("failed", sa.BigInteger, nullable=False),
        sa.Column("active_students", sa.BigInteger, nullable=False),
        sa.Column("pace_mean", sa.Double),
        sa.Column("pace_p25", sa.Double),
        sa.Column("pace_median", sa.Double),
        sa.Column("pace_p75", sa.Double),
        sa.Column("slow_students", sa.BigInteger, nullable=False),
        sa.Column("medium_students", sa.BigInteger, nullable=False),
        sa.Column("fast_students", sa.BigInteger, nullable=False),
        sa.Column("accelerated_students", sa.BigInteger, nullable=False),
        sa.Column("quiz_average_mean", sa.Double),
        sa.Column("minutes_spent", sa.BigInteger, nullable=False),
        sa.Column("lessons_completed", sa.BigInteger, nullable=False),
        sa.Column("inactive_7_days", sa.BigInteger, nullable=False),
        sa.Column("inactive_14_days", sa.BigInteger, nullable=False),
        sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
    ]

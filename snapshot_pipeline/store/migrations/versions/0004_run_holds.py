"""Which run may write what: the fence that keeps a run that was given up for dead from publishing.

Revision: 0004, of 2026-11-25.
"""

import sqlalchemy as sa
from alembic import context, op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the table; it is empty while nothing runs."""
    op.create_table(
        "run_leases",
        sa.Column("token", sa.Text, primary_key=True),
        sa.Column("space", sa.Text, nullable=False),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        schema=context.config.attributes["schema"],
    )

"""Incidents and their messages, restatements, the history of a failure, what a day's source looked like.

Revision: 0002, of 2026-11-25.
"""

import sqlalchemy as sa
from alembic import context, op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add to the tables of 0001; what they hold stays."""
    schema = context.config.attributes["schema"]
    moment = sa.DateTime(timezone=True)
    for name in ("first_seen_at", "last_seen_at"):
        op.add_column("snapshot_failures", sa.Column(name, moment), schema=schema)
    op.add_column("snapshot_failures", sa.Column("attempts", sa.Integer), schema=schema)
    failures = sa.table(
        "snapshot_failures",
        *(sa.column(name) for name in ("computed_at", "first_seen_at", "last_seen_at", "attempts")),
        schema=schema,
    )
    seen = failures.c.computed_at
    op.execute(sa.update(failures).values(first_seen_at=seen, last_seen_at=seen, attempts=1))
    for name in ("first_seen_at", "last_seen_at", "attempts"):
        op.alter_column("snapshot_failures", name, nullable=False, schema=schema)
    op.add_column("snapshot_days", sa.Column("source_fingerprint", sa.Text), schema=schema)
    op.create_table(
        "snapshot_restatements",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        sa.Column("snapshot_date", sa.Date, nullable=False),
        sa.Column("column_name", sa.Text, nullable=False),
        sa.Column("old_value", sa.Text),
        sa.Column("new_value", sa.Text),
        sa.Column("restated_at", moment, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        schema=schema,
    )
    op.create_index(
        "snapshot_restatements_snapshot_date_user_id_idx",
        "snapshot_restatements",
        ["snapshot_date", "user_id"],
        schema=schema,
    )
    op.create_index("snapshot_restatements_restated_at_idx", "snapshot_restatements", ["restated_at"], schema=schema)
    op.create_table(
        "incidents",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text),
        sa.Column("opened_at", moment, nullable=False),
        sa.Column("told_at", moment, nullable=False),
        sa.Column("closed_at", moment),
        sa.Column("last_event_at", moment),
        schema=schema,
    )
    op.create_index(
        "incidents_open_key",
        "incidents",
        ["kind", "subject"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
        schema=schema,
    )
    op.create_index("incidents_kind_subject_idx", "incidents", ["kind", "subject", "opened_at"], schema=schema)
    op.create_table(
        "alert_messages",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("next_attempt_at", moment, nullable=False),
        sa.Column("sent_at", moment),
        sa.Column("last_error", sa.Text),
        schema=schema,
    )
    op.create_index(
        "alert_messages_unsent_idx",
        "alert_messages",
        ["channel", "id"],
        postgresql_where=sa.text("sent_at IS NULL"),
        schema=schema,
    )

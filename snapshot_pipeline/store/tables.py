"""The tables that we own, as they stand after the last migration.

Put here: table and column definitions; a test holds them against the migrations.
Do not put here: how they came about (`migrations/`).

None has a foreign key into the platform's tables: a pipeline must not be able to block the application's deletes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB


@dataclass(frozen=True)
class StoreTables:
    """Our tables in one schema.

    Attributes:
        performance_snapshots: One row per student and day; `metrics.md`, "The snapshot".
        snapshot_failures: One row per student and day that could not be computed, with the reason.
        snapshot_days: One row per computed day: how many were published and failed, when and by which run, and what
            the platform's rows of that day looked like then.
        day_summary: One row per summarized day, over all students; `metrics.md`, "The summary".
        cohort_summary: One row per summarized day, specialization and level; students without one of them have ''.
        snapshot_restatements: One row per published figure that a later computation changed.
        adaptive_recommendations: One row per student, week and type; `metrics.md`, "The recommendations".
        incidents: One row per thing that went wrong and that somebody is told of.
        alert_messages: One row per message and channel: the outbox of the incidents.
        run_holds: One row per run that is writing days or recommendations: which, and who it is.
    """

    performance_snapshots: Table
    snapshot_failures: Table
    snapshot_days: Table
    day_summary: Table
    cohort_summary: Table
    snapshot_restatements: Table
    adaptive_recommendations: Table
    incidents: Table
    alert_messages: Table
    run_holds: Table

    @property
    def metadata(self) -> MetaData:
        """The metadata that all of them belong to."""
        return self.performance_snapshots.metadata

    @classmethod
    @lru_cache  # the same objects for each batch: SQLAlchemy compiles a statement about them once
    def of(cls, schema: str) -> StoreTables:
        """The tables in a schema; nothing is looked up."""
        metadata = MetaData(schema=schema)
        return cls(
            performance_snapshots=_performance_snapshots(metadata),
            snapshot_failures=_snapshot_failures(metadata),
            snapshot_days=_snapshot_days(metadata),
            day_summary=_day_summary(metadata),
            cohort_summary=_cohort_summary(metadata),
            snapshot_restatements=_snapshot_restatements(metadata),
            adaptive_recommendations=_adaptive_recommendations(metadata),
            incidents=_incidents(metadata),
            alert_messages=_alert_messages(metadata),
            run_holds=_run_holds(metadata),
        )


def _performance_snapshots(metadata: MetaData) -> Table:
    return Table(
        "performance_snapshots",
        metadata,
        Column("user_id", BigInteger, primary_key=True, autoincrement=False),
        Column("snapshot_date", Date, primary_key=True),
        Column("pace_score", Double, nullable=False),
        Column("learning_pace", Text, nullable=False),
        Column("quiz_average", Double),
        Column("lessons_completed_count", Integer, nullable=False),
        Column("time_spent_minutes_today", BigInteger, nullable=False),
        Column("quizzes_completed_count", Integer, nullable=False),
        Column("exercises_submitted_count", Integer, nullable=False),
        Column("last_activity_date", Date, nullable=False),
        Column("computed_at", DateTime(timezone=True), nullable=False),
        Index("performance_snapshots_snapshot_date_idx", "snapshot_date"),
        postgresql_partition_by="RANGE (snapshot_date)",  # by month: `store.partitions`
    )


def _snapshot_failures(metadata: MetaData) -> Table:
    return Table(
        "snapshot_failures",
        metadata,
        Column("user_id", BigInteger, primary_key=True, autoincrement=False),
        Column("snapshot_date", Date, primary_key=True),
        Column("reason", Text, nullable=False),
        Column("detail", Text, nullable=False),
        Column("computed_at", DateTime(timezone=True), nullable=False),
        Column("first_seen_at", DateTime(timezone=True), nullable=False),
        Column("last_seen_at", DateTime(timezone=True), nullable=False),
        Column("attempts", Integer, nullable=False),
        Index("snapshot_failures_snapshot_date_idx", "snapshot_date"),
    )


def _snapshot_days(metadata: MetaData) -> Table:
    return Table(
        "snapshot_days",
        metadata,
        Column("snapshot_date", Date, primary_key=True),
        Column("published", BigInteger, nullable=False),
        Column("failed", BigInteger, nullable=False),
        Column("computed_at", DateTime(timezone=True), nullable=False),
        Column("run_id", Text, nullable=False),
        Column("source_fingerprint", Text),
    )


def _day_summary(metadata: MetaData) -> Table:
    return Table("day_summary", metadata, Column("snapshot_date", Date, primary_key=True), *_summary_columns())


def _cohort_summary(metadata: MetaData) -> Table:
    return Table(
        "cohort_summary",
        metadata,
        Column("snapshot_date", Date, primary_key=True),
        Column("specialization", Text, primary_key=True),
        Column("level", Text, primary_key=True),
        *_summary_columns(),
    )


def _summary_columns() -> list[Column[Any]]:
    """What is said of all students of a day, and of each cohort."""
    return [
        Column("students", BigInteger, nullable=False),
        Column("failed", BigInteger, nullable=False),
        Column("active_students", BigInteger, nullable=False),
        Column("pace_mean", Double),
        Column("pace_p25", Double),
        Column("pace_median", Double),
        Column("pace_p75", Double),
        Column("slow_students", BigInteger, nullable=False),
        Column("medium_students", BigInteger, nullable=False),
        Column("fast_students", BigInteger, nullable=False),
        Column("accelerated_students", BigInteger, nullable=False),
        Column("quiz_average_mean", Double),
        Column("minutes_spent", BigInteger, nullable=False),
        Column("lessons_completed", BigInteger, nullable=False),
        Column("inactive_7_days", BigInteger, nullable=False),
        Column("inactive_14_days", BigInteger, nullable=False),
        Column("computed_at", DateTime(timezone=True), nullable=False),
        Column("run_id", Text, nullable=False),
    ]


def _snapshot_restatements(metadata: MetaData) -> Table:
    return Table(
        "snapshot_restatements",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("user_id", BigInteger, nullable=False),
        Column("snapshot_date", Date, nullable=False),
        Column("column_name", Text, nullable=False),
        Column("old_value", Text),
        Column("new_value", Text),
        Column("restated_at", DateTime(timezone=True), nullable=False),
        Column("run_id", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Index("snapshot_restatements_snapshot_date_user_id_idx", "snapshot_date", "user_id"),
        Index("snapshot_restatements_restated_at_idx", "restated_at"),
    )


def _incidents(metadata: MetaData) -> Table:
    return Table(
        "incidents",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("kind", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("title", Text, nullable=False),
        Column("detail", Text, nullable=False),
        Column("run_id", Text),
        Column("opened_at", DateTime(timezone=True), nullable=False),
        Column("told_at", DateTime(timezone=True), nullable=False),
        Column("closed_at", DateTime(timezone=True)),
        # When the last event that was taken into account happened: one that is seen again changes nothing.
        Column("last_event_at", DateTime(timezone=True)),
        Index("incidents_open_key", "kind", "subject", unique=True, postgresql_where=text("closed_at IS NULL")),
        Index("incidents_kind_subject_idx", "kind", "subject", "opened_at"),
    )


def _alert_messages(metadata: MetaData) -> Table:
    return Table(
        "alert_messages",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("channel", Text, nullable=False),
        Column("title", Text, nullable=False),
        Column("body", Text, nullable=False),
        Column("severity", Text, nullable=False),
        Column("created_at", DateTime(timezone=True), nullable=False),
        Column("attempts", Integer, nullable=False, server_default=text("0")),
        Column("next_attempt_at", DateTime(timezone=True), nullable=False),
        Column("sent_at", DateTime(timezone=True)),
        Column("last_error", Text),
        Index("alert_messages_unsent_idx", "channel", "id", postgresql_where=text("sent_at IS NULL")),
    )


def _run_holds(metadata: MetaData) -> Table:
    return Table(
        "run_holds",
        metadata,
        Column("token", Text, primary_key=True),
        Column("space", Text, nullable=False),
        Column("first", BigInteger, nullable=False),
        Column("last", BigInteger, nullable=False),
        Column("owner", Text, nullable=False),
        Column("taken_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


def _adaptive_recommendations(metadata: MetaData) -> Table:
    return Table(
        "adaptive_recommendations",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("user_id", BigInteger, nullable=False),
        Column("week_start", Date, nullable=False),
        Column("recommendation_type", Text, nullable=False),
        Column("title", Text, nullable=False),
        Column("message", Text, nullable=False),
        Column("priority", Integer, nullable=False),
        Column("metadata", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
        Column("is_active", Boolean, nullable=False, server_default=false()),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("dismissed_at", DateTime(timezone=True)),
        UniqueConstraint(
            "user_id", "week_start", "recommendation_type", name="adaptive_recommendations_user_id_week_start_type_key"
        ),
        Index("adaptive_recommendations_week_start_idx", "week_start"),
        Index("adaptive_recommendations_active_idx", "user_id", postgresql_where=text("is_active")),
    )

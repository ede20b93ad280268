"""The published tables: snapshots, recommendations, and the days, failures and restatements of the snapshots."""

from __future__ import annotations

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

DESCRIPTION = "description"
"""Key in the `info` of a table: what one of its rows is."""

VALUES = "values"
"""Key in the `info` of a column: its allowed values, if its type allows more."""


def performance_snapshots(metadata: MetaData) -> Table:
    """Define the table."""
    return Table(
        "performance_snapshots",
        metadata,
        Column(
            "user_id", BigInteger, primary_key=True, autoincrement=False, doc="The student, `users.id` of the platform."
        ),
        Column(
            "snapshot_date",
            Date,
            primary_key=True,
            doc="The day: a local date in the platform's time zone, that has ended.",
        ),
        Column(
            "pace_score",
            Double,
            nullable=False,
            doc="How fast and how regularly the student worked in the last 7 to 30 days; see docs/metrics.md.",
            info={VALUES: "0 to 100"},
        ),
        Column(
            "learning_pace",
            Text,
            nullable=False,
            doc="The label of the pace score: ACCELERATED from 80, FAST from 60, MEDIUM from 40, else SLOW.",
            info={VALUES: "ACCELERATED, FAST, MEDIUM, SLOW"},
        ),
        Column(
            "quiz_average",
            Double,
            doc="The weighted average of the last ten scored quiz attempts, in percent; null before the first one.",
            info={VALUES: "0 to 100"},
        ),
        Column(
            "lessons_completed_count",
            Integer,
            nullable=False,
            doc="Lessons completed on the day.",
            info={VALUES: "0 or more"},
        ),
        Column(
            "time_spent_minutes_today",
            BigInteger,
            nullable=False,
            doc="Minutes spent on the lessons started on the day.",
            info={VALUES: "0 or more"},
        ),
        Column(
            "quizzes_completed_count",
            Integer,
            nullable=False,
            doc="Quiz attempts completed on the day, graded or not.",
            info={VALUES: "0 or more"},
        ),
        Column(
            "exercises_submitted_count",
            Integer,
            nullable=False,
            doc="Exercises submitted on the day.",
            info={VALUES: "0 or more"},
        ),
        Column(
            "last_activity_date",
            Date,
            nullable=False,
            doc="The latest local date up to the day with any activity of the student.",
            info={VALUES: "not after snapshot_date"},
        ),
        Column(
            "computed_at",
            DateTime(timezone=True),
            nullable=False,
            doc="When this row was last written; a computation with the same figures does not touch it.",
        ),
        Index("performance_snapshots_snapshot_date_idx", "snapshot_date"),
        postgresql_partition_by="RANGE (snapshot_date)",  # by month: `store.months`
        info={DESCRIPTION: "One row per student and day: the student's figures at the end of that day."},
    )


def snapshot_failures(metadata: MetaData) -> Table:
    """Define the table."""
    return Table(
        "snapshot_failures",
        metadata,
        Column(
            "user_id", BigInteger, primary_key=True, autoincrement=False, doc="The student, `users.id` of the platform."
        ),
        Column("snapshot_date", Date, primary_key=True, doc="The day that could not be computed for the student."),
        Column(
            "reason",
            Text,
            nullable=False,
            doc="The kind of invalid row, or `unexpected_error`.",
            info={VALUES: "score_out_of_range, negative_time_spent, completed_before_started, unexpected_error"},
        ),
        Column("detail", Text, nullable=False, doc="The invalid row and its value, or the error message."),
        Column("computed_at", DateTime(timezone=True), nullable=False, doc="When the student's day was last computed."),
        Column("first_seen_at", DateTime(timezone=True), nullable=False, doc="When the failure was first seen."),
        Column("last_seen_at", DateTime(timezone=True), nullable=False, doc="When the failure was last seen."),
        Column(
            "attempts",
            Integer,
            nullable=False,
            doc="How often the computation of the student's day has failed.",
            info={VALUES: "1 or more"},
        ),
        Index("snapshot_failures_snapshot_date_idx", "snapshot_date"),
        info={DESCRIPTION: "One row per student and day that could not be computed, with the reason."},
    )


def snapshot_days(metadata: MetaData) -> Table:
    """Define the table."""
    return Table(
        "snapshot_days",
        metadata,
        Column("snapshot_date", Date, primary_key=True, doc="The day."),
        Column(
            "published",
            BigInteger,
            nullable=False,
            doc="Students published on the day.",
            info={VALUES: "0 or more"},
        ),
        Column(
            "failed",
            BigInteger,
            nullable=False,
            doc="Students whose day could not be computed.",
            info={VALUES: "0 or more"},
        ),
        Column(
            "computed_at", DateTime(timezone=True), nullable=False, doc="When the day was last computed completely."
        ),
        Column("run_id", Text, nullable=False, doc="The Dagster run, or the command, that computed it."),
        Column(
            "source_fingerprint",
            Text,
            doc="Digest of the platform's rows of the day at that time; null requests a new computation.",
        ),
        info={
            DESCRIPTION: "One row per computed day: how many students were published and failed, when and by which run."
        },
    )


def snapshot_restatements(metadata: MetaData) -> Table:
    """Define the table."""
    return Table(
        "snapshot_restatements",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True, doc="Number of the restatement."),
        Column("user_id", BigInteger, nullable=False, doc="The student, `users.id` of the platform."),
        Column("snapshot_date", Date, nullable=False, doc="The day whose figure changed."),
        Column(
            "column_name",
            Text,
            nullable=False,
            doc="The column in `performance_snapshots`; `*` for a row that is no longer due.",
        ),
        Column("old_value", Text, doc="The earlier value as text, or null. With `*` the whole row as JSON."),
        Column("new_value", Text, doc="The new value as text, or null."),
        Column("restated_at", DateTime(timezone=True), nullable=False, doc="When it changed."),
        Column("run_id", Text, nullable=False, doc="The run that changed it."),
        Column(
            "reason",
            Text,
            nullable=False,
            doc="Why that run computed the day, such as `nightly`, `late data` or `backfill`.",
        ),
        Index("snapshot_restatements_snapshot_date_user_id_idx", "snapshot_date", "user_id"),
        Index("snapshot_restatements_restated_at_idx", "restated_at"),
        info={DESCRIPTION: "One row per published figure that a later computation changed."},
    )


def adaptive_recommendations(metadata: MetaData) -> Table:
    """Define the table."""
    return Table(
        "adaptive_recommendations",
        metadata,
        Column(
            "id",
            BigInteger,
            Identity(always=True),
            primary_key=True,
            doc="Number of the recommendation; computing the week again keeps it.",
        ),
        Column("user_id", BigInteger, nullable=False, doc="The student, `users.id` of the platform."),
        Column(
            "week_start",
            Date,
            nullable=False,
            doc="The Monday of the week that the recommendation is based on.",
            info={VALUES: "a Monday"},
        ),
        Column(
            "recommendation_type",
            Text,
            nullable=False,
            doc="The rule that produced it.",
            info={
                VALUES: "TAKE_BREAK, RESUME_LEARNING, REVIEW_LESSON, START_LEARNING, PRACTICE_MORE, CONTINUE_LEARNING"
            },
        ),
        Column("title", Text, nullable=False, doc="The heading that the student reads."),
        Column("message", Text, nullable=False, doc="The text that the student reads."),
        Column(
            "priority",
            Integer,
            nullable=False,
            doc="Higher is more urgent; a student's five most urgent ones are published.",
            info={VALUES: "70 to 95"},
        ),
        Column(
            "metadata",
            JSONB,
            nullable=False,
            server_default=text("'{}'::jsonb"),
            doc="The facts that it is based on, such as `days_inactive` or `lesson_id`.",
        ),
        Column(
            "is_active",
            Boolean,
            nullable=False,
            server_default=false(),
            doc="Whether to show it: of the newest week, still applicable and not dismissed.",
        ),
        Column(
            "created_at",
            DateTime(timezone=True),
            nullable=False,
            server_default=func.now(),
            doc="When it was first published.",
        ),
        Column(
            "dismissed_at",
            DateTime(timezone=True),
            doc="When the student dismissed it, set by the platform; otherwise null.",
        ),
        UniqueConstraint(
            "user_id", "week_start", "recommendation_type", name="adaptive_recommendations_user_id_week_start_type_key"
        ),
        Index("adaptive_recommendations_week_start_idx", "week_start"),
        Index("adaptive_recommendations_active_idx", "user_id", postgresql_where=text("is_active")),
        info={DESCRIPTION: "One row per student, week and type of recommendation."},
    )

"""The tables that are published: snapshots and recommendations, the days and failures beside them, what was restated.

Put here: these tables, with their sentences. Do not put here: what a day comes to in all (`summaries`).
"""

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

from snapshot_pipeline.store.tables.explained import SENTENCE, VALUES


def performance_snapshots(metadata: MetaData) -> Table:
    """The table of this name."""
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
            doc="How fast and how steadily the student learned in the last 7 to 30 days; see docs/metrics.md.",
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
            doc="The weighted average of the last ten scored quiz attempts, in percent; null while there is none.",
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
            doc="The latest local date up to the day on which the student did anything.",
            info={VALUES: "not after snapshot_date"},
        ),
        Column(
            "computed_at",
            DateTime(timezone=True),
            nullable=False,
            doc="When this row was last written; a computation that changes nothing leaves it as it is.",
        ),
        Index("performance_snapshots_snapshot_date_idx", "snapshot_date"),
        postgresql_partition_by="RANGE (snapshot_date)",  # by month: `store.partitions`
        info={SENTENCE: "One row per student and day: how the student was doing at the end of that day."},
    )


def snapshot_failures(metadata: MetaData) -> Table:
    """The table of this name."""
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
            doc="Why: the kind of row that cannot be right.",
            info={VALUES: "score_out_of_range, negative_time_spent, completed_before_started, unexpected_error"},
        ),
        Column("detail", Text, nullable=False, doc="The row to blame and its value, or the message of the error."),
        Column("computed_at", DateTime(timezone=True), nullable=False, doc="When the student's day was last computed."),
        Column("first_seen_at", DateTime(timezone=True), nullable=False, doc="Since when the failure is open."),
        Column("last_seen_at", DateTime(timezone=True), nullable=False, doc="When the failure was last met."),
        Column(
            "attempts",
            Integer,
            nullable=False,
            doc="How often the student's day was computed in vain.",
            info={VALUES: "1 or more"},
        ),
        Index("snapshot_failures_snapshot_date_idx", "snapshot_date"),
        info={SENTENCE: "One row per student and day that could not be computed, with the reason."},
    )


def snapshot_days(metadata: MetaData) -> Table:
    """The table of this name."""
    return Table(
        "snapshot_days",
        metadata,
        Column("snapshot_date", Date, primary_key=True, doc="The day."),
        Column(
            "published",
            BigInteger,
            nullable=False,
            doc="Students that have a snapshot of the day.",
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
            "computed_at", DateTime(timezone=True), nullable=False, doc="When the day was last computed as a whole."
        ),
        Column("run_id", Text, nullable=False, doc="The Dagster run, or the command, that computed it."),
        Column(
            "source_fingerprint",
            Text,
            doc="What the platform's rows of the day looked like then; null makes the day be computed again.",
        ),
        info={
            SENTENCE: "One row per computed day: how many students were published and failed, when and by which run."
        },
    )


def snapshot_restatements(metadata: MetaData) -> Table:
    """The table of this name."""
    return Table(
        "snapshot_restatements",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True, doc="The number of the restatement."),
        Column("user_id", BigInteger, nullable=False, doc="The student, `users.id` of the platform."),
        Column("snapshot_date", Date, nullable=False, doc="The day whose figure became another one."),
        Column(
            "column_name",
            Text,
            nullable=False,
            doc="Which figure, by its column in `performance_snapshots`; `*` for a row that is not due any more.",
        ),
        Column(
            "old_value", Text, doc="What was published before, as text; null for none. With `*` the whole row as JSON."
        ),
        Column("new_value", Text, doc="What is published since, as text; null for none."),
        Column("restated_at", DateTime(timezone=True), nullable=False, doc="When."),
        Column("run_id", Text, nullable=False, doc="The run that restated it."),
        Column(
            "reason",
            Text,
            nullable=False,
            doc="Why that run computed the day: the night, rows that came late, a backfill, by hand.",
        ),
        Index("snapshot_restatements_snapshot_date_user_id_idx", "snapshot_date", "user_id"),
        Index("snapshot_restatements_restated_at_idx", "restated_at"),
        info={SENTENCE: "One row per published figure that a later computation changed."},
    )


def adaptive_recommendations(metadata: MetaData) -> Table:
    """The table of this name."""
    return Table(
        "adaptive_recommendations",
        metadata,
        Column(
            "id",
            BigInteger,
            Identity(always=True),
            primary_key=True,
            doc="The number of the recommendation; computing the week again keeps it.",
        ),
        Column("user_id", BigInteger, nullable=False, doc="The student, `users.id` of the platform."),
        Column(
            "week_start",
            Date,
            nullable=False,
            doc="The Monday of the week that the recommendation follows from.",
            info={VALUES: "a Monday"},
        ),
        Column(
            "recommendation_type",
            Text,
            nullable=False,
            doc="Which rule it comes from.",
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
            doc="How urgent it is; a student's five most urgent ones are published.",
            info={VALUES: "70 to 95"},
        ),
        Column(
            "metadata",
            JSONB,
            nullable=False,
            server_default=text("'{}'::jsonb"),
            doc="The facts behind it, such as `days_inactive` or `lesson_id`, as JSON.",
        ),
        Column(
            "is_active",
            Boolean,
            nullable=False,
            server_default=false(),
            doc="Whether it is to be shown: of the newest week, still holding and not dismissed.",
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
            doc="When the student dismissed it, set by the platform; null while not.",
        ),
        UniqueConstraint(
            "user_id", "week_start", "recommendation_type", name="adaptive_recommendations_user_id_week_start_type_key"
        ),
        Index("adaptive_recommendations_week_start_idx", "week_start"),
        Index("adaptive_recommendations_active_idx", "user_id", postgresql_where=text("is_active")),
        info={SENTENCE: "One row per student, week and type of recommendation."},
    )

"""Definitions of our tables, with a description of each table and column for the docs and the Dagster UI.

No table has a foreign key into the platform's tables: the pipeline must never block the application's deletes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB

DESCRIPTION = "description"
"""Key in the `info` of a table: what one of its rows is."""

VALUES = "values"
"""Key in the `info` of a column: its allowed values, if its type allows more."""

ENGAGEMENT_COLUMNS = (
    "engagement_score",
    "engagement_results",
    "engagement_presence",
    "engagement_timeliness",
    "engagement_recency",
)
"""Columns of `performance_snapshots` that rank a student within the cohort, so that they depend on other students."""

_INSTANT = DateTime(timezone=True)
_STUDENT = "The student, `users.id` of the platform."
_COUNT = "0 or more"
_SCORE = "0 to 100"
_RANK = "0 to 1"


@dataclass(frozen=True)
class StoreTables:
    """Our tables in one schema."""

    performance_snapshots: Table
    snapshot_failures: Table
    snapshot_days: Table
    data_issues: Table
    day_summary: Table
    cohort_summary: Table
    snapshot_restatements: Table
    adaptive_recommendations: Table
    recommendation_weeks: Table
    at_risk_students: Table
    at_risk_weeks: Table
    incidents: Table
    alert_messages: Table
    run_leases: Table
    late_changes: Table

    @property
    def metadata(self) -> MetaData:
        return self.performance_snapshots.metadata

    @classmethod
    @lru_cache  # the same objects for each batch, so that SQLAlchemy caches compiled statements
    def of(cls, schema: str) -> StoreTables:
        """The tables in a schema; does not access the database."""
        metadata = MetaData(schema=schema)
        return cls(
            performance_snapshots=_performance_snapshots(metadata),
            snapshot_failures=_snapshot_failures(metadata),
            snapshot_days=_snapshot_days(metadata),
            data_issues=_data_issues(metadata),
            day_summary=_day_summary(metadata),
            cohort_summary=_cohort_summary(metadata),
            snapshot_restatements=_snapshot_restatements(metadata),
            adaptive_recommendations=_adaptive_recommendations(metadata),
            recommendation_weeks=_recommendation_weeks(metadata),
            at_risk_students=_at_risk_students(metadata),
            at_risk_weeks=_at_risk_weeks(metadata),
            incidents=_incidents(metadata),
            alert_messages=_alert_messages(metadata),
            run_leases=_run_leases(metadata),
            late_changes=_late_changes(metadata),
        )


def _column(name: str, kind: Any, doc: str, values: str = "", **options: Any) -> Column[Any]:
    """A column that is not nullable unless `options` say so; `values` are the allowed values."""
    return Column(name, kind, doc=doc, info={VALUES: values} if values else {}, **{"nullable": False, **options})


def _optional(name: str, kind: Any, doc: str, values: str = "") -> Column[Any]:
    return _column(name, kind, doc, values, nullable=True)


def _key(name: str, kind: Any, doc: str) -> Column[Any]:
    return _column(name, kind, doc, primary_key=True, autoincrement=False)


def _number(doc: str) -> Column[Any]:
    return Column("id", BigInteger, Identity(always=True), primary_key=True, doc=doc)


def _performance_snapshots(metadata: MetaData) -> Table:
    return Table(
        "performance_snapshots",
        metadata,
        _key("user_id", BigInteger, _STUDENT),
        _key("snapshot_date", Date, "The day, a local date in the platform's time zone."),
        _column(
            "pace_score",
            Double,
            "How fast and how regularly the student worked in the last 7 to 30 days; see docs/metrics.md.",
            _SCORE,
        ),
        _column(
            "learning_pace",
            Text,
            "The label of the pace score: ACCELERATED from 80, FAST from 60, MEDIUM from 40, otherwise SLOW.",
            "ACCELERATED, FAST, MEDIUM, SLOW",
        ),
        _optional(
            "quiz_average",
            Double,
            "The weighted average of the last ten scored quiz attempts, in percent; null before the first one.",
            _SCORE,
        ),
        _column("lessons_completed_count", Integer, "Lessons completed on the day.", _COUNT),
        _column("time_spent_minutes_today", BigInteger, "Minutes spent on the lessons started on the day.", _COUNT),
        _column("quizzes_completed_count", Integer, "Quiz attempts completed on the day, graded or not.", _COUNT),
        _column("exercises_submitted_count", Integer, "Exercises submitted on the day.", _COUNT),
        _column(
            "last_activity_date",
            Date,
            "The last local date, up to the day, with any activity of the student.",
            "not after snapshot_date",
        ),
        _column("days_since_activity", Integer, "Days since that date; 0 is active on the day.", _COUNT),
        _optional(
            "engagement_score",
            Double,
            "How results, presence, timeliness and recency rank among the cohort's active students; null without a "
            "cohort, with fewer than 10 students in it, or while the day has been computed from late data only.",
            _SCORE,
        ),
        _optional("engagement_results", REAL, "The rank of the quiz results among the peers; null: none.", _RANK),
        _optional("engagement_presence", REAL, "The rank of the share of active days; null: none.", _RANK),
        _optional("engagement_timeliness", REAL, "The rank of the time of first quiz attempts; null: none.", _RANK),
        _optional("engagement_recency", REAL, "The rank of the days since the last activity; null: none.", _RANK),
        _column(
            "computed_at",
            _INSTANT,
            "When this row was last written; recomputing the same figures leaves it unchanged.",
        ),
        Index("performance_snapshots_snapshot_date_idx", "snapshot_date"),
        postgresql_partition_by="RANGE (snapshot_date)",  # by month: `store.months`
        info={DESCRIPTION: "One row per student and day: the student's figures at the end of that day."},
    )


def _snapshot_failures(metadata: MetaData) -> Table:
    return Table(
        "snapshot_failures",
        metadata,
        _key("user_id", BigInteger, _STUDENT),
        _key("snapshot_date", Date, "The day that could not be computed for the student."),
        _column(
            "reason",
            Text,
            "Why: the computation raised an error.",
            "unexpected_error",
        ),
        _column("detail", Text, "The error message."),
        _column("computed_at", _INSTANT, "When the student's day was last computed."),
        _column("first_seen_at", _INSTANT, "When the failure was first seen."),
        _column("last_seen_at", _INSTANT, "When the failure was last seen."),
        _column("attempts", Integer, "How often the computation of the student's day has failed.", "1 or more"),
        Index("snapshot_failures_snapshot_date_idx", "snapshot_date"),
        info={DESCRIPTION: "One row per student and day that could not be computed, with the reason."},
    )


def _snapshot_days(metadata: MetaData) -> Table:
    return Table(
        "snapshot_days",
        metadata,
        _key("snapshot_date", Date, "The day."),
        _column("published", BigInteger, "Students published on the day.", _COUNT),
        _column("failed", BigInteger, "Students whose day could not be computed.", _COUNT),
        _column(
            "students_with_issues",
            BigInteger,
            "Students due on the day who have an invalid row of the day, listed in `data_issues`.",
            _COUNT,
        ),
        _column("computed_at", _INSTANT, "When the day was last computed completely."),
        _column("run_id", Text, "The Dagster run, or the command, that computed it."),
        _column("run_number", BigInteger, "The number of that run's lease: a run that began later has a higher one."),
        _column(
            "computed_with",
            JSONB,
            "The version of the formula and the settings that it was computed with: `formula`, `timezone`, "
            "`naive_timezone`, `score_maximum`.",
        ),
        _optional(
            "source_fingerprint",
            Text,
            "Digest of the platform's rows of the day at that time; null makes the pipeline recompute the day.",
        ),
        _optional(
            "source_digests",
            LargeBinary,
            "The same for each block of students, compressed; null makes the pipeline recompute all students.",
        ),
        info={
            DESCRIPTION: "One row per computed day: how many students were published and failed, when and by which run."
        },
    )


def _data_issues(metadata: MetaData) -> Table:
    return Table(
        "data_issues",
        metadata,
        _key("source_table", Text, "The platform's table."),
        _key("source_key", Text, "The row: its id; of `user_lesson_progress` the ids of the user and of the lesson."),
        _key("issue", Text, "What is invalid; see docs/metrics.md."),
        _column("user_id", BigInteger, _STUDENT),
        _column("day", Date, "The local day of the row: of a lesson's start, of an attempt's completion."),
        _column("detail", Text, "The column and its value."),
        _column("first_seen_at", _INSTANT, "When the row was first seen."),
        _column("last_seen_at", _INSTANT, "When the row was last seen."),
        Index("data_issues_day_idx", "day"),
        Index("data_issues_user_id_idx", "user_id"),
        info={
            DESCRIPTION: "One row per invalid row of the platform and kind; the row was corrected or ignored, and the "
            "student is published."
        },
    )


def _day_summary(metadata: MetaData) -> Table:
    return Table(
        "day_summary",
        metadata,
        _key("snapshot_date", Date, "The day."),
        *_summary_columns(),
        info={DESCRIPTION: "One row per summarized day, over all its students."},
    )


def _cohort_summary(metadata: MetaData) -> Table:
    return Table(
        "cohort_summary",
        metadata,
        _key("snapshot_date", Date, "The day."),
        _key("specialization", Text, "The specialization of the students; empty for those without one."),
        _key("level", Text, "The level of the students; empty for those without one."),
        *_summary_columns(),
        info={DESCRIPTION: "One row per summarized day, specialization and level."},
    )


def _summary_columns() -> list[Column[Any]]:
    """The columns that both summaries have."""

    def count(name: str, doc: str) -> Column[Any]:
        return _column(name, BigInteger, doc, _COUNT)

    def score(name: str, doc: str) -> Column[Any]:
        return _optional(name, Double, doc, _SCORE)

    return [
        count("students", "Students who have a snapshot of the day."),
        count("failed", "Students whose day could not be computed."),
        count("active_students", "Students active on the day."),
        score("pace_mean", "The mean pace score; null without students."),
        score("pace_p25", "A quarter of the students have this pace score or less; null without students."),
        score("pace_median", "Half of the students have this pace score or less; null without students."),
        score("pace_p75", "Three quarters of the students have this pace score or less; null without students."),
        count("slow_students", "Students whose label is SLOW."),
        count("medium_students", "Students whose label is MEDIUM."),
        count("fast_students", "Students whose label is FAST."),
        count("accelerated_students", "Students whose label is ACCELERATED."),
        score("quiz_average_mean", "The mean quiz average of the students who have one, or null."),
        count("minutes_spent", "Minutes spent on the lessons started on the day."),
        count("lessons_completed", "Lessons completed on the day."),
        count("inactive_7_days", "Students without activity for 7 days or more."),
        count("inactive_14_days", "Students without activity for 14 days or more."),
        _column("computed_at", _INSTANT, "When the row was last written."),
        _column("run_id", Text, "The run that wrote it."),
    ]


def _snapshot_restatements(metadata: MetaData) -> Table:
    return Table(
        "snapshot_restatements",
        metadata,
        _number("Number of the restatement."),
        _column("user_id", BigInteger, _STUDENT),
        _column("snapshot_date", Date, "The day whose figure changed."),
        _column(
            "column_name", Text, "The column in `performance_snapshots`; `*` for a deleted row, which is no longer due."
        ),
        _optional("old_value", Text, "The earlier value as text, or null. With `*` the whole row as JSON."),
        _optional("new_value", Text, "The new value as text, or null."),
        _column("restated_at", _INSTANT, "When it changed."),
        _column("run_id", Text, "The run that changed it."),
        _column("reason", Text, "Why that run computed the day, such as `nightly`, `late data` or `backfill`."),
        Index("snapshot_restatements_snapshot_date_user_id_idx", "snapshot_date", "user_id"),
        Index("snapshot_restatements_restated_at_idx", "restated_at"),
        info={DESCRIPTION: "One row per published figure that a later computation changed."},
    )


def _adaptive_recommendations(metadata: MetaData) -> Table:
    return Table(
        "adaptive_recommendations",
        metadata,
        _number("Id of the recommendation; recomputing the week keeps it."),
        _column("user_id", BigInteger, _STUDENT),
        _column("week_start", Date, "The Monday of the week that the recommendation is based on.", "a Monday"),
        _column(
            "recommendation_type",
            Text,
            "The rule that produced it.",
            "TAKE_BREAK, RESUME_LEARNING, REVIEW_LESSON, START_LEARNING, PRACTICE_MORE, CONTINUE_LEARNING",
        ),
        _column("title", Text, "The heading that the student reads."),
        _column("message", Text, "The text that the student reads."),
        _column(
            "priority",
            Integer,
            "A higher number is more urgent; a student's three most urgent recommendations are published.",
            "70 to 95",
        ),
        _column(
            "metadata",
            JSONB,
            "The facts that it is based on, such as `days_inactive` or `lesson_id`.",
            server_default=text("'{}'::jsonb"),
        ),
        _column(
            "is_active",
            Boolean,
            "Whether to show it: true in the newest week, while it applies and is not dismissed. A student whose "
            "computation failed keeps an earlier week's.",
            server_default=false(),
        ),
        _column(
            "applies",
            Boolean,
            "Whether the last computation of its week still produces it; only such a recommendation can be active.",
            server_default=true(),
        ),
        _column("created_at", _INSTANT, "When it was first published.", server_default=func.now()),
        _optional("dismissed_at", _INSTANT, "When the student dismissed it, set by the platform; otherwise null."),
        UniqueConstraint(
            "user_id", "week_start", "recommendation_type", name="adaptive_recommendations_user_id_week_start_type_key"
        ),
        Index("adaptive_recommendations_week_start_idx", "week_start"),
        Index("adaptive_recommendations_active_idx", "user_id", postgresql_where=text("is_active")),
        info={DESCRIPTION: "One row per student, week and type of recommendation."},
    )


def _recommendation_weeks(metadata: MetaData) -> Table:
    return Table(
        "recommendation_weeks",
        metadata,
        _key("week_start", Date, "The Monday of the week."),
        _column("recipients", BigInteger, "Active students.", _COUNT),
        _column("failed", BigInteger, "Students whose recommendations could not be computed.", _COUNT),
        _column("computed_at", _INSTANT, "When the week was last computed completely."),
        _column("run_id", Text, "The Dagster run, or the command, that computed it."),
        info={DESCRIPTION: "One row per week whose recommendations were computed, even if no student has one."},
    )


def _at_risk_students(metadata: MetaData) -> Table:
    return Table(
        "at_risk_students",
        metadata,
        _key("user_id", BigInteger, _STUDENT),
        _key("week_start", Date, "The Monday of the week; all figures are those of its Sunday."),
        _column("state", Text, "Why the student is in this table.", "listed, dormant, not_started"),
        _optional("score", Double, "The engagement score of the Sunday as published, or null.", _SCORE),
        _optional("results", REAL, "The rank of the quiz results among the peers; null: none.", _RANK),
        _optional("presence", REAL, "The rank of the share of active days; null: none.", _RANK),
        _optional("timeliness", REAL, "The rank of the time of first quiz attempts; null: none.", _RANK),
        _optional("recency", REAL, "The rank of the days since the last activity; null: none.", _RANK),
        _column(
            "reasons",
            JSONB,
            "Up to three reasons, the most important first; each has `code`, `text` and `numbers`, the values in the "
            "text.",
        ),
        _optional(
            "listed_since",
            Date,
            "The Monday of the first of the consecutive weeks, up to this one, with the same state; null for "
            "`not_started`.",
            "a Monday",
        ),
        _optional("specialization", Text, "The student's specialization when the week was computed, or null."),
        _optional("level", Text, "The student's level at that time, or null."),
        _optional(
            "peers",
            Integer,
            "How many students the student was compared with; null for `not_started` and without a cohort.",
            _COUNT,
        ),
        _column("computed_at", _INSTANT, "When this row was last written; computing the same again leaves it."),
        Index("at_risk_students_week_start_idx", "week_start"),
        info={DESCRIPTION: "One row per week and student who needs a person, with the reasons."},
    )


def _at_risk_weeks(metadata: MetaData) -> Table:
    return Table(
        "at_risk_weeks",
        metadata,
        _key("week_start", Date, "The Monday of the week."),
        _column("students", BigInteger, "Active students.", _COUNT),
        _column("with_score", BigInteger, "Active students with an engagement score on Sunday.", _COUNT),
        _column("computed_at", _INSTANT, "When the week was last computed."),
        _column("run_id", Text, "The Dagster run, or the command, that computed it."),
        info={DESCRIPTION: "One row per week for which the students at risk were computed, even if there are none."},
    )


def _incidents(metadata: MetaData) -> Table:
    return Table(
        "incidents",
        metadata,
        _number("Number of the incident."),
        _column("kind", Text, "Its kind, such as `failed_check` or `missing_day`."),
        _column(
            "subject",
            Text,
            "What it is about, such as a check and a cause; at most one incident per kind and subject is open.",
        ),
        _column("title", Text, "One line for messages."),
        _column("detail", Text, "Details for messages, and what to do."),
        _column("command", Text, "The command to run, or an empty text.", server_default=text("''")),
        _column(
            "partitions",
            JSONB,
            "By day or week (empty without partitions): what a failing check found, the id of the failed run, or when "
            "it was due.",
            server_default=text("'{}'"),
        ),
        _optional("run_id", Text, "The Dagster run in which it happened, or null."),
        _column("opened_at", _INSTANT, "When it was first seen."),
        _column("notified_at", _INSTANT, "When a message about it was last queued."),
        _optional("closed_at", _INSTANT, "When it ended; null while it is open."),
        _optional(
            "last_event_at",
            _INSTANT,
            "Time of the last event taken into account; the same event has no effect a second time.",
        ),
        Index("incidents_open_key", "kind", "subject", unique=True, postgresql_where=text("closed_at IS NULL")),
        Index("incidents_kind_subject_idx", "kind", "subject", "opened_at"),
        info={DESCRIPTION: "One row per incident: a problem that is reported when it begins and when it is over."},
    )


def _alert_messages(metadata: MetaData) -> Table:
    return Table(
        "alert_messages",
        metadata,
        _number("Number of the message."),
        _column("channel", Text, "The id of the channel; never its URL."),
        _column("title", Text, "The title."),
        _column("body", Text, "The text."),
        _column("severity", Text, "The severity that the channel shows.", "failure, warning, success, info"),
        _column("created_at", _INSTANT, "When it was queued."),
        _optional("subject", Text, "What is sent once per channel, such as a weekly report; null for incidents."),
        _optional("attachment_name", Text, "The file name of the attachment, or null."),
        _optional("attachment", LargeBinary, "The attachment until the channel has accepted the message, or null."),
        _optional("expires_at", _INSTANT, "When it is given up if it is still unsent; null for never."),
        _column("attempts", Integer, "How often sending it was tried.", _COUNT, server_default=text("0")),
        _column("next_attempt_at", _INSTANT, "Earliest time of the next attempt."),
        _optional("sent_at", _INSTANT, "When the channel accepted it; null while it is unsent."),
        _optional("last_error", Text, "Why the last attempt failed, or null."),
        Index("alert_messages_unsent_idx", "channel", "id", postgresql_where=text("sent_at IS NULL")),
        Index("alert_messages_subject_key", "channel", "subject", unique=True),
        info={DESCRIPTION: "One row per message and channel: the outbox of the incidents and of the weekly report."},
    )


def _run_leases(metadata: MetaData) -> Table:
    return Table(
        "run_leases",
        metadata,
        _key("token", Text, "Secret that identifies the run when it publishes."),
        _column("space", Text, "The table that it writes."),
        _column("first", BigInteger, "The first leased number, such as the ordinal of a day."),
        _column("last", BigInteger, "The last leased number, inclusive."),
        _column("owner", Text, "The run, named in messages to waiting runs."),
        _column("taken_at", _INSTANT, "When it was acquired.", server_default=func.now()),
        _column("number", BigInteger, "Counts the runs, in the order in which they begin.", server_default=Identity()),
        info={DESCRIPTION: "One row per run that may write days or recommendations."},
    )


def _late_changes(metadata: MetaData) -> Table:
    return Table(
        "late_changes",
        metadata,
        _number("Number of the change."),
        _column("first_day", Date, "The first day after those that were computed with the change."),
        _column("run_number", BigInteger, "Runs up to this number may have read the rows before the change."),
        _optional("blocks", LargeBinary, "The blocks of students concerned, one bit each; null for all."),
        info={
            DESCRIPTION: "One row per range of days whose rows of the platform had changed when it was computed, while "
            "another run was in progress: that run leaves its later days marked as changed."
        },
    )

"""The tables of operations: incidents, their messages, and the leases of runs."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    func,
    text,
)

from snapshot_pipeline.store.tables.published import DESCRIPTION, VALUES


def incidents(metadata: MetaData) -> Table:
    """Define the table."""
    return Table(
        "incidents",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True, doc="Number of the incident."),
        Column("kind", Text, nullable=False, doc="Its kind, such as `failed_check` or `missing_day`."),
        Column(
            "subject",
            Text,
            nullable=False,
            doc="What it is about, such as a day and a check; at most one per kind and subject is open.",
        ),
        Column("title", Text, nullable=False, doc="One line for messages."),
        Column("detail", Text, nullable=False, doc="Details for messages, and what to do."),
        Column("run_id", Text, doc="The Dagster run in which it happened, or null."),
        Column("opened_at", DateTime(timezone=True), nullable=False, doc="When it was first seen."),
        Column(
            "notified_at",
            DateTime(timezone=True),
            nullable=False,
            doc="When a message about it was last queued.",
        ),
        Column("closed_at", DateTime(timezone=True), doc="When it ended; null while it is open."),
        Column(
            "last_event_at",
            DateTime(timezone=True),
            doc="Time of the last event taken into account; an event that is seen again changes nothing.",
        ),
        Index("incidents_open_key", "kind", "subject", unique=True, postgresql_where=text("closed_at IS NULL")),
        Index("incidents_kind_subject_idx", "kind", "subject", "opened_at"),
        info={DESCRIPTION: "One row per incident: a problem that is reported when it begins and when it is over."},
    )


def alert_messages(metadata: MetaData) -> Table:
    """Define the table."""
    return Table(
        "alert_messages",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True, doc="Number of the message."),
        Column("channel", Text, nullable=False, doc="The id of the channel; never its URL."),
        Column("title", Text, nullable=False, doc="The title."),
        Column("body", Text, nullable=False, doc="The text."),
        Column(
            "severity",
            Text,
            nullable=False,
            doc="How the channel shows it.",
            info={VALUES: "failure, warning, success, info"},
        ),
        Column("created_at", DateTime(timezone=True), nullable=False, doc="When it was queued."),
        Column(
            "attempts",
            Integer,
            nullable=False,
            server_default=text("0"),
            doc="How often sending it was tried.",
            info={VALUES: "0 or more"},
        ),
        Column("next_attempt_at", DateTime(timezone=True), nullable=False, doc="Earliest time of the next attempt."),
        Column("sent_at", DateTime(timezone=True), doc="When the channel accepted it; null while it is unsent."),
        Column("last_error", Text, doc="Why the last attempt failed, or null."),
        Index("alert_messages_unsent_idx", "channel", "id", postgresql_where=text("sent_at IS NULL")),
        info={DESCRIPTION: "One row per message and channel: the outbox of the incidents."},
    )


def run_leases(metadata: MetaData) -> Table:
    """Define the table."""
    return Table(
        "run_leases",
        metadata,
        Column("token", Text, primary_key=True, doc="Secret that identifies the run when it publishes."),
        Column("space", Text, nullable=False, doc="The table that it writes."),
        Column("first", BigInteger, nullable=False, doc="The first leased number, such as the ordinal of a day."),
        Column("last", BigInteger, nullable=False, doc="The last leased number, included."),
        Column("owner", Text, nullable=False, doc="The run, for messages to those that wait."),
        Column(
            "taken_at", DateTime(timezone=True), nullable=False, server_default=func.now(), doc="When it was acquired."
        ),
        info={DESCRIPTION: "One row per run that may write days or recommendations."},
    )

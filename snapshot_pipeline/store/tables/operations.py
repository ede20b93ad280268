"""The tables of what goes wrong and of who is told: incidents, messages, and what runs hold.

Put here: these tables, with their sentences. Do not put here: what is published (`published`, `summaries`).
"""

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

from snapshot_pipeline.store.tables.explained import SENTENCE, VALUES


def incidents(metadata: MetaData) -> Table:
    """The table of this name."""
    return Table(
        "incidents",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True, doc="The number of the incident."),
        Column(
            "kind", Text, nullable=False, doc="What kind of thing went wrong, such as a failed check or a missing day."
        ),
        Column(
            "subject",
            Text,
            nullable=False,
            doc="What it is about, such as a day and a check; of each kind and subject at most one is open.",
        ),
        Column("title", Text, nullable=False, doc="What somebody is told, in a few words."),
        Column("detail", Text, nullable=False, doc="What somebody is told besides, and what to do."),
        Column("run_id", Text, doc="The Dagster run in which it was seen; null where there is none."),
        Column("opened_at", DateTime(timezone=True), nullable=False, doc="When it began."),
        Column(
            "told_at",
            DateTime(timezone=True),
            nullable=False,
            doc="When a message about it was last put into the outbox.",
        ),
        Column("closed_at", DateTime(timezone=True), doc="When it was over; null while it is open."),
        Column(
            "last_event_at",
            DateTime(timezone=True),
            doc="When the last event happened that was taken into account: one that is seen again changes nothing.",
        ),
        Index("incidents_open_key", "kind", "subject", unique=True, postgresql_where=text("closed_at IS NULL")),
        Index("incidents_kind_subject_idx", "kind", "subject", "opened_at"),
        info={SENTENCE: "One row per thing that went wrong and that somebody is told of."},
    )


def alert_messages(metadata: MetaData) -> Table:
    """The table of this name."""
    return Table(
        "alert_messages",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True, doc="The number of the message."),
        Column("channel", Text, nullable=False, doc="The id of the channel that it is for; never its address."),
        Column("title", Text, nullable=False, doc="Its first line."),
        Column("body", Text, nullable=False, doc="Its text."),
        Column(
            "severity",
            Text,
            nullable=False,
            doc="How it is to be shown.",
            info={VALUES: "failure, warning, success, info"},
        ),
        Column("created_at", DateTime(timezone=True), nullable=False, doc="When it was written."),
        Column(
            "attempts",
            Integer,
            nullable=False,
            server_default=text("0"),
            doc="How often it was tried to be sent.",
            info={VALUES: "0 or more"},
        ),
        Column("next_attempt_at", DateTime(timezone=True), nullable=False, doc="Before when it is not tried again."),
        Column("sent_at", DateTime(timezone=True), doc="When the channel took it; null while it waits."),
        Column("last_error", Text, doc="Why the last try failed; null where none has."),
        Index("alert_messages_unsent_idx", "channel", "id", postgresql_where=text("sent_at IS NULL")),
        info={SENTENCE: "One row per message and channel: the outbox of the incidents."},
    )


def run_leases(metadata: MetaData) -> Table:
    """The table of this name."""
    return Table(
        "run_leases",
        metadata,
        Column("token", Text, primary_key=True, doc="What the run shows to be let through when it publishes."),
        Column("space", Text, nullable=False, doc="What it writes: days of snapshots, or recommendations."),
        Column("first", BigInteger, nullable=False, doc="The first number of what it holds, such as a day."),
        Column("last", BigInteger, nullable=False, doc="The last number of what it holds, included."),
        Column("owner", Text, nullable=False, doc="Who it is, for whoever has to wait."),
        Column("taken_at", DateTime(timezone=True), nullable=False, server_default=func.now(), doc="Since when."),
        info={SENTENCE: "One row per run that is writing days or recommendations: which, and who it is."},
    )

"""The weekly report as a message: queued once for each recipient, with the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from snapshot_pipeline.alerts.messages import Message
from snapshot_pipeline.store.outbox import Attachment, queue_message
from snapshot_pipeline.store.tables import StoreTables

GIVE_UP_AFTER = timedelta(days=7)
"""The next report is due then."""


def report_message(title: str, headline: str, tiles: Sequence[str], url: str | None) -> Message:
    """Return the message: the headline, one line per tile, and where the page is.

    Args:
        url: The address of the page; None if no web server serves it to its readers.
    """
    link = [f"The page: {url}"] if url else []
    attached = "The page with cohorts, reasons and recommendations is attached if this channel takes attachments."
    return Message(title, "\n".join([headline, "", *(f"- {tile}" for tile in tiles), "", *link, attached]), "info")


def queue_report(
    connection: Connection,
    tables: StoreTables,
    recipients: Sequence[str],
    week_start: date,
    message: Message,
    page: Attachment,
    now: datetime,
) -> int:
    """Queue the report of a week for the ids of its recipients; return for how many, without those who have it."""
    return queue_message(
        connection,
        tables,
        recipients,
        **asdict(message),
        now=now,
        subject=f"weekly report {week_start}",
        attachment=page,
        expires_at=now + GIVE_UP_AFTER,
    )

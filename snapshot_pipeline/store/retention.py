"""Delete expired rows: closed incidents, sent messages, restatements and, if configured, snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import ColumnElement, Engine, Table, and_, delete, func, or_, select, tuple_

from snapshot_pipeline.store.months import drop_partitions_before
from snapshot_pipeline.store.tables import StoreTables

ROWS_PER_TRANSACTION = 10_000
"""Rows that one transaction deletes, so that it takes a fraction of a second."""


@dataclass(frozen=True)
class RetentionLimits:
    """Rows older than these limits are deleted.

    Attributes:
        incidents: For incidents by the time they were closed, and messages by the time they were sent.
        snapshots: For snapshots, failures, days, issues, summaries, recommendations, students at risk and weeks; None
            keeps all. Summaries are included, because a cohort may be a single student.
    """

    incidents: datetime
    restatements: datetime
    snapshots: date | None


def delete_expired_rows(engine: Engine, tables: StoreTables, limits: RetentionLimits) -> dict[str, int]:
    """Delete expired rows in small transactions; after an interruption the next call continues.

    Months of snapshots that have expired completely are dropped, without counting their rows; rows are deleted from the
    month that the limit cuts, and from months that could not be dropped. Open incidents are never deleted, and
    unsent messages only if they have expired.

    Returns:
        The number of deleted rows by table, and of dropped months as `performance_snapshots_partitions`.
    """
    incidents, messages, restatements = tables.incidents, tables.alert_messages, tables.snapshot_restatements
    expired = [
        (messages, or_(messages.c.sent_at < limits.incidents, _is_given_up(messages))),
        (incidents, incidents.c.closed_at < limits.incidents),
        (restatements, restatements.c.restated_at < limits.restatements),
    ]
    dropped: dict[str, int] = {}
    if limits.snapshots is not None:
        dropped["performance_snapshots_partitions"] = len(drop_partitions_before(engine, tables, limits.snapshots))
        expired += [
            (table, table.c.snapshot_date < limits.snapshots)
            for table in (
                tables.performance_snapshots,
                tables.snapshot_failures,
                tables.snapshot_days,
                tables.day_summary,
                tables.cohort_summary,
            )
        ]
        expired.append((tables.data_issues, tables.data_issues.c.day < limits.snapshots))
        expired += [
            (table, table.c.week_start < limits.snapshots)
            for table in (
                tables.adaptive_recommendations,
                tables.recommendation_weeks,
                tables.at_risk_students,
                tables.at_risk_weeks,
            )
        ]
    return dropped | {table.name: _delete(engine, table, condition) for table, condition in expired}


def _is_given_up(messages: Table) -> ColumnElement[bool]:
    return and_(messages.c.sent_at.is_(None), messages.c.expires_at <= func.now())


def _delete(engine: Engine, table: Table, condition: ColumnElement[bool]) -> int:
    key = tuple(table.primary_key.columns)
    batch = select(*key).where(condition).limit(ROWS_PER_TRANSACTION)
    deleted = 0
    while True:
        with engine.begin() as connection:
            # The condition is repeated so that PostgreSQL prunes partitions without expired rows.
            count = connection.execute(delete(table).where(condition, tuple_(*key).in_(batch))).rowcount
        deleted += count
        if count < ROWS_PER_TRANSACTION:
            return deleted

"""What we keep for a while only: incidents that are over, sent messages, restatements, and if so wished snapshots.

Put here: which rows have had their time, and how they are removed without holding anybody up.
Do not put here: for how long they are kept (`settings`), how a month is dropped (`store.partitions`), or Dagster's
records (`orchestration.log_retention`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import ColumnElement, Engine, Table, delete, select, tuple_

from snapshot_pipeline.store.months import drop_partitions_before
from snapshot_pipeline.store.tables import StoreTables

ROWS_AT_A_TIME = 10_000
"""Rows that one transaction removes: a fraction of a second, after which others have their turn."""


@dataclass(frozen=True)
class Keep:
    """From when on things are kept; what is older goes.

    Attributes:
        incidents: Incidents that were closed, and messages that were sent, since this instant.
        restatements: Restatements since this instant.
        snapshots: Snapshots, failures, days, summaries and recommendations from this day on; None: all. A cohort may
            be a single student, so its figures stay no longer than the student's.
    """

    incidents: datetime
    restatements: datetime
    snapshots: date | None


def remove_old_rows(engine: Engine, tables: StoreTables, keep: Keep) -> dict[str, int]:
    """Remove what has had its time, in small transactions; after an interruption the next call goes on.

    Months of snapshots that are entirely too old are dropped as a whole, their rows uncounted; rows are removed of the
    month that the limit cuts, and of what could not be dropped. An open incident and a message that was not sent yet
    are never removed, however old.

    Args:
        engine: The store's database.
        tables: Our tables.
        keep: From when on things are kept.

    Returns:
        The rows removed, by table, and the `performance_snapshots_partitions` dropped; all that was looked at is there.
    """
    incidents, messages, restatements = tables.incidents, tables.alert_messages, tables.snapshot_restatements
    old = [
        (messages, messages.c.sent_at < keep.incidents),
        (incidents, incidents.c.closed_at < keep.incidents),
        (restatements, restatements.c.restated_at < keep.restatements),
    ]
    dropped: dict[str, int] = {}
    if keep.snapshots is not None:
        dropped["performance_snapshots_partitions"] = len(drop_partitions_before(engine, tables, keep.snapshots))
        recommendations = tables.adaptive_recommendations
        old += [
            (table, table.c.snapshot_date < keep.snapshots)
            for table in (
                tables.performance_snapshots,
                tables.snapshot_failures,
                tables.snapshot_days,
                tables.day_summary,
                tables.cohort_summary,
            )
        ]
        old.append((recommendations, recommendations.c.week_start < keep.snapshots))
    return dropped | {table.name: _remove(engine, table, condition) for table, condition in old}


def _remove(engine: Engine, table: Table, condition: ColumnElement[bool]) -> int:
    key = tuple(table.primary_key.columns)
    some = select(*key).where(condition).limit(ROWS_AT_A_TIME)
    removed = 0
    while True:
        with engine.begin() as connection:
            # The condition once more, so that no partition is looked at that has nothing to remove.
            count = connection.execute(delete(table).where(condition, tuple_(*key).in_(some))).rowcount
        removed += count
        if count < ROWS_AT_A_TIME:
            return removed

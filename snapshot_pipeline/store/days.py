"""The table `snapshot_days`: which days were computed, with their counts and the fingerprints of their source rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import numpy as np
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    cast,
    delete,
    func,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert

from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.store.snapshots import Publication
from snapshot_pipeline.store.source_states import (
    Blocks,
    SourceState,
    changed_blocks,
    changes_by_day,
    join_blocks,
    lock_states,
    mark_later_days,
    missed_changes,
    read_states,
    remaining_blocks,
)
from snapshot_pipeline.store.tables import StoreTables


@dataclass(frozen=True)
class DayCount:
    """The numbers of students published and failed on a computed day, and of those with an invalid row of the day."""

    day: date
    published: int
    failed: int
    with_issues: int = 0

    @property
    def students(self) -> int:
        """Number of students that were due."""
        return self.published + self.failed

    @property
    def success_rate(self) -> float | None:
        """Share of the students published; None without students."""
        return self.published / self.students if self.students else None

    @property
    def issue_rate(self) -> float | None:
        """Share of the students with an invalid row of the day; None without students."""
        return self.with_issues / self.students if self.students else None


@dataclass(frozen=True)
class RecordedRun:
    """The run that computed some days.

    Attributes:
        computed_at: Time of the computation, with its zone.
        run_id: The Dagster run, or the command.
        number: The number of its lease.
        computed_with: The formula's version and the settings, see `pipeline.outdated`.
        newest: The newest number of any run after this one had begun to read: whoever has a higher one reads the same
            rows or later ones.
    """

    computed_at: datetime
    run_id: str
    computed_with: Mapping[str, Any]
    number: int
    newest: int


def begun_run(
    connection: Connection,
    tables: StoreTables,
    token: str,
    computed_at: datetime,
    run_id: str,
    computed_with: Mapping[str, Any],
) -> RecordedRun:
    """The run that holds the lease `token`; call it when the run has begun to read, and not before."""
    leases, days = tables.run_leases, tables.snapshot_days
    number = connection.execute(select(leases.c.number).where(leases.c.token == token)).scalar_one()
    numbers = union_all(select(leases.c.number), select(days.c.run_number)).subquery()
    newest = connection.execute(select(func.max(numbers.c.number))).scalar_one()
    return RecordedRun(computed_at, run_id, computed_with, number, newest)


def record_days(
    connection: Connection,
    tables: StoreTables,
    run: RecordedRun,
    counts: Sequence[DayCount],
    states: Mapping[date, SourceState],
) -> None:
    """Record that consecutive days were computed completely, after all their batches.

    If source rows of one of the days have changed since its last computation, later days may have been computed
    without the change. The first of these is marked as changed, so that the scan for late data requests it and all
    following days. A run in progress, whose days may not have a row yet, finds the change in `late_changes`: only a run
    that has begun after the change was read records its days as unchanged.

    Args:
        counts: One per day, ascending.
        states: The source rows of each day as they were before they were read.
    """
    days = tables.snapshot_days
    first, last = counts[0].day, counts[-1].day
    lock_states(connection, tables)
    changed = changes_by_day(connection, tables, states)
    missed = missed_changes(connection, tables, run.number, first, last)
    recorded = {**states, **{day: states[day].without(blocks) for day, blocks in missed.items()}}
    rows = [
        {
            "snapshot_date": count.day,
            "published": count.published,
            "failed": count.failed,
            "students_with_issues": count.with_issues,
            "computed_at": run.computed_at,
            "run_id": run.run_id,
            "run_number": run.number,
            "computed_with": dict(run.computed_with),
            **recorded[count.day].as_row(),
        }
        for count in counts
    ]
    statement = insert(days)
    updated = {name: statement.excluded[name] for name in rows[0] if name != "snapshot_date"}
    connection.execute(statement.on_conflict_do_update(index_elements=["snapshot_date"], set_=updated), rows)
    if changed:
        mark_later_days(connection, tables, run.number, run.newest, last, join_blocks(list(changed.values())))


def record_changes(
    connection: Connection,
    tables: StoreTables,
    run: RecordedRun,
    last: date,
    states: Mapping[date, SourceState],
    changed: Mapping[date, Blocks | None],
) -> None:
    """Record that the students whose rows had changed were computed again, up to the day `last`.

    Args:
        states: The source rows of the changed days as they were before they were read.
        changed: The blocks of students whose rows of the day had changed; None for all. They were computed from that
            day on.
    """
    days = tables.snapshot_days
    lock_states(connection, tables)
    stored = read_states(connection, tables, list(states))
    computed: list[Blocks | None] = []
    for day in sorted(states):
        computed.append(changed[day])
        # Another run may have marked more students meanwhile.
        left = remaining_blocks(changed_blocks(stored.get(day), states[day]), join_blocks(computed))
        state = states[day] if left is not None and not left.any() else states[day].without(left)
        connection.execute(update(days).where(days.c.snapshot_date == day).values(state.as_row()))
    mark_later_days(connection, tables, run.number, run.newest, last, join_blocks(list(changed.values())))


def update_counts(connection: adbc.Connection, tables: StoreTables, first: date, publication: Publication) -> None:
    """Update the counts of the days from `first` on with the rows that a batch has published, in its transaction.

    So they are right even if its run is interrupted. They are changed relatively, because another batch may change the
    same days. A day that was never recorded stays unrecorded.
    """
    days = tables.snapshot_days
    published, failed = publication.more_published, publication.more_failed
    # One day at a time and ascending, so that two batches never deadlock.
    for number in np.flatnonzero((published != 0) | (failed != 0)).tolist():
        values: Mapping[str, ColumnElement[int]] = {
            "published": func.greatest(days.c.published + int(published[number]), 0),
            "failed": func.greatest(days.c.failed + int(failed[number]), 0),
        }
        is_day = days.c.snapshot_date == first + timedelta(days=number)
        bulk.execute(connection, update(days).where(is_day).values(values))


def delete_days(connection: Connection, tables: StoreTables, first: date, last: date) -> int:
    """Delete everything about the days `first … last` but their restatements; returns the number of snapshots."""
    snapshots = tables.performance_snapshots
    by_day = (tables.snapshot_failures, tables.day_summary, tables.cohort_summary, tables.snapshot_days)
    for table in by_day:
        connection.execute(delete(table).where(table.c.snapshot_date.between(first, last)))
    connection.execute(delete(tables.data_issues).where(tables.data_issues.c.day.between(first, last)))
    return connection.execute(delete(snapshots).where(snapshots.c.snapshot_date.between(first, last))).rowcount


def outdated_settings(
    connection: Connection, tables: StoreTables, first: date, computed_with: Mapping[str, Any]
) -> dict[date, dict[str, Any]]:
    """Settings of the days from `first` on that differ from `computed_with`, by day, ascending."""
    days = tables.snapshot_days
    query = select(days.c.snapshot_date, days.c.computed_with).where(
        days.c.snapshot_date >= first, days.c.computed_with != cast(dict(computed_with), JSONB)
    )
    return {day: other for day, other in connection.execute(query.order_by(days.c.snapshot_date))}


def day_counts(connection: Connection, tables: StoreTables, first: date, last: date) -> list[DayCount]:
    """The counts of the computed days among `first … last`, ascending."""
    day = tables.snapshot_days.c.snapshot_date
    query = _select_counts(tables).where(day.between(first, last)).order_by(day)
    return [DayCount(*row) for row in connection.execute(query)]


def last_day_count_before(connection: Connection, tables: StoreTables, day: date) -> DayCount | None:
    earlier = tables.snapshot_days.c.snapshot_date
    row = connection.execute(_select_counts(tables).where(earlier < day).order_by(earlier.desc()).limit(1)).first()
    return DayCount(*row) if row else None


def _select_counts(tables: StoreTables) -> Select[Any]:
    days = tables.snapshot_days
    return select(days.c.snapshot_date, days.c.published, days.c.failed, days.c.students_with_issues)

"""The table `snapshot_days`: which days were computed, with their counts and the fingerprints of their source rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Select, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

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


def record_days(
    connection: Connection,
    tables: StoreTables,
    counts: Sequence[DayCount],
    computed_at: datetime,
    run_id: str,
    fingerprints: Mapping[date, str | None],
) -> None:
    """Record that consecutive days were computed completely, after all their batches.

    If source rows of one of the days have changed since its last computation, later days that were computed before have
    not seen the change either. The next of these loses its fingerprint, so that the scan for late data requests it and
    all following days.

    Args:
        counts: One per day, ascending.
        fingerprints: The source rows of each day as they were before they were read; None if unknown, which counts as a
            change.
    """
    days = tables.snapshot_days
    known = read_fingerprints(connection, tables, counts[0].day, counts[-1].day)
    if any(fingerprints[count.day] is None or known.get(count.day) != fingerprints[count.day] for count in counts):
        following = select(func.min(days.c.snapshot_date)).where(days.c.snapshot_date > counts[-1].day)
        connection.execute(
            update(days).where(days.c.snapshot_date == following.scalar_subquery()).values(source_fingerprint=None)
        )
    rows = [
        {
            "snapshot_date": count.day,
            "published": count.published,
            "failed": count.failed,
            "students_with_issues": count.with_issues,
            "computed_at": computed_at,
            "run_id": run_id,
            "source_fingerprint": fingerprints[count.day],
        }
        for count in counts
    ]
    statement = insert(days)
    updated = {name: statement.excluded[name] for name in rows[0] if name != "snapshot_date"}
    connection.execute(statement.on_conflict_do_update(index_elements=["snapshot_date"], set_=updated), rows)


def delete_days(connection: Connection, tables: StoreTables, first: date, last: date) -> int:
    """Delete everything about the days `first … last` but their restatements; returns the number of snapshots."""
    snapshots = tables.performance_snapshots
    by_day = (tables.snapshot_failures, tables.day_summary, tables.cohort_summary, tables.snapshot_days)
    for table in by_day:
        connection.execute(delete(table).where(table.c.snapshot_date.between(first, last)))
    connection.execute(delete(tables.data_issues).where(tables.data_issues.c.day.between(first, last)))
    return connection.execute(delete(snapshots).where(snapshots.c.snapshot_date.between(first, last))).rowcount


def read_fingerprints(connection: Connection, tables: StoreTables, first: date, last: date) -> dict[date, str | None]:
    """The fingerprints of the computed days among `first … last`; None if unknown."""
    days = tables.snapshot_days
    query = select(days.c.snapshot_date, days.c.source_fingerprint).where(days.c.snapshot_date.between(first, last))
    return {day: fingerprint for day, fingerprint in connection.execute(query)}


def day_counts(connection: Connection, tables: StoreTables, first: date, last: date) -> list[DayCount]:
    """The counts of the computed days among `first … last`, ascending."""
    day = tables.snapshot_days.c.snapshot_date
    query = _select_counts(tables).where(day.between(first, last)).order_by(day)
    return [DayCount(*row) for row in connection.execute(query)]


def last_day_count_before(connection: Connection, tables: StoreTables, day: date) -> DayCount | None:
    """The counts of the last computed day before `day`."""
    earlier = tables.snapshot_days.c.snapshot_date
    row = connection.execute(_select_counts(tables).where(earlier < day).order_by(earlier.desc()).limit(1)).first()
    return DayCount(*row) if row else None


def _select_counts(tables: StoreTables) -> Select[Any]:
    days = tables.snapshot_days
    return select(days.c.snapshot_date, days.c.published, days.c.failed, days.c.students_with_issues)

"""Refuse a computation that would remove many published rows, e.g. after an import that lost the students' lessons."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from sqlalchemy import BigInteger, Connection, any_, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.metrics.corrections import local_dates
from snapshot_pipeline.metrics.days import LocalDays
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.source import Source
from snapshot_pipeline.platform.reads import UserRange
from snapshot_pipeline.postgres.errors import retry_transient
from snapshot_pipeline.store.tables import StoreTables

_ALL_USERS = UserRange(-(2**63), 2**63 - 1)


class StudentDropError(SnapshotPipelineError):
    """The computation would remove more published rows of a day than permitted."""


@dataclass(frozen=True)
class _Removal:
    """Published rows of a day that would be removed, one of their students, and how many rows the day has."""

    day: date
    rows: int
    example: int
    published: int

    @property
    def share(self) -> float:
        return self.rows / self.published


def refuse_student_drop(installation: Installation, source: Source, days: LocalDays) -> None:
    """Raise if the computation of the days would remove too many of the published rows of one of them.

    A row is removed if its student is active and has a first start after the day. A student without any start keeps
    the published rows.

    Raises:
        StudentDropError: The message names the worst day, how many rows, and how to permit it.
    """
    late_starts = retry_transient(_late_first_starts, source, days)
    removals = installation.transaction(_count_removed, late_starts, days.first, days.last)
    worst = max(removals, key=lambda removal: (removal.share, removal.day), default=None)
    limit = installation.settings.max_student_drop
    if worst is not None and worst.share > limit:
        raise StudentDropError(
            f"{worst.rows:,} of the {worst.published:,} published rows of {worst.day} would be removed, e.g. that of "
            f"student {worst.example} ({worst.share:.0%}; SNAPSHOT_MAX_STUDENT_DROP permits {limit:.0%}), because "
            "these students' first lesson starts after that day now; nothing was published. Check whether rows of "
            "user_lesson_progress were lost; if the change is right, run `snapshot-pipeline materialize --from "
            f"{days.first} --to {days.last} --allow-student-drop`"
        )


def _late_first_starts(source: Source, days: LocalDays) -> dict[date, list[int]]:
    """The active students whose first start is after the first of the days, by the local date of that start."""
    with source.session() as reader:
        students = reader.students(_ALL_USERS, days.start)
    late = students[students["first_started_at"] >= days.start]
    dates = local_dates(late["first_started_at"], days.zone).astype("datetime64[D]")
    return {
        day.item(): late.loc[dates == day, "user_id"].tolist()
        for day in np.unique(dates)
        if day > np.datetime64(days.first, "D")
    }


def _count_removed(
    connection: Connection, tables: StoreTables, late_starts: dict[date, list[int]], first: date, last: date
) -> list[_Removal]:
    snapshots = tables.performance_snapshots
    counts = (snapshots.c.snapshot_date, func.count(), func.min(snapshots.c.user_id))
    by_day = select(*counts).group_by(snapshots.c.snapshot_date)
    removed: dict[date, tuple[int, int]] = {}
    for first_day, user_ids in late_starts.items():
        rows = by_day.where(
            snapshots.c.user_id == any_(cast(user_ids, ARRAY(BigInteger))),
            snapshots.c.snapshot_date.between(first, min(last, first_day - timedelta(days=1))),
        )
        for day, count, example in connection.execute(rows):
            earlier, earlier_example = removed.get(day, (0, example))
            removed[day] = (earlier + count, min(earlier_example, example))
    if not removed:
        return []
    published = connection.execute(by_day.where(snapshots.c.snapshot_date.in_(removed)))
    return [_Removal(day, *removed[day], count) for day, count, _ in published]

"""Compute a day again without publishing it, and compare it with the stored rows.

The day is locked while it is compared, so no publication can come in between. A difference is *late* if source rows up
to the day have changed since they were computed: the day waits for its next computation. There should be no other
difference.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pyarrow as pa
from sqlalchemy import func, select

from snapshot_pipeline.metrics.days import LocalDays, start_of_day
from snapshot_pipeline.pipeline.batches import Batch, memory_per_student, open_local_executor, sample_students
from snapshot_pipeline.pipeline.history import read_history
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.late_data import changed_days
from snapshot_pipeline.pipeline.outdated import OutdatedDays, outdated_days
from snapshot_pipeline.pipeline.reasons import BY_HAND
from snapshot_pipeline.pipeline.snapshot_work import ComputedBatch, SnapshotWork
from snapshot_pipeline.pipeline.source import open_source
from snapshot_pipeline.platform.reads import UserSet
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.store.changes import StudentDayIndex, compare, restatements
from snapshot_pipeline.store.days import day_counts
from snapshot_pipeline.store.snapshots import as_failures, as_snapshots, read_failures, read_published
from snapshot_pipeline.store.tables import ENGAGEMENT_COLUMNS, StoreTables

EXAMPLES = 10
"""Number of differences to show."""

FAILURE = "failure"
"""The `column` of a difference between the stored failure and the recomputed one."""


@dataclass(frozen=True)
class StoredDifference:
    """A stored figure that differs from the recomputed one.

    Attributes:
        column: The column of `performance_snapshots`, `*` for a whole row, or `failure`.
        stored: The stored value as text, or None.
        recomputed: The recomputed value as text, or None.
    """

    user_id: int
    column: str
    stored: str | None
    recomputed: str | None


@dataclass
class Recomputation:
    """The comparison of a recomputed day with the stored one.

    Attributes:
        students: Number of active students that were computed.
        columns: Number of differences by column.
        examples: The first ten differences, by student.
        unpublished: Number of students who should have a row and have neither a row nor a failure.
        rows_missing: How many rows of those that the day's computation published were deleted.
        changed_days: Days up to this one whose source rows have changed since they were computed.
        outdated: Days that were computed with another formula or other settings; may include `day`.
        first_computed: The first computed day; changes of older rows are not recorded.
        differing: Number of students with a difference.
        regraded_before: Number of students whose quiz average differs and depends on attempts of before that day.
    """

    day: date
    students: int = 0
    columns: Counter[str] = field(default_factory=Counter)
    examples: list[StoredDifference] = field(default_factory=list)
    unpublished: int = 0
    rows_missing: int = 0
    changed_days: list[date] = field(default_factory=list)
    outdated: list[OutdatedDays] = field(default_factory=list)
    first_computed: date | None = None
    differing: int = 0
    regraded_before: int = 0

    @property
    def differs(self) -> bool:
        """Whether there is any difference."""
        return bool(self.columns.total() or self.unpublished or self.rows_missing)

    @property
    def is_outdated(self) -> bool:
        """Whether the day itself was computed with another formula or other settings."""
        return any(days.first <= self.day <= days.last for days in self.outdated)

    def add(self, other: Recomputation) -> None:
        """Add another batch of the same day."""
        self.students += other.students
        self.columns += other.columns
        self.examples = sorted(self.examples + other.examples, key=_by_student)[:EXAMPLES]
        self.unpublished += other.unpublished
        self.differing += other.differing
        self.regraded_before += other.regraded_before


def random_computed_day(installation: Installation, seed: str) -> date | None:
    """A randomly chosen computed day, the same for the same seed and days; None if there is none."""
    days = [count.day for count in installation.transaction(day_counts, date.min, date.max)]
    return random.Random(seed).choice(days) if days else None  # noqa: S311  # a sample, not a secret


def recompute_day(installation: Installation, day: date, run_id: str) -> Recomputation:
    """Compute a day as a run would, publish nothing, and compare it with the stored rows.

    Args:
        day: A day that was computed.
        run_id: Shown to runs that wait for this comparison.
    """
    days = LocalDays(day, day, installation.settings.zone)
    source = open_source(installation, days.end)
    first_computed = installation.transaction(day_counts, date.min, date.max)[0].day
    result = Recomputation(day, outdated=outdated_days(installation), first_computed=first_computed)
    with (
        installation.lock_days(day, day, f"recompute_matches, run {run_id}") as lock,
        open_local_executor(installation.settings) as executor,
    ):
        snapshots = SnapshotWork(installation.uri, source, lock.lease, days, source.rules.moment, run_id, BY_HAND)
        with source.session() as reader:
            user_ids = reader.active_student_ids()
            events = reader.events_per_student(sample_students(user_ids), days.window_start, days.end)
        memory = memory_per_student(days.count, events)
        for part in executor.map_batches(executor.split(user_ids, memory), RecomputeWork(snapshots, first_computed)):
            result.add(part)
        result.rows_missing = _count_missing_rows(installation, day)
        if result.differs:
            # All days up to this one, because the quiz average and the last activity have no limit; only if needed,
            # because that reads the whole history.
            result.changed_days = changed_days(installation, date.min, day)
    return result


@dataclass(frozen=True)
class RecomputeWork:
    """Computes one batch and compares it with the stored rows.

    Attributes:
        snapshots: The work of a run, used for its computation only.
        first_computed: The first computed day.
    """

    snapshots: SnapshotWork
    first_computed: date

    @property
    def name(self) -> str:
        return f"recompute {self.snapshots.days.first}"

    def __call__(self, batch: Batch) -> Recomputation:
        return self._compare(self.snapshots.compute(batch))

    def fail(self, batch: Batch, error: Exception) -> Recomputation:
        """Compare the failure of a student that raised."""
        return self._compare(self.snapshots.failure(batch, error))

    def _compare(self, batch: ComputedBatch) -> Recomputation:
        day, tables = self.snapshots.days.first, StoreTables.of(self.snapshots.lease.schema)
        index = StudentDayIndex(batch.user_ids, day, day)
        with bulk.transaction(self.snapshots.uri) as connection:
            stored = read_published(connection, tables, index)
            stored_failures = read_failures(connection, tables, index)
        # A rank depends on who is active in the cohort now.
        stored = stored.drop_columns(list(ENGAGEMENT_COLUMNS))
        recomputed = as_snapshots(batch.snapshots.published).drop_columns(list(ENGAGEMENT_COLUMNS))
        failures = as_failures(batch.snapshots.failures)
        changes = compare(stored, recomputed, index, retained=index.numbers_of(failures))
        unpublished = ~np.isin(index.numbers_of(recomputed)[changes.inserted], index.numbers_of(stored_failures))
        differences = _figures(restatements(stored, recomputed, changes)) + _failures(stored_failures, failures)
        return Recomputation(
            day,
            students=len(batch.user_ids),
            columns=Counter(difference.column for difference in differences),
            examples=sorted(differences, key=_by_student)[:EXAMPLES],
            unpublished=int(unpublished.sum()),
            differing=len({difference.user_id for difference in differences}),
            regraded_before=self._count_regraded_before(differences),
        )

    def _count_regraded_before(self, differences: Sequence[StoredDifference]) -> int:
        user_ids = {difference.user_id for difference in differences if difference.column == "quiz_average"}
        if not user_ids:
            return 0
        days = self.snapshots.days
        with self.snapshots.source.session() as reader:
            attempts = read_history(reader, UserSet(tuple(sorted(user_ids))), days).attempts
        is_older = attempts["completed_at"] < start_of_day(self.first_computed, days.zone)
        return int(attempts.loc[is_older, "user_id"].nunique())


def _by_student(difference: StoredDifference) -> tuple[int, str]:
    return difference.user_id, difference.column


def _figures(rows: pa.Table) -> list[StoredDifference]:
    columns = (rows[name].to_pylist() for name in ("user_id", "column_name", "old_value", "new_value"))
    return [StoredDifference(*row) for row in zip(*columns, strict=True)]


def _failures(stored: pa.Table, recomputed: pa.Table) -> list[StoredDifference]:
    before, now = _reasons(stored), _reasons(recomputed)
    return [
        StoredDifference(user_id, FAILURE, before.get(user_id), now.get(user_id))
        for user_id in sorted(before.keys() | now.keys())
        if before.get(user_id) != now.get(user_id)
    ]


def _reasons(failures: pa.Table) -> dict[int, str]:
    return dict(zip(failures["user_id"].to_pylist(), failures["reason"].to_pylist(), strict=True))


def _count_missing_rows(installation: Installation, day: date) -> int:
    """How many rows fewer the day has than its computation published.

    It may have more: a student who failed, or is no longer active, keeps an earlier row that was not counted.
    """
    snapshots = installation.store.performance_snapshots
    with installation.engine.connect() as connection:
        rows = connection.execute(select(func.count()).where(snapshots.c.snapshot_date == day)).scalar_one()
        published: Sequence[int] = [count.published for count in day_counts(connection, installation.store, day, day)]
    return max(sum(published) - rows, 0)

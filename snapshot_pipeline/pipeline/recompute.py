"""A day computed again without publishing it, held against what is stored: whether the increments add up to the source.

Put here: which day, how it is compared, and what explains a difference. Do not put here: how severe that is
(`orchestration.daily_checks`).

The day is held against every other run while it is compared, so that no publication can come in between; what was
published before is in the table. A difference is *late* when the platform's rows up to the day are not what they were
when they were computed: the day is waiting for its next computation. Any other difference should not be.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timezone

import numpy as np
import pyarrow as pa
from sqlalchemy import func, select

from snapshot_pipeline.metrics.days import LocalDays
from snapshot_pipeline.pipeline.batches import Batch
from snapshot_pipeline.pipeline.executors import open_local_executor
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.late_data import changed_days
from snapshot_pipeline.pipeline.reasons import BY_HAND
from snapshot_pipeline.pipeline.snapshots import ComputedBatch, SnapshotWork, weight_of
from snapshot_pipeline.pipeline.source import open_source
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.store.changes import StudentDayIndex, compare, restatements
from snapshot_pipeline.store.days import day_counts
from snapshot_pipeline.store.locks import exclusive_days
from snapshot_pipeline.store.snapshots import as_failures, as_snapshots, read_failures, read_published
from snapshot_pipeline.store.tables import StoreTables

EXAMPLES = 10
"""How many differences are shown."""

FAILURE = "failure"
"""What a difference between failures is called: the stored reason against the one that comes out now."""


@dataclass(frozen=True)
class Difference:
    """A figure that is not what the platform's rows give.

    Attributes:
        user_id: The student.
        column: The column of `performance_snapshots`, `*` for a whole row, or `failure`.
        stored: What is stored; None for nothing.
        rebuilt: What comes out now; None for nothing.
    """

    user_id: int
    column: str
    stored: str | None
    rebuilt: str | None


@dataclass
class Recomputation:
    """What the comparison of a day came to.

    Attributes:
        day: The day.
        students: Active students that were computed.
        columns: Differences by column.
        examples: The first ten differences, by student.
        unpublished: Students who would have a row and have neither a row nor a failure.
        rows_missing: Rows fewer than the day's computation published: somebody has removed them.
        changed_days: Days up to this one whose rows are not what they were when they were computed.
    """

    day: date
    students: int = 0
    columns: Counter[str] = field(default_factory=Counter)
    examples: list[Difference] = field(default_factory=list)
    unpublished: int = 0
    rows_missing: int = 0
    changed_days: list[date] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        """Whether anything is not as the platform's rows give it."""
        return bool(self.columns.total() or self.unpublished or self.rows_missing)

    def add(self, other: Recomputation) -> None:
        """Count another batch of the same day in."""
        self.students += other.students
        self.columns += other.columns
        self.examples = sorted(self.examples + other.examples, key=lambda one: (one.user_id, one.column))[:EXAMPLES]
        self.unpublished += other.unpublished


def random_computed_day(installation: Installation, seed: str) -> date | None:
    """One of the days that were computed; the same for the same seed and days, None where there is none."""
    with installation.engine.connect() as connection:
        days = [count.day for count in day_counts(connection, installation.store, date.min, date.max)]
    return random.Random(seed).choice(days) if days else None  # noqa: S311  # a sample, not a secret


def recompute_day(installation: Installation, day: date, run_id: str) -> Recomputation:
    """Compute a day as a run would, publish nothing, and hold it against what is stored.

    Args:
        installation: Where.
        day: A day that was computed.
        run_id: Shown to a run that has to wait for this comparison.

    Raises:
        SnapshotPipelineError: Something the operator can mend: a table is missing, another run holds the day.
    """
    settings = installation.settings
    days = LocalDays(day, day, settings.zone)
    source = open_source(installation, days.end)
    now = datetime.now(timezone.utc)
    rebuild = Recomputation(day)
    owner, patience = f"rebuild check {run_id}", settings.run_lock_seconds
    with (
        exclusive_days(installation.engine, settings.store_schema, day, day, owner, patience) as lock,
        open_local_executor(settings) as place,
    ):
        snapshots = SnapshotWork(installation.uri, source, lock.lease, days, now, run_id, BY_HAND)
        with source.session() as reader:
            user_ids = reader.active_student_ids()
            weight = weight_of(reader, user_ids, days)
        for part in place.map_batches(place.cut(user_ids, weight), RecomputeWork(snapshots)):
            rebuild.add(part)
        rebuild.rows_missing = _rows_missing(installation, day)
        if rebuild.differs:
            # All days up to this one, because the quiz average and the last activity reach back without bound; only
            # now, because that is a look at the whole history.
            rebuild.changed_days = changed_days(installation, date.min, day)
    return rebuild


@dataclass(frozen=True)
class RecomputeWork:
    """Computes one batch and holds it against what is stored; picklable.

    Attributes:
        snapshots: The work of a run, of which only the computation is used.
    """

    snapshots: SnapshotWork

    @property
    def name(self) -> str:
        """What it is, for whoever watches."""
        return f"rebuild {self.snapshots.days.first}"

    def __call__(self, batch: Batch) -> Recomputation:
        """Compare the batch."""
        return self._compared(self.snapshots.compute(batch))

    def fail(self, batch: Batch, error: Exception) -> Recomputation:
        """Compare with a failure."""
        return self._compared(self.snapshots.failure(batch, error))

    def _compared(self, batch: ComputedBatch) -> Recomputation:
        day, tables = self.snapshots.days.first, StoreTables.of(self.snapshots.lease.schema)
        index = StudentDayIndex(batch.user_ids, day, day)
        with bulk.transaction(self.snapshots.uri) as connection:
            stored = read_published(connection, tables, index)
            stored_failures = read_failures(connection, tables, index)
        rebuilt, failures = as_snapshots(batch.snapshots.published), as_failures(batch.snapshots.failures)
        changes = compare(stored, rebuilt, index, retained=index.numbers_of(failures))
        unknown = ~np.isin(index.numbers_of(rebuilt)[changes.inserted], index.numbers_of(stored_failures))
        differences = _figures(restatements(stored, rebuilt, changes)) + _failures(stored_failures, failures)
        return Recomputation(
            day,
            students=len(batch.user_ids),
            columns=Counter(one.column for one in differences),
            examples=sorted(differences, key=lambda one: (one.user_id, one.column))[:EXAMPLES],
            unpublished=int(unknown.sum()),
        )


def _figures(rows: pa.Table) -> list[Difference]:
    columns = (rows[name].to_pylist() for name in ("user_id", "column_name", "old_value", "new_value"))
    return [Difference(*row) for row in zip(*columns, strict=True)]


def _failures(stored: pa.Table, rebuilt: pa.Table) -> list[Difference]:
    before, now = _reasons(stored), _reasons(rebuilt)
    return [
        Difference(user_id, FAILURE, before.get(user_id), now.get(user_id))
        for user_id in sorted(before.keys() | now.keys())
        if before.get(user_id) != now.get(user_id)
    ]


def _reasons(failures: pa.Table) -> dict[int, str]:
    return dict(zip(failures["user_id"].to_pylist(), failures["reason"].to_pylist(), strict=True))


def _rows_missing(installation: Installation, day: date) -> int:
    """How many rows of the day are there fewer than its computation published; more are nothing to worry about.

    A student who failed, or is not active any more, keeps an earlier row that was not counted.
    """
    snapshots = installation.store.performance_snapshots
    with installation.engine.connect() as connection:
        rows = connection.execute(select(func.count()).where(snapshots.c.snapshot_date == day)).scalar_one()
        published: Sequence[int] = [count.published for count in day_counts(connection, installation.store, day, day)]
    return max(sum(published) - rows, 0)

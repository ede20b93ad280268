"""What a run does with one batch of students: read, compute, publish.

students, progress, attempts, exercises ──▶ StudentHistory ──▶ compute_snapshots ──▶ replace_snapshots
(platform.reads, one read session)        (metrics, pure)        (store, one transaction)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

import adbc_driver_postgresql.dbapi as adbc
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snapshot_pipeline.metrics.days import LocalDays, end_of_day
from snapshot_pipeline.metrics.engagement import Engagement
from snapshot_pipeline.metrics.snapshot import UNEXPECTED_ERROR, SnapshotBatch, compute_snapshots
from snapshot_pipeline.pipeline.batches import Batch, one_line
from snapshot_pipeline.pipeline.day_reports import DayReport, batch_reports
from snapshot_pipeline.pipeline.history import ListedRows, empty_history, read_history
from snapshot_pipeline.pipeline.source import Source
from snapshot_pipeline.platform.reads import Users, UserSet
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.postgres.errors import UNIQUE_VIOLATION
from snapshot_pipeline.store.days import update_counts
from snapshot_pipeline.store.issues import listed_issues, no_listed_issues, replace_issues
from snapshot_pipeline.store.locks import RunLease
from snapshot_pipeline.store.snapshots import PublicationScope, replace_engagement, replace_snapshots
from snapshot_pipeline.store.tables import StoreTables


@dataclass(frozen=True)
class ComputedBatch:
    """The snapshots of some students.

    Attributes:
        user_ids: int64, ascending, shape (students,).
        not_started: Those of them who have no lesson, int64, ascending.
        listed: The issues of an earlier run whose rows were read again; see `store.issues.listed_issues`.
        engagement: The engagement of the students, in the same order; None if their cohorts were not ranked.
    """

    user_ids: NDArray[np.int64]
    not_started: NDArray[np.int64]
    snapshots: SnapshotBatch
    listed: pd.DataFrame
    engagement: Engagement | None = None

    def of_students(self, user_ids: NDArray[np.int64]) -> ComputedBatch:
        if len(user_ids) == len(self.user_ids):
            return self

        def selected(frame: pd.DataFrame) -> pd.DataFrame:
            return frame[np.isin(frame["user_id"].to_numpy(np.int64), user_ids)]

        batch = self.snapshots
        return ComputedBatch(
            user_ids,
            self.not_started[np.isin(self.not_started, user_ids)],
            SnapshotBatch(selected(batch.published), selected(batch.failures), selected(batch.issues)),
            selected(self.listed),
            self.engagement and self.engagement.of_students(np.searchsorted(self.user_ids, user_ids)),
        )

    def published(self, days: LocalDays) -> pd.DataFrame:
        """The snapshots, with the engagement columns if the cohorts were ranked."""
        rows = self.snapshots.published
        if self.engagement is None:
            return rows
        students = np.searchsorted(self.user_ids, rows["user_id"].to_numpy(np.int64))
        return rows.assign(**self.engagement.columns(students, days.numbers_of(rows["snapshot_date"])))


@dataclass(frozen=True)
class SnapshotWork:
    """Reads, computes and publishes the days of one batch; picklable.

    Attributes:
        uri: The database of our tables as a libpq URI; never shown.
        lease: Checked by each publication.
        computed_at: Time of the computation, written to the rows.
        is_first: Whether none of the days had a snapshot when the run began.
        reads_participation: Whether to read what the ranking of the cohorts needs.
    """

    uri: str = field(repr=False)
    source: Source
    lease: RunLease
    days: LocalDays
    computed_at: datetime
    run_id: str
    reason: str
    is_first: bool = False
    reads_participation: bool = False

    @property
    def name(self) -> str:
        return f"snapshots {self.days.first}\u2026{self.days.last}"

    def __call__(self, batch: Batch) -> list[DayReport]:
        """Compute the batch and publish it, in one transaction."""
        return self.publish(self.compute(batch))

    def fail(self, batch: Batch, error: Exception) -> list[DayReport]:
        """Record a failure of a student for every day on which a snapshot is due."""
        return self.publish(self.failure(batch, error))

    def compute(self, batch: Batch) -> ComputedBatch:
        """Read and compute the batch; writes nothing."""
        with bulk.transaction(self.uri) as connection:
            listed = listed_issues(connection, StoreTables.of(self.lease.schema), batch.user_ids)
        users = self._users(batch)
        with self.source.session() as reader:
            cohorts = reader.cohorts(users) if self.reads_participation else None
            history = read_history(reader, users, self.days, ListedRows.of(listed), cohorts)
        return _computed(history.students, compute_snapshots(history, self.days), listed)

    def failure(self, batch: Batch, error: Exception) -> ComputedBatch:
        """The failures of a student whose computation raised; writes nothing."""
        with self.source.session() as reader:
            students = reader.students(self._users(batch), self.days.start)
        first_start = students["first_started_at"].min()
        due = [day for day in self.days.dates if first_start < end_of_day(day.item(), self.days.zone)]
        failures = pd.DataFrame(
            {
                "user_id": np.repeat(batch.user_ids, len(due)),
                "snapshot_date": np.array(due, dtype="datetime64[s]"),
                "reason": UNEXPECTED_ERROR,
                "detail": one_line(error),
            }
        )
        nothing = compute_snapshots(empty_history(), self.days)
        return _computed(students, replace(nothing, failures=failures), no_listed_issues())

    def _users(self, batch: Batch) -> Users:
        return batch.range

    def publish(self, batch: ComputedBatch) -> list[DayReport]:
        """Publish a computed batch, in one transaction."""
        if self.is_first:
            try:
                return self._replace(batch, is_first=True)
            except adbc.Error as error:
                # The batch was published before, and only the answer to its commit was lost.
                if error.sqlstate != UNIQUE_VIOLATION:
                    raise
        return self._replace(batch, is_first=False)

    def publish_engagement(self, batch: ComputedBatch) -> NDArray[np.int64]:
        """Publish only the engagement columns of a ranked batch; returns how many rows changed, by day."""
        with self.lease.publication(self.uri) as (connection, tables):
            return replace_engagement(connection, tables, self._scope(batch), batch.published(self.days))

    def _replace(self, batch: ComputedBatch, *, is_first: bool) -> list[DayReport]:
        scope = self._scope(batch, is_first=is_first)
        snapshots = batch.snapshots
        with self.lease.publication(self.uri) as (connection, tables):
            publication = replace_snapshots(connection, tables, scope, batch.published(self.days), snapshots.failures)
            replace_issues(connection, tables, batch.listed, snapshots.issues, self.computed_at)
            update_counts(connection, tables, self.days.first, publication)
        return list(batch_reports(snapshots, publication, self.days))

    def _scope(self, batch: ComputedBatch, *, is_first: bool = False) -> PublicationScope:
        return PublicationScope(
            batch.user_ids,
            self.days.first,
            self.days.last,
            self.computed_at,
            self.run_id,
            self.reason,
            is_first,
            batch.not_started,
            keeps_engagement=batch.engagement is None,
        )


class SelectedStudentsWork(SnapshotWork):
    """As `SnapshotWork`, for students with arbitrary ids."""

    def _users(self, batch: Batch) -> Users:
        return UserSet(tuple(batch.user_ids.tolist()))


def _computed(students: pd.DataFrame, snapshots: SnapshotBatch, listed: pd.DataFrame) -> ComputedBatch:
    students = students.sort_values("user_id")
    user_ids = students["user_id"].to_numpy(np.int64)
    return ComputedBatch(user_ids, user_ids[students["first_started_at"].isna()], snapshots, listed)

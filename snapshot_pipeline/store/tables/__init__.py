"""The tables that we own, as they stand after the last migration.

Put here: table and column definitions, with the sentence that explains each: `docs/`, the Dagster UI and whoever reads
the code have it from here. A test holds the definitions against the migrations.
Do not put here: how they came about (`migrations/`).

None has a foreign key into the platform's tables: a pipeline must not be able to block the application's deletes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import MetaData, Table

from snapshot_pipeline.store.tables import operations, published, summaries
from snapshot_pipeline.store.tables.explained import SENTENCE, VALUES

__all__ = ["SENTENCE", "VALUES", "StoreTables"]


@dataclass(frozen=True)
class StoreTables:
    """Our tables in one schema; what a row of each is, the table itself says."""

    performance_snapshots: Table
    snapshot_failures: Table
    snapshot_days: Table
    day_summary: Table
    cohort_summary: Table
    snapshot_restatements: Table
    adaptive_recommendations: Table
    incidents: Table
    alert_messages: Table
    run_leases: Table

    @property
    def metadata(self) -> MetaData:
        """The metadata that all of them belong to."""
        return self.performance_snapshots.metadata

    @classmethod
    @lru_cache  # the same objects for each batch: SQLAlchemy compiles a statement about them once
    def of(cls, schema: str) -> StoreTables:
        """The tables in a schema; nothing is looked up."""
        metadata = MetaData(schema=schema)
        return cls(
            performance_snapshots=published.performance_snapshots(metadata),
            snapshot_failures=published.snapshot_failures(metadata),
            snapshot_days=published.snapshot_days(metadata),
            day_summary=summaries.day_summary(metadata),
            cohort_summary=summaries.cohort_summary(metadata),
            snapshot_restatements=published.snapshot_restatements(metadata),
            adaptive_recommendations=published.adaptive_recommendations(metadata),
            incidents=operations.incidents(metadata),
            alert_messages=operations.alert_messages(metadata),
            run_leases=operations.run_leases(metadata),
        )

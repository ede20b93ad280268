"""Definitions of our tables, with a description of each table and column for the docs and the Dagster UI.

No table has a foreign key into the platform's tables: the pipeline must never block the application's deletes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import MetaData, Table

from snapshot_pipeline.store.tables import operations, published, summaries
from snapshot_pipeline.store.tables.published import DESCRIPTION, VALUES

__all__ = ["DESCRIPTION", "VALUES", "StoreTables"]


@dataclass(frozen=True)
class StoreTables:
    """Our tables in one schema."""

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
        """The metadata of all tables."""
        return self.performance_snapshots.metadata

    @classmethod
    @lru_cache  # the same objects for each batch, so that SQLAlchemy caches compiled statements
    def of(cls, schema: str) -> StoreTables:
        """The tables in a schema; does not access the database."""
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

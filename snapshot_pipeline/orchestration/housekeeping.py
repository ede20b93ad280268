"""The daily job that deletes expired rows and creates the monthly partitions of `performance_snapshots` in advance."""

# No `from __future__ import annotations` here: Dagster reads the annotation of `context` at run time.
from datetime import datetime, timedelta, timezone

import dagster as dg

from snapshot_pipeline.orchestration.instance.log_retention import delete_old_log_rows, delete_old_output
from snapshot_pipeline.orchestration.names import DATABASES
from snapshot_pipeline.orchestration.steps import step_installation
from snapshot_pipeline.postgres.errors import retry_transient
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.months import ensure_partitions
from snapshot_pipeline.store.retention import RetentionLimits, delete_expired_rows

DAYS_AHEAD = 62
"""Partitions are created for this month and the next two: two consecutive months have at most 62 days."""


def build_housekeeping_job(settings: Settings) -> dg.JobDefinition:
    @dg.op(
        name="delete_expired_rows",
        required_resource_keys=DATABASES,
        description=(
            "Deletes expired rows in small transactions and expired months of snapshots as a whole, and creates "
            "upcoming monthly partitions. After an interruption the next run continues."
        ),
    )
    def delete_expired_rows_op(context: dg.OpExecutionContext) -> None:
        now = datetime.now(timezone.utc)  # retention depends on the clock; no figure does
        log_start = now - timedelta(days=settings.dagster_log_retention_days)
        removed = {
            "dagster_log_rows": delete_old_log_rows(context.instance, log_start),
            "output_directories": delete_old_output(settings.home / "logs", log_start),
        }
        today, snapshot_days = now.astimezone(settings.zone).date(), settings.snapshot_retention_days
        limits = RetentionLimits(
            incidents=now - timedelta(days=settings.incident_retention_days),
            restatements=now - timedelta(days=settings.restatement_retention_days),
            snapshots=None if snapshot_days is None else today - timedelta(days=snapshot_days),
        )
        with step_installation(context, settings) as installation:
            database = (installation.engine, installation.store)
            removed |= retry_transient(delete_expired_rows, *database, limits)
            created = retry_transient(ensure_partitions, *database, today, today + timedelta(days=DAYS_AHEAD))
        context.log.info(f"partitions created: {', '.join(created) or 'none, all exist'}")
        context.log.info("; ".join(f"{name}: {count:,} removed" for name, count in removed.items()))
        counts = {f"{name}_removed": count for name, count in removed.items()}
        context.add_output_metadata({**counts, "partitions_made": len(created)})

    @dg.job(
        description=(
            "Deletes old log lines, closed incidents, restatements and, if a retention is set, old snapshots; creates "
            "upcoming monthly partitions. Materializations, check results and run statuses are kept."
        )
    )
    def housekeeping_job() -> None:
        delete_expired_rows_op()

    return housekeeping_job

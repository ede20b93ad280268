"""The daily job that removes what has had its time, and makes the partitions of the months to come.

Put here: the job, and what it reports. Do not put here: what is removed and what stays (`log_retention`,
`store.retention`), what is made (`store.partitions`), or when (`schedules`).
See https://docs.dagster.io/guides/build/jobs.
"""

# No `from __future__ import annotations` here: Dagster reads the annotation of `context` as it stands.
from datetime import datetime, timedelta, timezone

import dagster as dg

from snapshot_pipeline.orchestration.descriptions import described
from snapshot_pipeline.orchestration.instance.log_retention import remove_old_log_rows, remove_old_output
from snapshot_pipeline.orchestration.steps import step_installation
from snapshot_pipeline.postgres.errors import retry_transient
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.months import ensure_partitions
from snapshot_pipeline.store.retention import RetentionLimits

NAME = "housekeeping_job"
DAYS_AHEAD = 62
"""This month and the next two: two months in a row have at most 62 days."""


def build_housekeeping(settings: Settings) -> dg.JobDefinition:
    """The job of one installation."""

    @dg.op(
        name="delete_expired_rows",
        description=(
            "Removes old rows in small transactions and old months of snapshots as a whole, and makes the months to "
            "come; after an interruption the next run goes on."
        ),
    )
    def delete_expired_rows(context: dg.OpExecutionContext) -> None:
        now = datetime.now(timezone.utc)  # nothing is computed here: old is what is old today
        log_from = now - timedelta(days=settings.dagster_log_retention_days)
        removed = {
            "dagster_log_rows": remove_old_log_rows(context.instance, log_from),
            "output_directories": remove_old_output(settings.home / "logs", log_from),
        }
        with step_installation(context, settings) as installation:
            keep = _keep(settings, now)
            removed |= retry_transient(lambda: delete_expired_rows(installation.engine, installation.store, keep))
            today = now.astimezone(settings.zone).date()
            ahead = today + timedelta(days=DAYS_AHEAD)
            made = retry_transient(lambda: ensure_partitions(installation.engine, installation.store, today, ahead))
        context.log.info(f"partitions made: {', '.join(made) or 'none, all are there'}")
        context.log.info("; ".join(f"{name}: {count:,} removed" for name, count in removed.items()))
        counts = {f"{name}_removed": dg.MetadataValue.int(n) for name, n in removed.items()}
        context.add_output_metadata({**counts, "partitions_made": dg.MetadataValue.int(len(made))})

    @dg.job(
        name=NAME,
        description=described(
            "Removes Dagster's log lines, closed incidents, restatements and, where a setting says so, old snapshots; "
            "materializations, check results and the states of runs stay. Makes the partitions of the months to come.",
            reads="the age of rows; what it keeps for how long is set by the SNAPSHOT_…_RETENTION_DAYS.",
            runs="every day at 04:00 by the schedule `daily_housekeeping_schedule`; safe at any time by hand.",
            remediation="its one line says what to do; nothing is lost, the next run goes on.",
        ),
    )
    def housekeeping_job() -> None:
        delete_expired_rows()

    return housekeeping_job


def _keep(settings: Settings, now: datetime) -> RetentionLimits:
    today, snapshots = now.astimezone(settings.zone).date(), settings.snapshot_retention_days
    return RetentionLimits(
        incidents=now - timedelta(days=settings.incident_retention_days),
        restatements=now - timedelta(days=settings.restatement_retention_days),
        snapshots=None if snapshots is None else today - timedelta(days=snapshots),
    )

"""One row per active student and day: pace score, quiz average, lessons completed and minutes spent on that day.

Reads the learning platform's users, progress, quiz attempts and exercises; publishes to `performance_snapshots`, and to
`snapshot_failures` for students whose rows cannot be right. Runs every night at 00:00 for the day that has just ended,
and for any day or range of days when materialized by hand. Materializing a day again writes what differs and notes each
figure that changes in `snapshot_restatements`; the metadata count them as `restated`.

When a run is red: its error is one line that says what to do. When a day is missing: materialize it, in any order; no
day depends on another. A day of 50,000 students takes seconds.
"""

# No `from __future__ import annotations` here: Dagster reads the annotation of `context` as it stands.
from collections.abc import Iterator
from datetime import date
from functools import partial

import dagster as dg

from snapshot_pipeline.orchestration import pools
from snapshot_pipeline.orchestration.assets.learning_platform import SNAPSHOT_SOURCES, key
from snapshot_pipeline.orchestration.checks import check_day, failures_table, file_by_day, snapshot_check_specs
from snapshot_pipeline.orchestration.partitions import daily_partitions
from snapshot_pipeline.orchestration.reporting import report_days
from snapshot_pipeline.orchestration.steps import opened_step, told_progress
from snapshot_pipeline.orchestration.tags import reason_of
from snapshot_pipeline.passing_errors import patiently
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.snapshots import DayReport, SnapshotRun, run_days
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.snapshots import DayCount, last_day_count_before

NAME = "performance_snapshots"
KEY = dg.AssetKey(NAME)


def build_performance_snapshots(settings: Settings) -> dg.AssetsDefinition:
    """The daily asset of one installation."""

    @dg.asset(
        name=NAME,
        description=__doc__,
        group_name="snapshots",
        kinds={"postgres", "pandas"},
        metadata={"dagster/table_name": f"{settings.store_schema}.{NAME}"},
        partitions_def=daily_partitions(settings),
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=settings.days_per_run),
        deps=[key(table) for table in SNAPSHOT_SOURCES],
        check_specs=snapshot_check_specs(NAME, settings),
        pool=pools.SNAPSHOTS,
    )
    def performance_snapshots(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        days = [date.fromisoformat(partition) for partition in context.partition_keys]
        with opened_step(context, settings) as installation:
            earlier = patiently(partial(_earlier_count, installation, days[0]))
            reason = reason_of(context.run.tags)
            run = run_days(installation, days[0], days[-1], context.run.run_id, told_progress(context), reason)
        report_days(context, run)
        for report in run.reports:
            context.add_asset_metadata(_metadata(report, run), partition_key=report.day.isoformat())
        yield dg.MaterializeResult()
        yield from file_by_day(context, _checks(run, earlier, settings))

    return performance_snapshots


def _earlier_count(installation: Installation, day: date) -> DayCount | None:
    with installation.engine.connect() as connection:
        return last_day_count_before(connection, installation.store, day)


def count_metadata(report: DayReport) -> dict[str, dg.MetadataValue]:
    """How many students of a day were published and failed, the rate, and the first that failed."""
    count = report.count
    metadata: dict[str, dg.MetadataValue] = {
        "students": dg.MetadataValue.int(count.students),
        "published": dg.MetadataValue.int(count.published),
        "failed": dg.MetadataValue.int(count.failed),
        "dagster/partition_row_count": dg.MetadataValue.int(count.published),
    }
    if count.success_rate is not None:
        metadata["success_rate"] = dg.MetadataValue.float(round(count.success_rate, 6))
    if report.failures:
        metadata["first_failures"] = failures_table(report)
    return metadata


def _metadata(report: DayReport, run: SnapshotRun) -> dict[str, dg.MetadataValue]:
    metadata: dict[str, dg.MetadataValue] = {
        **count_metadata(report),
        "active_students": dg.MetadataValue.int(report.active),
        "lessons_completed": dg.MetadataValue.int(report.lessons),
        "minutes_spent": dg.MetadataValue.int(report.minutes),
        "restated": dg.MetadataValue.int(report.restated),
        "run_seconds": dg.MetadataValue.float(round(run.seconds, 3)),
    }
    if report.mean_pace is not None:
        metadata["mean_pace_score"] = dg.MetadataValue.float(round(report.mean_pace, 2))
    return metadata


def _checks(run: SnapshotRun, earlier: DayCount | None, settings: Settings) -> dict[date, list[dg.AssetCheckResult]]:
    results: dict[date, list[dg.AssetCheckResult]] = {}
    for report in run.reports:
        results[report.day] = check_day(report, earlier, run.seconds, settings)
        earlier = report.count
    return results

"""The daily asset `performance_snapshots`: one row per active student and day."""

# No `from __future__ import annotations` here: Dagster reads the annotation of `context` at run time.
from collections.abc import Iterator, Mapping
from datetime import date

import dagster as dg

from snapshot_pipeline.orchestration.checks import check_day, snapshot_check_specs
from snapshot_pipeline.orchestration.day_metadata import Metadata, days_metadata
from snapshot_pipeline.orchestration.names import DATABASES, GRAIN_TAG, SNAPSHOTS_GROUP, SNAPSHOTS_POOL
from snapshot_pipeline.orchestration.partitioned_checks import log_by_partition
from snapshot_pipeline.orchestration.partitions import daily_freshness, daily_partitions
from snapshot_pipeline.orchestration.steps import (
    StepContext,
    allows_student_drop,
    log_progress,
    report_days,
    requested_days,
    run_reason,
    step_installation,
)
from snapshot_pipeline.orchestration.table_metadata import store_table_metadata, table_key
from snapshot_pipeline.pipeline.day_reports import EXAMPLES
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.periods import days_text
from snapshot_pipeline.pipeline.snapshots import SnapshotRun, run_days
from snapshot_pipeline.platform.tables import TABLE_NAMES
from snapshot_pipeline.plots.text import count_noun
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.days import DayCount, last_day_count_before
from snapshot_pipeline.store.issues import first_rows

NAME = "performance_snapshots"
KEY = dg.AssetKey(NAME)


def build_performance_snapshots(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        name=NAME,
        description=(
            "One row per active student and day: pace score, quiz average, lessons completed and minutes spent. "
            "Invalid rows of the platform are corrected or ignored, and listed in `data_issues`; changes to a day that "
            "was computed before are recorded in `snapshot_restatements`."
        ),
        group_name=SNAPSHOTS_GROUP,
        owners=settings.owners,
        required_resource_keys=DATABASES,
        kinds={"postgres", "pandas"},
        tags={GRAIN_TAG: "day"},
        metadata=store_table_metadata(NAME, settings),
        partitions_def=daily_partitions(settings),
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=settings.days_per_run),
        freshness_policy=daily_freshness(settings),
        deps=[table_key(table) for table in TABLE_NAMES],
        check_specs=snapshot_check_specs(NAME, settings),
        pool=SNAPSHOTS_POOL,
    )
    def performance_snapshots(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        first, last = requested_days(context, settings)
        with step_installation(context, settings) as installation:
            metadata, checks = compute_days(context, installation, first, last)
        for day, day_metadata in metadata.items():
            context.add_asset_metadata(day_metadata, partition_key=day.isoformat())
        yield dg.MaterializeResult()
        yield from log_by_partition(context, checks)

    return performance_snapshots


def compute_days(
    context: StepContext, installation: Installation, first: date, last: date
) -> tuple[dict[date, Metadata], dict[date, list[dg.AssetCheckResult]]]:
    """Compute and publish the days `first … last`; only progress is logged, and no event is yielded.

    Returns:
        Metadata and check results of each day, ascending.
    """
    earlier = installation.transaction(last_day_count_before, first)
    run = run_days(
        installation,
        first,
        last,
        context.run.run_id,
        log_progress(context),
        run_reason(context),
        allow_student_drop=allows_student_drop(context),
    )
    report_days(context, NAME, run)
    metadata = days_metadata(context, installation, run)
    context.log.info(outcome(metadata, run.seconds))
    return metadata, _check_results(installation, run, earlier)


def outcome(days: Mapping[date, Metadata], seconds: float) -> str:
    """Return what has been achieved, as the last line of a run's log.

    Args:
        days: The result of `compute_days`.
    """
    published, failed, with_issues, restated = (
        sum(int(numbers[name]) for numbers in days.values())
        for name in ("published", "failed", "students_with_issues", "restated")
    )
    return (
        f"{days_text(min(days), max(days))}: {count_noun(len(days), 'day')}, "
        f"{count_noun(published, 'student-day')} published, {failed:,} failed, {with_issues:,} with invalid rows, "
        f"{count_noun(restated, 'earlier figure')} changed, in {seconds:,.1f} s"
    )


def _check_results(
    installation: Installation, run: SnapshotRun, earlier: DayCount | None
) -> dict[date, list[dg.AssetCheckResult]]:
    results: dict[date, list[dg.AssetCheckResult]] = {}
    settings = installation.settings
    for report in run.reports:
        is_bad = (report.count.issue_rate or 0) > settings.max_issue_rate
        rows = installation.transaction(first_rows, report.day, EXAMPLES) if is_bad else ()
        results[report.day] = check_day(report, earlier, run.seconds, settings, rows)
        earlier = report.count
    return results

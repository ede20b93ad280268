"""The daily asset: one row per active student and day.

Put here: the asset, and how a run's days become its events. Do not put here: how a day is computed
(`pipeline.snapshots`), what is shown of it (`orchestration.day_metadata`), or when it runs (`schedules`).
"""

# No `from __future__ import annotations` here: Dagster reads the annotation of `context` as it stands.
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial

import dagster as dg

from snapshot_pipeline.orchestration import pools
from snapshot_pipeline.orchestration.asset_keys import SNAPSHOTS_GROUP, table_key
from snapshot_pipeline.orchestration.assets.learning_platform import SNAPSHOT_SOURCES
from snapshot_pipeline.orchestration.checks import check_day, snapshot_check_specs
from snapshot_pipeline.orchestration.day_metadata import days_metadata
from snapshot_pipeline.orchestration.descriptions import described
from snapshot_pipeline.orchestration.failures import StepContext
from snapshot_pipeline.orchestration.freshness import daily_freshness
from snapshot_pipeline.orchestration.partitioned_checks import log_by_partition
from snapshot_pipeline.orchestration.partitions import daily_partitions
from snapshot_pipeline.orchestration.plots import Metadata
from snapshot_pipeline.orchestration.reporting import report_days
from snapshot_pipeline.orchestration.steps import log_progress, step_installation
from snapshot_pipeline.orchestration.table_metadata import store_table_metadata
from snapshot_pipeline.orchestration.tags import EACH_DAY, GRAIN, reason_of
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.snapshots import SnapshotRun, run_days
from snapshot_pipeline.postgres.errors import retry_transient
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.days import DayCount, last_day_count_before

NAME = "performance_snapshots"
KEY = dg.AssetKey(NAME)


def build_performance_snapshots(settings: Settings) -> dg.AssetsDefinition:
    """The daily asset of one installation."""

    @dg.asset(
        name=NAME,
        description=_description(settings),
        group_name=SNAPSHOTS_GROUP,
        owners=settings.owners,
        kinds={"postgres", "pandas"},
        tags={GRAIN: EACH_DAY},
        metadata=store_table_metadata(NAME, settings),
        partitions_def=daily_partitions(settings),
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=settings.days_per_run),
        freshness_policy=daily_freshness(settings),
        deps=[table_key(table) for table in SNAPSHOT_SOURCES],
        check_specs=snapshot_check_specs(NAME, settings),
        pool=pools.SNAPSHOTS,
    )
    def performance_snapshots(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        days = [date.fromisoformat(partition) for partition in context.partition_keys]
        with step_installation(context, settings) as installation:
            computed = compute_days(context, installation, days[0], days[-1], reason_of(context.run.tags))
        for day, metadata in computed.metadata.items():
            context.add_asset_metadata(metadata, partition_key=day.isoformat())
        yield dg.MaterializeResult()
        yield from log_by_partition(context, computed.checks)

    return performance_snapshots


@dataclass(frozen=True)
class ComputedDays:
    """Some days that are published, and what is to be told of each.

    Attributes:
        metadata: What the UI shows of each day, ascending.
        checks: The results of each day's checks.
    """

    metadata: dict[date, Metadata]
    checks: dict[date, list[dg.AssetCheckResult]]


def compute_days(
    context: StepContext, installation: Installation, first: date, last: date, reason: str
) -> ComputedDays:
    """Compute and publish the days `first … last`, and look at what came of each.

    Args:
        context: The step that does it; nothing is yielded or logged but progress.
        installation: Where.
        first: The first day.
        last: The last day, included.
        reason: Why, noted with each figure that is restated; one of `pipeline.reasons`.
    """
    earlier = retry_transient(partial(_earlier_count, installation, first))
    run = run_days(installation, first, last, context.run.run_id, log_progress(context), reason)
    report_days(context, NAME, run)
    metadata = days_metadata(context, installation, run)
    return ComputedDays(metadata, _checks(run, earlier, installation.settings))


def _earlier_count(installation: Installation, day: date) -> DayCount | None:
    with installation.engine.connect() as connection:
        return last_day_count_before(connection, installation.store, day)


def _checks(run: SnapshotRun, earlier: DayCount | None, settings: Settings) -> dict[date, list[dg.AssetCheckResult]]:
    results: dict[date, list[dg.AssetCheckResult]] = {}
    for report in run.reports:
        results[report.day] = check_day(report, earlier, run.seconds, settings)
        earlier = report.count
    return results


def _description(settings: Settings) -> str:
    return described(
        "One row per active student and day: pace score, quiz average, lessons completed and minutes spent. Students "
        "whose rows in the platform cannot be right have a row in `snapshot_failures` instead. Computing a day again "
        "writes what differs, and notes each figure that changes in `snapshot_restatements`.",
        reads="the platform's users, progress, quiz attempts and exercises; never another day's snapshots.",
        runs=(
            f"every night at 00:00 ({settings.timezone}) for the day that has just ended, for days whose rows came "
            "late, and for any days by *Materialize*, a backfill or the job `recompute_days_job`. 50,000 students take "
            "seconds."
        ),
        remediation=(
            "a failed run has one line that says what to do. A missing day: materialize it; days can be computed in "
            "any order. A red check: open it, it says what was found and what to do."
        ),
    )

"""The daily summaries: one row per day, specialization and level, and one per day.

Put here: the assets' definition, and the events of a day's summary. Do not put here: how a day is summarized
(`pipeline.summaries`).
"""

# No `from __future__ import annotations` here: Dagster reads the annotation of `context` as it stands.
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg

from snapshot_pipeline.orchestration import pools
from snapshot_pipeline.orchestration.asset_keys import SNAPSHOTS_GROUP, table_key
from snapshot_pipeline.orchestration.assets import performance_snapshots
from snapshot_pipeline.orchestration.checks import check_summary, summary_check_specs
from snapshot_pipeline.orchestration.descriptions import described
from snapshot_pipeline.orchestration.freshness import daily_freshness
from snapshot_pipeline.orchestration.partitioned_checks import log_by_partition, partition_events
from snapshot_pipeline.orchestration.partitions import daily_partitions, ranges
from snapshot_pipeline.orchestration.steps import log_progress, step_installation
from snapshot_pipeline.orchestration.table_metadata import store_table_metadata
from snapshot_pipeline.orchestration.tags import EACH_DAY, GRAIN
from snapshot_pipeline.pipeline.summaries import SummarizedDay, SummaryRun, summarize_days
from snapshot_pipeline.settings import Settings

NAME = "cohort_summary"
KEY = dg.AssetKey(NAME)


def build_cohort_summary(settings: Settings) -> dg.AssetsDefinition:
    """The daily asset of one installation."""

    @dg.asset(
        name=NAME,
        description=_description(settings),
        group_name=SNAPSHOTS_GROUP,
        owners=settings.owners,
        kinds={"postgres", "pandas"},
        tags={GRAIN: EACH_DAY},
        metadata=store_table_metadata(NAME, settings),
        freshness_policy=daily_freshness(settings),
        partitions_def=daily_partitions(settings),
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=settings.days_per_run),
        deps=[performance_snapshots.KEY, table_key("users")],
        check_specs=summary_check_specs(NAME, settings),
        pool=pools.SNAPSHOTS,
    )
    def cohort_summary(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        days = [date.fromisoformat(partition) for partition in context.partition_keys]
        with step_installation(context, settings) as installation:
            run = summarize_days(installation, days[0], days[-1], context.run.run_id, log_progress(context))
        for day in run.days:
            context.add_asset_metadata(day_metadata(day, run), partition_key=day.day.isoformat())
        yield dg.MaterializeResult()
        yield from log_by_partition(context, {day.day: [check_summary(day)] for day in run.days})

    return cohort_summary


def day_metadata(day: SummarizedDay, run: SummaryRun) -> dict[str, dg.MetadataValue]:
    """How many students and cohorts a day has, and how long the run took that has summarized it."""
    metadata: dict[str, dg.MetadataValue] = {
        "students": dg.MetadataValue.int(day.students),
        "failed": dg.MetadataValue.int(day.failed),
        "cohorts": dg.MetadataValue.int(day.cohorts),
        "students_without_cohort": dg.MetadataValue.int(day.without_cohort),
        "run_seconds": dg.MetadataValue.float(round(run.seconds, 3)),
        "dagster/partition_row_count": dg.MetadataValue.int(day.cohorts),
    }
    if day.pace_median is not None:
        metadata["median_pace_score"] = dg.MetadataValue.float(day.pace_median)
    return metadata


def summarized_again(context: dg.OpExecutionContext, settings: Settings, days: Sequence[date]) -> Iterator[Any]:
    """Summarize days again whose snapshots a job of its own has changed, and file the events of each."""
    for first, last in ranges(days, settings):
        with step_installation(context, settings) as installation:
            run = summarize_days(installation, first, last, context.run_id)
        yield from partition_events(
            context.instance,
            KEY,
            {day.day: day_metadata(day, run) for day in run.days},
            {day.day: [check_summary(day)] for day in run.days},
        )


def _description(settings: Settings) -> str:
    return described(
        "One row per day, specialization and level: students, active students, mean and quartiles of pace, students "
        "by label, quiz average, minutes, lessons, students inactive for 7 and for 14 days, failed students. "
        "`day_summary` has the same of all students, one row a day.",
        reads=(
            "`performance_snapshots` and `snapshot_failures`, and the specialization and level that the platform's "
            "users have now."
        ),
        runs=(
            f"after the snapshots in the same run, every night at 00:00 ({settings.timezone}) and for any days by "
            "*Materialize*; summarizing a day again writes what differs."
        ),
        remediation=(
            "the snapshots are there and stay; the run's one line says what to do, and the next night asks for the "
            "summary again. By hand: materialize this asset alone, for the same days."
        ),
    )

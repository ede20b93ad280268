"""The daily asset `cohort_summary`: one row per day, specialization and level, and one row per day."""

# No `from __future__ import annotations` here: Dagster reads the annotation of `context` at run time.
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg

from snapshot_pipeline.orchestration.assets import performance_snapshots
from snapshot_pipeline.orchestration.checks import check_summary, summary_check_specs
from snapshot_pipeline.orchestration.day_metadata import Metadata
from snapshot_pipeline.orchestration.names import DATABASES, GRAIN_TAG, SNAPSHOTS_GROUP, SNAPSHOTS_POOL
from snapshot_pipeline.orchestration.partitioned_checks import log_by_partition, partition_events
from snapshot_pipeline.orchestration.partitions import daily_freshness, daily_partitions, run_ranges
from snapshot_pipeline.orchestration.steps import log_progress, requested_days, step_installation
from snapshot_pipeline.orchestration.table_metadata import store_table_metadata, table_key
from snapshot_pipeline.pipeline.periods import days_text
from snapshot_pipeline.pipeline.summaries import SummarizedDay, SummaryRun, summarize_days
from snapshot_pipeline.plots.text import count_noun
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.snapshot_queries import count_restatements

NAME = "cohort_summary"
KEY = dg.AssetKey(NAME)


def build_cohort_summary(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        name=NAME,
        description=(
            "One row per day, specialization and level: students, active students, mean and quartiles of pace, "
            "students by label, quiz average, minutes, lessons, students inactive for 7 and for 14 days, and failed "
            "students. "
            "`day_summary` has the same for all students, one row per day."
        ),
        group_name=SNAPSHOTS_GROUP,
        owners=settings.owners,
        required_resource_keys=DATABASES,
        kinds={"postgres", "pandas"},
        tags={GRAIN_TAG: "day"},
        metadata=store_table_metadata(NAME, settings),
        freshness_policy=daily_freshness(settings),
        partitions_def=daily_partitions(settings),
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=settings.days_per_run),
        deps=[performance_snapshots.KEY, table_key("users")],
        check_specs=summary_check_specs(NAME, settings),
        pool=SNAPSHOTS_POOL,
    )
    def cohort_summary(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        first, last = requested_days(context, settings)
        with step_installation(context, settings) as installation:
            run = summarize_days(installation, first, last, context.run.run_id, log_progress(context))
            changed = installation.transaction(count_restatements, first, last, context.run.run_id)
        context.log.info(_outcome(run, changed))
        for day in run.days:
            context.add_asset_metadata(summary_metadata(day), partition_key=day.day.isoformat())
        yield dg.MaterializeResult()
        yield from log_by_partition(context, {day.day: [check_summary(day)] for day in run.days})

    return cohort_summary


def _outcome(run: SummaryRun, changed: int) -> str:
    """Return what the run, and not only this step, has achieved: it is the last line of a nightly run's log."""
    days = run.days
    return (
        f"{days_text(days[0].day, days[-1].day)}: {count_noun(len(days), 'day')} summarized, "
        f"{count_noun(sum(day.students for day in days), 'student-day')} published, "
        f"{sum(day.failed for day in days):,} failed, "
        f"{sum(day.count.with_issues for day in days):,} with invalid rows, "
        f"{count_noun(changed, 'earlier figure')} changed, {count_noun(run.changed, 'summary row')} written, "
        f"in {run.seconds:,.1f} s"
    )


def summary_metadata(day: SummarizedDay) -> Metadata:
    median = {} if day.pace_median is None else {"median_pace_score": day.pace_median}
    return {
        "students": day.students,
        "failed": day.failed,
        "cohorts": day.cohorts,
        "students_without_cohort": day.without_cohort,
        **median,
    }


def summarize_again(context: dg.OpExecutionContext, settings: Settings, days: Sequence[date]) -> Iterator[Any]:
    """Summarize the days whose snapshots a manual job has changed, and yield the events of each."""
    for first, last in run_ranges(days, settings):
        with step_installation(context, settings) as installation:
            run = summarize_days(installation, first, last, context.run_id)
        yield from partition_events(
            context.instance,
            KEY,
            {day.day: summary_metadata(day) for day in run.days},
            {day.day: [check_summary(day)] for day in run.days},
        )

"""One row per day, specialization and level: how many students, how many of them active, mean and quartiles of pace.

And, by the same columns: students by label, mean quiz average, minutes, lessons, students inactive for 7 and for 14
days, students that failed. `day_summary` has the same figures of all students, one row a day. Reads
`performance_snapshots` and `snapshot_failures`, and the specialization and level that the learning platform's users
have now; publishes to both tables in one transaction. Runs after the snapshots in the same run, every night and for any
range of days; summarizing a day again writes what differs.

When a run is red here: the snapshots are there and stay; its error is one line that says what to do. The next night
asks for the summary again. By hand: materialize this asset alone, for the same days; a day of 50,000 students takes a
fraction of a second.
"""

# No `from __future__ import annotations` here: Dagster reads the annotation of `context` as it stands.
from collections.abc import Iterator
from datetime import date

import dagster as dg

from snapshot_pipeline.orchestration import pools
from snapshot_pipeline.orchestration.assets import performance_snapshots
from snapshot_pipeline.orchestration.assets.learning_platform import key
from snapshot_pipeline.orchestration.checks import check_summary, file_by_day, summary_check_specs
from snapshot_pipeline.orchestration.partitions import daily_partitions
from snapshot_pipeline.orchestration.steps import SUMMARIZED, logged_progress, opened_step
from snapshot_pipeline.pipeline.cohorts import SummarizedDay, summarize_days
from snapshot_pipeline.settings import Settings

NAME = "cohort_summary"
KEY = dg.AssetKey(NAME)


def build_cohort_summary(settings: Settings) -> dg.AssetsDefinition:
    """The daily asset of one installation."""

    @dg.asset(
        name=NAME,
        description=__doc__,
        group_name="snapshots",
        kinds={"postgres", "pandas"},
        metadata={"dagster/table_name": f"{settings.store_schema}.{NAME}"},
        partitions_def=daily_partitions(settings),
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=settings.days_per_run),
        deps=[performance_snapshots.KEY, key("users")],
        check_specs=summary_check_specs(NAME, settings),
        pool=pools.SNAPSHOTS,
    )
    def cohort_summary(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        days = [date.fromisoformat(partition) for partition in context.partition_keys]
        with opened_step(context, settings) as installation:
            progress = logged_progress(context, SUMMARIZED)
            run = summarize_days(installation, days[0], days[-1], context.run.run_id, progress)
        for day in run.days:
            metadata = {**day_metadata(day), "run_seconds": dg.MetadataValue.float(round(run.seconds, 3))}
            context.add_asset_metadata(metadata, partition_key=day.day.isoformat())
        yield dg.MaterializeResult()
        yield from file_by_day(context, {day.day: [check_summary(day)] for day in run.days})

    return cohort_summary


def day_metadata(day: SummarizedDay) -> dict[str, dg.MetadataValue]:
    """How many students and cohorts a day has."""
    metadata: dict[str, dg.MetadataValue] = {
        "students": dg.MetadataValue.int(day.students),
        "failed": dg.MetadataValue.int(day.failed),
        "cohorts": dg.MetadataValue.int(day.cohorts),
        "students_without_cohort": dg.MetadataValue.int(day.without_cohort),
        "dagster/partition_row_count": dg.MetadataValue.int(day.cohorts),
    }
    if day.pace_median is not None:
        metadata["median_pace_score"] = dg.MetadataValue.float(day.pace_median)
    return metadata

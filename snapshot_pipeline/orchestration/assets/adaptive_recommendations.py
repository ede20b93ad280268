"""Up to five recommendations per active student for the week that has just ended, best first.

Reads the week's snapshots, and the learning platform's lessons, quiz attempts and progress; publishes to
`adaptive_recommendations`. Runs every Monday at 06:00. The newest week's recommendations are the active ones;
materializing an older week never takes their place, and what a student has dismissed stays dismissed.

When a run is red: the Sunday's snapshots are missing, or its error says in one line what else to do. Materialize the
days that are named, then the week again.
"""

# No `from __future__ import annotations` here: Dagster reads the annotation of `context` as it stands.
from datetime import date

import dagster as dg

from snapshot_pipeline.orchestration import pools
from snapshot_pipeline.orchestration.assets import performance_snapshots
from snapshot_pipeline.orchestration.assets.learning_platform import RECOMMENDATION_SOURCES, key
from snapshot_pipeline.orchestration.checks import check_reach, check_week_complete, recommendation_check_specs
from snapshot_pipeline.orchestration.partitions import weekly_partitions
from snapshot_pipeline.orchestration.reporting import report_week
from snapshot_pipeline.orchestration.steps import opened_step, told_progress
from snapshot_pipeline.pipeline.recommendations import WeekReport, run_week
from snapshot_pipeline.settings import Settings

NAME = "adaptive_recommendations"
KEY = dg.AssetKey(NAME)


def build_adaptive_recommendations(settings: Settings) -> dg.AssetsDefinition:
    """The weekly asset of one installation."""

    @dg.asset(
        name=NAME,
        description=__doc__,
        group_name="recommendations",
        kinds={"postgres", "pandas"},
        metadata={"dagster/table_name": f"{settings.store_schema}.{NAME}"},
        partitions_def=weekly_partitions(settings),
        deps=[performance_snapshots.KEY, *(key(table) for table in RECOMMENDATION_SOURCES)],
        check_specs=recommendation_check_specs(NAME, settings),
        pool=pools.RECOMMENDATIONS,
    )
    def adaptive_recommendations(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        week_start = date.fromisoformat(context.partition_key)
        with opened_step(context, settings) as installation:
            report = run_week(installation, week_start, context.run.run_id, told_progress(context))
        report_week(context, report)
        for user_id, error in report.failed.items():
            context.log.warning(f"student {user_id} keeps the recommendations of before: {error}")
        return dg.MaterializeResult(
            metadata=_metadata(report), check_results=[check_reach(report), check_week_complete(report)]
        )

    return adaptive_recommendations


def _metadata(report: WeekReport) -> dict[str, dg.MetadataValue]:
    return {
        "receivers": dg.MetadataValue.int(report.receivers),
        "students_reached": dg.MetadataValue.int(report.reached),
        **{kind.lower(): dg.MetadataValue.int(count) for kind, count in sorted(report.types.items())},
        "is_newest_week": dg.MetadataValue.bool(report.is_newest),
        "run_seconds": dg.MetadataValue.float(round(report.seconds, 3)),
        "dagster/partition_row_count": dg.MetadataValue.int(report.types.total()),
    }

"""The weekly asset: up to five recommendations per active student.

Put here: the asset, and what is shown of a week. Do not put here: how a week is computed (`pipeline.recommendations`),
what is recommended (`recommendations`), or when it runs (`schedules`).
"""

# No `from __future__ import annotations` here: Dagster reads the annotation of `context` as it stands.
from collections.abc import Mapping
from datetime import date, timedelta

import dagster as dg

from snapshot_pipeline.orchestration import pools
from snapshot_pipeline.orchestration.asset_keys import RECOMMENDATIONS_GROUP, table_key
from snapshot_pipeline.orchestration.assets import performance_snapshots
from snapshot_pipeline.orchestration.assets.learning_platform import RECOMMENDATION_SOURCES
from snapshot_pipeline.orchestration.checks import (
    check_recommendation_coverage,
    check_week_complete,
    recommendation_check_specs,
)
from snapshot_pipeline.orchestration.descriptions import described
from snapshot_pipeline.orchestration.freshness import weekly_freshness
from snapshot_pipeline.orchestration.partitions import weekly_partitions
from snapshot_pipeline.orchestration.plots import Metadata, best_effort, week_plot
from snapshot_pipeline.orchestration.reporting import report_week
from snapshot_pipeline.orchestration.steps import log_progress, step_installation
from snapshot_pipeline.orchestration.table_metadata import store_table_metadata
from snapshot_pipeline.orchestration.tags import EACH_WEEK, GRAIN
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.recommendations import WeekReport, run_week
from snapshot_pipeline.recommendations.rules import RECOMMENDATION_TYPES
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.recommendations import counts_by_week

NAME = "adaptive_recommendations"
KEY = dg.AssetKey(NAME)

TYPES = tuple(kind.name for kind in RECOMMENDATION_TYPES)

COMPARED_WEEKS = 8
"""How many weeks the picture shows, the week itself included."""


def build_adaptive_recommendations(settings: Settings) -> dg.AssetsDefinition:
    """The weekly asset of one installation."""

    @dg.asset(
        name=NAME,
        description=_description(settings),
        group_name=RECOMMENDATIONS_GROUP,
        owners=settings.owners,
        kinds={"postgres", "pandas"},
        tags={GRAIN: EACH_WEEK},
        metadata=store_table_metadata(NAME, settings),
        partitions_def=weekly_partitions(settings),
        freshness_policy=weekly_freshness(settings),
        deps=[performance_snapshots.KEY, *(table_key(table) for table in RECOMMENDATION_SOURCES)],
        check_specs=recommendation_check_specs(NAME, settings),
        pool=pools.RECOMMENDATIONS,
    )
    def adaptive_recommendations(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        week_start = date.fromisoformat(context.partition_key)
        with step_installation(context, settings) as installation:
            report = run_week(installation, week_start, context.run.run_id, log_progress(context))
            metadata = _numbers(report)
            with best_effort(context, f"the review of the week of {week_start}"):
                weeks = _counts_by_week(installation, week_start)
                metadata = {**_reviewed(context, report, weeks), **metadata}
        report_week(context, report)
        for user_id, error in report.failed.items():
            context.log.warning(f"student {user_id} keeps the recommendations of before: {error}")
        return dg.MaterializeResult(
            metadata=metadata, check_results=[check_recommendation_coverage(report), check_week_complete(report)]
        )

    return adaptive_recommendations


def _counts_by_week(installation: Installation, week_start: date) -> dict[date, dict[str, int]]:
    with installation.engine.connect() as connection:
        first = week_start - timedelta(weeks=COMPARED_WEEKS - 1)
        return counts_by_week(connection, installation.store, first, week_start)


def _numbers(report: WeekReport) -> Metadata:
    share = {} if report.coverage is None else {"coverage": dg.MetadataValue.float(report.coverage)}
    return {
        "receivers": dg.MetadataValue.int(report.recipients),
        "students_reached": dg.MetadataValue.int(report.with_recommendation),
        **share,
        "failed": dg.MetadataValue.int(len(report.failed)),
        # Every type, also where it is 0: a plot has no hole then.
        **{kind.lower(): dg.MetadataValue.int(report.types[kind]) for kind in TYPES},
        "is_newest_week": dg.MetadataValue.bool(report.is_newest),
        "run_seconds": dg.MetadataValue.float(round(report.seconds, 3)),
        "rows_per_second": dg.MetadataValue.float(round(report.types.total() / max(report.seconds, 1e-9), 1)),
        "dagster/partition_row_count": dg.MetadataValue.int(report.types.total()),
    }


def _reviewed(
    context: dg.AssetExecutionContext, report: WeekReport, weeks: Mapping[date, Mapping[str, int]]
) -> Metadata:
    """The picture and the table of the types; the rows of the week itself are counted by its run."""
    before = weeks.get(max((week for week in weeks if week < report.week_start), default=report.week_start), {})
    table = dg.MetadataValue.table(
        [
            dg.TableRecord({"type": kind, "students": report.types[kind], "week_before": before.get(kind, 0)})
            for kind in sorted(TYPES, key=lambda kind: -report.types[kind])
        ],
        schema=dg.TableSchema(
            [dg.TableColumn("type"), dg.TableColumn("students", "int"), dg.TableColumn("week_before", "int")]
        ),
    )
    return {**week_plot(context, report, weeks), "by_type": table}


def _description(settings: Settings) -> str:
    return described(
        "Up to five recommendations per active student for the week that has just ended, best first. The newest "
        "week's are the active ones; computing an older week never takes their place, and what a student has "
        "dismissed stays dismissed.",
        reads="the week's `performance_snapshots`; the platform's users, lessons, progress, quizzes and attempts.",
        runs=f"every Monday at 06:00 ({settings.timezone}), and for any week by *Materialize*.",
        remediation=(
            "most often the Sunday has no snapshots: the run's one line names the days to materialize; do that, then "
            "materialize the week again."
        ),
    )

"""The weekly asset `adaptive_recommendations`: up to three recommendations per active student."""

# No `from __future__ import annotations` here: Dagster reads the annotation of `context` at run time.
from collections.abc import Mapping
from datetime import date, timedelta

import dagster as dg

from snapshot_pipeline.orchestration.assets.weekly import COMPARED_WEEKS, weekly_asset
from snapshot_pipeline.orchestration.checks import check_week, recommendation_check_specs
from snapshot_pipeline.orchestration.day_metadata import Metadata, table
from snapshot_pipeline.orchestration.steps import (
    StepContext,
    best_effort,
    log_progress,
    report_week,
    requested_week,
    step_installation,
)
from snapshot_pipeline.pipeline.recommendations import WeekReport, run_week
from snapshot_pipeline.plots.text import count_noun
from snapshot_pipeline.recommendations.rules import RECOMMENDATION_TYPES
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.recommendations import counts_by_week

NAME = "adaptive_recommendations"
KEY = dg.AssetKey(NAME)

TYPES = tuple(kind.name for kind in RECOMMENDATION_TYPES)


def build_adaptive_recommendations(settings: Settings) -> dg.AssetsDefinition:
    @weekly_asset(
        NAME,
        (
            "Up to three recommendations per active student for the week that has just ended, best first. Only the "
            "newest week's recommendations are active, and dismissed ones stay dismissed."
        ),
        recommendation_check_specs(NAME, settings),
        settings,
    )
    def adaptive_recommendations(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        week_start = requested_week(context, settings)
        with step_installation(context, settings) as installation:
            report = run_week(installation, week_start, context.run.run_id, log_progress(context))
            metadata = _week_numbers(report)
            with best_effort(context, f"the details of the week of {week_start}"):
                first = week_start - timedelta(weeks=COMPARED_WEEKS - 1)
                weeks = installation.transaction(counts_by_week, first, week_start)
                metadata = {**_week_plot(context, report, weeks), "by_type": _types_table(report, weeks), **metadata}
        report_week(context, report)
        for user_id, error in report.failed.items():
            context.log.warning(f"student {user_id} failed and keeps the previous recommendations: {error}")
        context.log.info(
            f"week of {week_start}: {count_noun(report.types.total(), 'recommendation')} for "
            f"{report.with_recommendation:,} of {count_noun(report.recipients, 'student')}, "
            f"{len(report.failed):,} failed, {report.added:,} added to the week, in {report.seconds:,.1f} s"
        )
        return dg.MaterializeResult(metadata=metadata, check_results=check_week(report, settings))

    return adaptive_recommendations


def _week_numbers(report: WeekReport) -> Metadata:
    share = {} if report.coverage is None else {"coverage": report.coverage}
    return {
        "recipients": report.recipients,
        "students_with_lesson_left": report.expected,
        "students_with_recommendation": report.with_recommendation,
        **share,
        "failed": len(report.failed),
        # Every type, even if it is 0, so that its plot has no gap.
        **{kind.lower(): report.types[kind] for kind in TYPES},
        "is_newest_week": report.is_newest,
        "run_seconds": round(report.seconds, 3),
        "rows_per_second": round(report.types.total() / max(report.seconds, 1e-9), 1),
        "dagster/partition_row_count": report.types.total(),
    }


def _types_table(report: WeekReport, weeks: Mapping[date, Mapping[str, int]]) -> dg.TableMetadataValue:
    """Return the recommendations by type, of the week and of the week before it; null if that one has none."""
    before = weeks.get(report.week_start - timedelta(weeks=1))
    return table(
        [
            {"type": kind, "students": report.types[kind], "week_before": before.get(kind, 0) if before else None}
            for kind in sorted(TYPES, key=lambda kind: -report.types[kind])
        ],
        {"type": "string", "students": "int", "week_before": "int"},
    )


def _week_plot(context: StepContext, report: WeekReport, earlier: Mapping[date, Mapping[str, int]]) -> Metadata:
    """Plot the recommendations by type of the last `COMPARED_WEEKS` weeks."""
    plots: Metadata = {}
    with best_effort(context, f"the plot of the week of {report.week_start}"):
        from snapshot_pipeline.plots.recommendations import draw_weeks

        # The counts of the week itself come from its run.
        plot = draw_weeks({**earlier, report.week_start: report.types})
        plots["recommendations_by_week"] = dg.MetadataValue.md(plot.markdown())
    return plots

"""The weekly asset `at_risk_students`: the students who need a person, with the reasons."""

# No `from __future__ import annotations` here: Dagster reads the annotation of `context` at run time.
from collections.abc import Mapping
from datetime import date, timedelta

import dagster as dg

from snapshot_pipeline.orchestration.assets.weekly import COMPARED_WEEKS, weekly_asset
from snapshot_pipeline.orchestration.checks import at_risk_check_specs, check_at_risk
from snapshot_pipeline.orchestration.day_metadata import Metadata
from snapshot_pipeline.orchestration.steps import (
    StepContext,
    best_effort,
    log_progress,
    requested_week,
    step_installation,
)
from snapshot_pipeline.pipeline.at_risk import AtRiskReport, run_at_risk
from snapshot_pipeline.plots.text import count_noun, percentage
from snapshot_pipeline.recommendations.at_risk import REASON_CODES, STATES
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.at_risk import AtRiskWeek, at_risk_weeks

NAME = "at_risk_students"
KEY = dg.AssetKey(NAME)


def build_at_risk_students(settings: Settings) -> dg.AssetsDefinition:
    @weekly_asset(
        NAME,
        (
            "The students who need a person, with up to three reasons each: with a low engagement score, dormant, "
            "or not started. `snapshot-pipeline at-risk` shows them."
        ),
        at_risk_check_specs(NAME, settings),
        settings,
    )
    def at_risk_students(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        week_start = requested_week(context, settings)
        with step_installation(context, settings) as installation:
            report = run_at_risk(installation, week_start, context.run.run_id, log_progress(context))
            metadata = _run_numbers(report)
            with best_effort(context, f"the details of the week of {week_start}"):
                first = week_start - timedelta(weeks=COMPARED_WEEKS - 1)
                weeks = installation.transaction(at_risk_weeks, first, week_start)
                metadata = {**_plots(context, weeks), **_week_numbers(weeks[week_start]), **metadata}
        if report.failed:
            # No ids and no messages, which may quote rows: who is at risk stays in the table.
            kinds = sorted({error.partition(":")[0] for error in report.failed.values()})
            context.log.warning(
                f"{count_noun(len(report.failed), 'student')} could not be computed: {', '.join(kinds)}"
            )
        context.log.info(
            f"week of {week_start}: {report.rows:,} of {count_noun(report.students, 'student')} at risk, "
            f"{len(report.failed):,} failed, {report.changed:,} changed, in {report.seconds:,.1f} s"
        )
        return dg.MaterializeResult(metadata=metadata, check_results=[check_at_risk(report, settings)])

    return at_risk_students


def _run_numbers(report: AtRiskReport) -> Metadata:
    share = {} if report.listed_share is None else {"percent_listed": percentage(report.listed_share)}
    return {
        "students": report.students,
        "students_with_score": report.with_score,
        **share,
        "failed": len(report.failed),
        "run_seconds": round(report.seconds, 3),
        "dagster/partition_row_count": report.rows,
    }


def _week_numbers(week: AtRiskWeek) -> Metadata:
    """Return the numbers by state and reason, 0 included, so that a plot over the weeks has no gap."""
    changes = {} if week.new is None or week.left is None else {"new": week.new, "left": week.left}
    median = {} if week.median_weeks_listed is None else {"median_weeks_listed": week.median_weeks_listed}
    return {
        **{state: week.states.get(state, 0) for state in STATES},
        **changes,
        **median,
        **{f"reason_{code.lower()}": week.reasons.get(code, 0) for code in REASON_CODES},
    }


def _plots(context: StepContext, weeks: Mapping[date, AtRiskWeek]) -> Metadata:
    """Plot the students by state and by reason over the weeks."""
    plots: Metadata = {}
    with best_effort(context, "the plots of the students at risk"):
        from snapshot_pipeline.plots.at_risk import draw_reasons, draw_states

        states = draw_states({start: week.states for start, week in weeks.items()}, STATES)
        reasons = draw_reasons({start: week.reasons for start, week in weeks.items()}, REASON_CODES)
        plots["by_state"] = dg.MetadataValue.md(states.markdown())
        plots["by_reason"] = dg.MetadataValue.md(reasons.markdown())
    return plots

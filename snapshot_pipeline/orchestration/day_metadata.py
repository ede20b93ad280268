"""The metadata of a computed day in the UI: numbers that Dagster plots over the days, tables and plots.

The keys do not change: a plot over the days is interrupted where a key changes. Matplotlib is imported only when a plot
is drawn, because most processes draw none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg

from snapshot_pipeline.orchestration.steps import StepContext, best_effort
from snapshot_pipeline.pipeline.day_reports import CALENDAR, DayDetails, DayReport, read_day_details, success_rates
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.snapshots import SnapshotRun

Metadata = dict[str, Any]
"""Metadata by key: plain numbers and texts, from which Dagster infers the type, or `dagster.MetadataValue`s."""

DETAILED_DAYS = 7
"""Only the last day of a longer run gets tables and plots: a backfill of a year must not draw a thousand plots."""

SNAPSHOTS = "performance_snapshots"
MOVERS, WITHOUT_DATA = "largest_movers", "students_without_data"
PACE, FAILURES, CALENDAR_KEY = "pace_by_label", "failures_picture", "success_calendar"


def days_metadata(context: StepContext, installation: Installation, run: SnapshotRun) -> dict[date, Metadata]:
    """Return the metadata of each day of a run, ascending: the numbers of all days, tables and plots of a few."""
    detailed = run.reports if len(run.reports) <= DETAILED_DAYS else run.reports[-1:]
    details_by_day: dict[date, Metadata] = {}
    restated_before = 0
    for report in detailed:
        # On most nights the late days are unchanged, and only the last day is new.
        may_reuse = report is not run.reports[-1] and not restated_before
        reused = _reuse_details(context.instance, report) if may_reuse else {}
        details_by_day[report.day] = reused or details_metadata(context, installation, report)
        restated_before = report.restated
    last = run.reports[-1].day
    details_by_day[last] = {**_calendar(context, installation, last), **details_by_day[last]}
    # The UI keeps this order: plots and tables first.
    return {
        report.day: {**details_by_day.get(report.day, {}), **day_numbers(report), **_run_numbers(report, run)}
        for report in run.reports
    }


def day_numbers(report: DayReport) -> Metadata:
    """Return the counts and figures of a day, without the figures that are undefined for it."""
    count, paces = report.count, report.paces
    figures = {
        "mean_pace_score": paces.mean,
        "pace_score_lower_quartile": paces.percentile(0.25),
        "pace_score_median": paces.percentile(0.5),
        "pace_score_upper_quartile": paces.percentile(0.75),
        "mean_quiz_average": report.mean_quiz_average,
    }
    rate = {} if count.success_rate is None else {"success_rate": round(count.success_rate, 6)}
    return {
        "students": count.students,
        "published": count.published,
        "failed": count.failed,
        **rate,
        "active_students": report.active,
        "lessons_completed": report.lessons,
        "minutes_spent": report.minutes,
        "students_with_issues": count.with_issues,
        "restated": report.restated,
        "reranked": report.reranked,
        "removed": report.removed,
        **{name: round(value, 2) for name, value in figures.items() if value is not None},
        "dagster/partition_row_count": count.published,
        **failure_tables(report),
        **issue_table(report),
    }


def details_metadata(context: StepContext, installation: Installation, report: DayReport) -> Metadata:
    """Return the plots and tables of a day; those that cannot be made are left out with a warning."""
    metadata: Metadata = {}
    with best_effort(context, f"the details of {report.day}"):
        details = read_day_details(installation, report.day)
        metadata |= _day_plots(context, report, details)
        metadata |= {MOVERS: _movers_table(details), WITHOUT_DATA: _without_data_table(details)}
    return metadata


def failure_tables(report: DayReport) -> Metadata:
    """Return why students of a day failed, most frequent reason first, and the first ten; empty if none failed."""
    if not report.failures:
        return {}
    reasons: list[dict[str, str | float]] = [
        {"reason": reason, "students": students, "for_example": report.first_failed[reason]}
        for reason, students in report.failures.most_common()
    ]
    students: list[dict[str, str | float]] = [
        {"user_id": failed.user_id, "reason": failed.reason, "detail": failed.detail} for failed in report.examples
    ]
    return {
        "failures_by_reason": table(reasons, {"reason": "text", "students": "int", "for_example": "int"}),
        "first_failures": table(students, {"user_id": "int", "reason": "text", "detail": "text"}),
    }


def issue_table(report: DayReport) -> Metadata:
    """Return the invalid rows of a day by kind, with an example each; empty if there are none."""
    if not report.issues:
        return {}
    rows: list[dict[str, str | float]] = [
        {
            "issue": issue.issue,
            "rows": issue.rows,
            "students": issue.students,
            "for_example": f"{issue.source_table} {issue.source_key}",
            "detail": issue.detail,
        }
        for issue in report.issues
    ]
    columns = {"issue": "text", "rows": "int", "students": "int", "for_example": "text", "detail": "text"}
    return {"issues": table(rows, columns)}


def table(rows: Sequence[Mapping[str, str | float | None]], columns: Mapping[str, str]) -> dg.TableMetadataValue:
    """Return a table for the UI, with the type of each column by name; the columns are shown without rows, too."""
    return dg.MetadataValue.table(
        [dg.TableRecord(row) for row in rows],
        schema=dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns.items()]),
    )


def _reuse_details(instance: dg.DagsterInstance, report: DayReport) -> Metadata:
    """Return the stored plots and tables of a day whose numbers are unchanged; empty if there are none.

    The earlier distribution in the plot, of four weeks before, may have been restated since; it is updated when the day
    itself changes.
    """
    filter_ = dg.AssetRecordsFilter(dg.AssetKey(SNAPSHOTS), asset_partitions=[report.day.isoformat()])
    records = instance.fetch_materializations(filter_, limit=1).records
    event = records[0].asset_materialization if records else None
    if event is None or report.restated:
        return {}
    numbers = dg.AssetMaterialization(SNAPSHOTS, metadata=day_numbers(report)).metadata
    if any(
        event.metadata.get(name) != value for name, value in numbers.items() if name not in ("restated", "reranked")
    ):
        return {}
    return {name: event.metadata[name] for name in (PACE, FAILURES, MOVERS, WITHOUT_DATA) if name in event.metadata}


def _run_numbers(report: DayReport, run: SnapshotRun) -> Metadata:
    rows = sum(day.published for day in run.reports)
    return {
        "not_started_students": max(run.students - report.count.students, 0),
        "run_seconds": round(run.seconds, 3),
        "rows_per_second": round(rows / max(run.seconds, 1e-9), 1),
    }


def _day_plots(context: StepContext, report: DayReport, details: DayDetails) -> Metadata:
    """Plot the pace scores of a day against those of four weeks before, and why students failed, if any did."""
    plots: Metadata = {}
    with best_effort(context, f"the plot of the pace scores of {report.day}"):
        from snapshot_pipeline.plots import pace

        earlier = details.earlier_paces.by_label() if details.earlier_paces.students else None
        plot = pace.draw_distribution(report.day, report.paces.by_label(), details.earlier_day, earlier)
        plots[PACE] = dg.MetadataValue.md(plot.markdown())
    if report.failures:
        with best_effort(context, f"the plot of the failures of {report.day}"):
            from snapshot_pipeline.plots import success

            plots[FAILURES] = dg.MetadataValue.md(success.draw_failures(report.day, report.failures).markdown())
    return plots


def _calendar(context: StepContext, installation: Installation, last: date) -> Metadata:
    """Plot the success rates of the thirteen weeks up to a day."""
    plots: Metadata = {}
    with best_effort(context, "the calendar of success rates"):
        from snapshot_pipeline.plots import success

        settings = installation.settings
        first = max(last - CALENDAR, settings.start_date)
        rates = success_rates(installation, last)
        plot = success.draw_calendar(first, last, rates, settings.min_success_rate)
        plots[CALENDAR_KEY] = dg.MetadataValue.md(plot.markdown())
    return plots


def _movers_table(details: DayDetails) -> dg.TableMetadataValue:
    return table(
        [
            {
                "user_id": mover.user_id,
                "day_before": mover.before,
                "pace_score": mover.after,
                "change": round(mover.after - mover.before, 2),
            }
            for mover in details.pace_changes
        ],
        {"user_id": "int", "day_before": "float", "pace_score": "float", "change": "float"},
    )


def _without_data_table(details: DayDetails) -> dg.TableMetadataValue:
    kinds = {
        "nothing completed in the window, and no scored quiz: the pace score is 0": details.without_data.idle,
        "no scored quiz: there is no quiz average": details.without_data.unscored,
    }
    return table(
        [
            {"what": what, "students": students.students, "for_example": ", ".join(map(str, students.first))}
            for what, students in kinds.items()
        ],
        {"what": "text", "students": "int", "for_example": "text"},
    )

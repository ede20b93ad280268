"""What the UI shows of a computed day: numbers that it plots over the days, tables, pictures.

Put here: from what a run counted, and a look at the published day, to metadata. The names stay as they are: a plot
over the days breaks off where a name changes.
Do not put here: how anything is counted (`pipeline.day_reports`), or whether it is good enough (`checks`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import dagster as dg

from snapshot_pipeline.orchestration.asset_keys import table_key
from snapshot_pipeline.orchestration.failures import StepContext
from snapshot_pipeline.orchestration.plots import (
    FAILURES,
    PACE,
    Metadata,
    best_effort,
    calendar_plot,
    day_plots,
)
from snapshot_pipeline.pipeline.day_reports import DayDetails, DayReport, read_day_details, success_rates
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.snapshots import SnapshotRun

REVIEWED_DAYS = 7
"""A run of more days has tables and pictures for its last day only: a backfill of a year must not draw a thousand."""


SNAPSHOTS, MOVERS, WITHOUT_DATA = "performance_snapshots", "largest_movers", "students_without_data"


def days_metadata(context: StepContext, installation: Installation, run: SnapshotRun) -> dict[date, Metadata]:
    """The metadata of each day of a run, ascending: the numbers of all, tables and pictures of a few."""
    reviewed = run.reports if len(run.reports) <= REVIEWED_DAYS else run.reports[-1:]
    shown: dict[date, Metadata] = {}
    restated_before = 0
    for report in reviewed:
        # Most nights the late days come out as they were, and only the last one is new.
        may_be_kept = report is not run.reports[-1] and not restated_before
        kept = _kept(context.instance, report) if may_be_kept else {}
        shown[report.day] = kept or reviewed_metadata(context, installation, report)
        restated_before = report.restated
    last, settings = run.reports[-1].day, installation.settings
    with best_effort(context, "the calendar of success rates"):
        rates = success_rates(installation, last)
        shown[last] = {
            **calendar_plot(context, last, rates, settings.min_success_rate, settings.start_date),
            **shown[last],
        }
    # What is looked at first stands first: the UI keeps the order.
    return {
        report.day: {**shown.get(report.day, {}), **day_numbers(report), **_run_numbers(report, run)}
        for report in run.reports
    }


def day_numbers(report: DayReport) -> Metadata:
    """What is counted of a day, whoever computed it; a figure of nobody is left out."""
    count, paces = report.count, report.paces
    figures = {
        "mean_pace_score": paces.mean,
        "pace_score_lower_quartile": paces.percentile(0.25),
        "pace_score_median": paces.percentile(0.5),
        "pace_score_upper_quartile": paces.percentile(0.75),
        "mean_quiz_average": report.mean_quiz_average,
    }
    rate = {} if count.success_rate is None else {"success_rate": dg.MetadataValue.float(round(count.success_rate, 6))}
    return {
        "students": dg.MetadataValue.int(count.students),
        "published": dg.MetadataValue.int(count.published),
        "failed": dg.MetadataValue.int(count.failed),
        **rate,
        "active_students": dg.MetadataValue.int(report.active),
        "lessons_completed": dg.MetadataValue.int(report.lessons),
        "minutes_spent": dg.MetadataValue.int(report.minutes),
        "restated": dg.MetadataValue.int(report.restated),
        **{name: dg.MetadataValue.float(round(value, 2)) for name, value in figures.items() if value is not None},
        "dagster/partition_row_count": dg.MetadataValue.int(count.published),
        **_failure_tables(report),
    }


def reviewed_metadata(context: StepContext, installation: Installation, report: DayReport) -> Metadata:
    """The tables and pictures of a day; what cannot be made is left out, with a warning."""
    shown: Metadata = {}
    with best_effort(context, f"the review of {report.day}"):
        review = read_day_details(installation, report.day)
        shown |= day_plots(context, report, review)
        shown |= {MOVERS: _movers_table(review), WITHOUT_DATA: _without_data_table(review)}
    return shown


def _failure_tables(report: DayReport) -> Metadata:
    if not report.failures:
        return {}
    return {"failures_by_reason": failures_by_reason_table(report), "first_failures": failures_table(report)}


def failures_by_reason_table(report: DayReport) -> dg.TableMetadataValue:
    """Why students of a day failed, the most frequent reason first, each with the first student."""
    return _table(
        [
            {"reason": reason, "students": students, "for_example": report.first_failed[reason]}
            for reason, students in report.failures.most_common()
        ],
        {"reason": "text", "students": "int", "for_example": "int"},
    )


def failures_table(report: DayReport) -> dg.TableMetadataValue:
    """The first ten failed students of a day."""
    return _table(
        [{"user_id": one.user_id, "reason": one.reason, "detail": one.detail} for one in report.examples],
        {"user_id": "int", "reason": "text", "detail": "text"},
    )


def _kept(instance: dg.DagsterInstance, report: DayReport) -> Metadata:
    """The tables and pictures of a day that has come out as it was; nothing where it has not, or had none.

    A picture's other side, four weeks before, may have been restated since: it is drawn again with the day itself.
    """
    day = dg.AssetRecordsFilter(table_key(SNAPSHOTS), asset_partitions=[report.day.isoformat()])
    records = instance.fetch_materializations(day, limit=1).records
    event = records[0].asset_materialization if records else None
    numbers = {name: value for name, value in day_numbers(report).items() if name != "restated"}
    if event is None or report.restated or any(event.metadata.get(name) != value for name, value in numbers.items()):
        return {}
    return {name: event.metadata[name] for name in (PACE, FAILURES, MOVERS, WITHOUT_DATA) if name in event.metadata}


def _run_numbers(report: DayReport, run: SnapshotRun) -> Metadata:
    rows = sum(one.published for one in run.reports)
    return {
        "not_started_students": dg.MetadataValue.int(max(run.students - report.count.students, 0)),
        "run_seconds": dg.MetadataValue.float(round(run.seconds, 3)),
        "rows_per_second": dg.MetadataValue.float(round(rows / max(run.seconds, 1e-9), 1)),
    }


def _movers_table(review: DayDetails) -> dg.TableMetadataValue:
    return _table(
        [
            {
                "user_id": mover.user_id,
                "day_before": mover.before,
                "pace_score": mover.after,
                "change": round(mover.after - mover.before, 2),
            }
            for mover in review.pace_changes
        ],
        {"user_id": "int", "day_before": "float", "pace_score": "float", "change": "float"},
    )


def _without_data_table(review: DayDetails) -> dg.TableMetadataValue:
    kinds = {
        "nothing completed in the window, and no scored quiz: the pace score is 0": review.without_data.idle,
        "no scored quiz: there is no quiz average": review.without_data.unscored,
    }
    return _table(
        [
            {"what": what, "students": found.students, "for_example": ", ".join(map(str, found.first))}
            for what, found in kinds.items()
        ],
        {"what": "text", "students": "int", "for_example": "text"},
    )


def _table(rows: Sequence[Mapping[str, str | float]], columns: Mapping[str, str]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        [dg.TableRecord(row) for row in rows],
        schema=dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns.items()]),
    )

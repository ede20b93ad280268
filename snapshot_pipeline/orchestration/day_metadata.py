"""The metadata of a computed day in the UI: a summary, numbers that Dagster plots over the days, tables and plots.

The keys do not change: a plot over the days is interrupted where a key changes. Matplotlib is imported only when a plot
is drawn, because most processes draw none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg

from snapshot_pipeline.orchestration.steps import StepContext, best_effort
from snapshot_pipeline.pipeline.day_reports import CALENDAR, DayDetails, DayReport, read_day_details, success_rates
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.snapshots import SnapshotRun
from snapshot_pipeline.plots.text import count_noun, percent
from snapshot_pipeline.store.issues import ListedRow

Metadata = dict[str, Any]
"""Metadata by key: plain numbers and texts, from which Dagster infers the type, or `dagster.MetadataValue`s."""

DETAILED_DAYS = 7
"""The days of a longer run get no plots: a backfill of a year must not draw a thousand."""

SNAPSHOTS = "performance_snapshots"
SUMMARY = "summary"
PACE, FAILURES, CALENDAR_KEY = "pace_by_label", "failures_plot", "success_calendar"
MOVED = ("pace_change_lower_quartile", "pace_change_median", "pace_change_upper_quartile")
WITHOUT_DATA = ("students_with_pace_0", "students_without_quiz_average")


def days_metadata(context: StepContext, installation: Installation, run: SnapshotRun) -> dict[date, Metadata]:
    """Return the metadata of each day of a run, ascending; every day has the same keys, except for what failed."""
    details_by_day: dict[date, Metadata] = {}
    restated_before = 0
    for report in run.reports if len(run.reports) <= DETAILED_DAYS else ():
        # On most nights the late days are unchanged, and only the last day is new.
        may_reuse = report is not run.reports[-1] and not restated_before
        reused = _reuse_details(context.instance, report) if may_reuse else {}
        details_by_day[report.day] = reused or details_metadata(context, installation, report)
        restated_before = report.restated
    return {report.day: day_metadata(report, details_by_day.get(report.day, {})) for report in run.reports}


def day_metadata(report: DayReport, details: Metadata) -> Metadata:
    """Return the metadata of a day in the order of the UI: summary, numbers and tables, plots."""
    return {SUMMARY: _summary(report, details), **day_numbers(report), **details}


def _summary(report: DayReport, details: Metadata) -> dg.MarkdownMetadataValue:
    """Return a day in words; the UI hides Markdown of 1,000 characters and more."""
    count, paces = report.count, report.paces
    rate = "" if count.success_rate is None else f" ({percent(count.success_rate)})"
    rows = {
        "pace score: median (middle half)": _median([paces.percentile(share) for share in (0.25, 0.5, 0.75)]),
        "change since the day before": _median([_number(details.get(name)) for name in MOVED], "+"),
        "mean quiz average": "" if report.mean_quiz_average is None else f"{report.mean_quiz_average:.1f}",
        "active on the day": count_noun(report.active, "student"),
        "lessons completed": f"{report.lessons:,}",
        "minutes spent": f"{report.minutes:,}",
    }
    sentence = (
        f"**{count.published:,} of {count_noun(count.students, 'student')} published**{rate}\n\n"
        f"{count.failed:,} failed, {count.with_issues:,} with invalid rows\n\n"
        f"{count_noun(report.restated, 'earlier figure')} changed"
    )
    table = "".join(f"| {name} | {value} |\n" for name, value in rows.items() if value)
    return dg.MetadataValue.md(f"{sentence}\n\n| {report.day} | |\n|---|---|\n{table}")


def _median(quartiles: Sequence[float | None], sign: str = "") -> str:
    known = [quartile for quartile in quartiles if quartile is not None]
    if len(known) < len(quartiles):
        return ""
    lower, median, upper = known
    return f"{median:{sign}.1f} ({lower:{sign}.1f} to {upper:{sign}.1f})"


def _number(value: object) -> float | None:
    """Return a number of new metadata, or of metadata that Dagster has stored."""
    number = value.value if isinstance(value, dg.FloatMetadataValue | dg.IntMetadataValue) else value
    return float(number) if isinstance(number, int | float) else None


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
        **failure_tables(report),
        **issue_table(report),
    }


def details_metadata(context: StepContext, installation: Installation, report: DayReport) -> Metadata:
    """Return the plots and tables of a day; those that cannot be made are left out with a warning."""
    metadata: Metadata = {}
    with best_effort(context, f"the details of {report.day}"):
        details = read_day_details(installation, report.day)
        moved = details.pace_changes
        if moved is not None:
            quartiles = (moved.lower, moved.median, moved.upper)
            metadata |= {name: round(value, 2) for name, value in zip(MOVED, quartiles, strict=True)}
        counts = (details.without_data.idle, details.without_data.unscored)
        metadata |= dict(zip(WITHOUT_DATA, counts, strict=True))
        metadata |= _day_plots(context, report, details)
        metadata |= _calendar(context, installation, report.day)
    return metadata


def failure_tables(report: DayReport) -> Metadata:
    """Return why students of a day failed, most frequent reason first, and the first ten; empty if none failed."""
    if not report.failures:
        return {}
    by_reason = (
        {"reason": reason, "students": students, "for_example": report.first_failed[reason]}
        for reason, students in report.failures.most_common()
    )
    return {
        "failures_by_reason": table(by_reason, {"reason": "text", "students": "int", "for_example": "int"}),
        "first_failures": table(map(vars, report.examples), {"user_id": "int", "reason": "text", "detail": "text"}),
    }


def issue_table(report: DayReport) -> Metadata:
    """Return the invalid rows of a day by kind, with an example each; empty if there are none."""
    if not report.issues:
        return {}
    rows = (
        {
            "issue": issue.issue,
            "rows": issue.rows,
            "students": issue.students,
            "for_example": f"{issue.source_table} {issue.source_key}",
            "detail": issue.detail,
        }
        for issue in report.issues
    )
    columns = {"issue": "text", "rows": "int", "students": "int", "for_example": "text", "detail": "text"}
    return {"issues": table(rows, columns)}


def row_table(rows: Sequence[ListedRow]) -> Metadata:
    """Return invalid rows as a table; empty if there are none."""
    if not rows:
        return {}
    columns = {"source_table": "text", "source_key": "text", "issue": "text", "detail": "text"}
    return {"listed_rows": table(map(vars, rows), columns)}


def table(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> dg.TableMetadataValue:
    """Return a table for the UI, with the type of each column by name; the columns are shown without rows, too."""
    return dg.MetadataValue.table(
        [dg.TableRecord(row) for row in rows],
        schema=dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns.items()]),
    )


def _reuse_details(instance: dg.DagsterInstance, report: DayReport) -> Metadata:
    """Return the stored plots and tables of a day whose numbers are unchanged; empty if there are none.

    What the plots show of earlier days may have been restated since; it is updated when the day itself changes.
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
    return {
        name: event.metadata[name]
        for name in (*MOVED, *WITHOUT_DATA, PACE, FAILURES, CALENDAR_KEY)
        if name in event.metadata
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

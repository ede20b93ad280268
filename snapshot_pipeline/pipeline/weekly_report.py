"""Read the figures of a week and write its report.

summaries, recommendations, failures ──▶ ReportFigures ──▶ words, plots, page ──▶ <home>/reports/<monday>.html
(store)                           (report, pure)                          (here)
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from snapshot_pipeline.pipeline.advice_outcomes import read_outcomes
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.report_files import ReportError, delete_expired_reports, report_path, save_report
from snapshot_pipeline.postgres.errors import retry_transient
from snapshot_pipeline.report.changes import tiles
from snapshot_pipeline.report.figures import DAYS, WEEKS_SHOWN, AtRiskFigures, GroupFigures, ReportFigures
from snapshot_pipeline.report.words import advice, headline, notices, small_print, title, work
from snapshot_pipeline.store.at_risk import at_risk_by_cohort, at_risk_weeks
from snapshot_pipeline.store.failures import failures_by_reason
from snapshot_pipeline.store.recommendations import counts_by_week
from snapshot_pipeline.store.snapshot_queries import active_students
from snapshot_pipeline.store.summaries import cohort_summaries, day_summaries

if TYPE_CHECKING:
    from snapshot_pipeline.plots.plot import Plot


@dataclass(frozen=True)
class WrittenReport:
    """A written report.

    Attributes:
        size: In bytes.
        missing_days: Days of the week that were not summarized; the report names them.
        notices: Warnings about the figures, as sentences.
        title: The week.
        headline: What changed most.
        tiles: The main figures, one line each.
        sentences: The recommendations, the work and what was not computed.
        deleted: Expired reports that were deleted.
    """

    week_start: date
    path: Path
    size: int
    missing_days: list[date]
    notices: list[str]
    title: str
    headline: str
    tiles: list[str]
    sentences: list[str]
    plots: list[Plot]
    deleted: list[Path]


def write_report(installation: Installation, week_start: date) -> WrittenReport:
    """Write the report of a week, replacing an earlier one, and delete expired reports.

    Raises:
        ReportError: None of the week's days was summarized, or the file cannot be written.
    """
    # Imported here, because Matplotlib takes a second, and most processes draw nothing.
    from snapshot_pipeline.report.page import draw_plots, render

    figures = retry_transient(read_figures, installation, week_start)
    if not figures.week.known_days:
        sunday = figures.week.sunday
        raise ReportError(
            f"none of the days {week_start} to {sunday} was summarized, so there is nothing to report; materialize "
            f"performance_snapshots and cohort_summary for them (`snapshot-pipeline materialize --from {week_start} "
            f"--to {sunday}`), then this week again (`snapshot-pipeline report --week {week_start}`)"
        )
    plots = draw_plots(figures)
    page = render(figures, plots).encode()
    path = report_path(installation.settings, week_start)
    save_report(installation.settings, path, page)
    return WrittenReport(
        week_start=week_start,
        path=path,
        size=len(page),
        missing_days=figures.week.missing_days,
        notices=notices(figures),
        title=title(figures),
        headline=headline(figures),
        tiles=[str(tile) for tile in tiles(figures)],
        sentences=[text for text in (advice(figures), work(figures), small_print(figures)) if text],
        plots=plots,
        deleted=delete_expired_reports(path, installation.settings.report_weeks),
    )


def read_figures(installation: Installation, week_start: date) -> ReportFigures:
    """Read the figures of a week and of those before it from our tables."""
    sunday = week_start + timedelta(days=DAYS - 1)
    first_week = week_start - timedelta(days=DAYS * (WEEKS_SHOWN - 1))
    sundays = [sunday - timedelta(days=DAYS), sunday]
    outcomes = read_outcomes(installation, week_start - timedelta(days=DAYS))  # may wait for a replica
    # One snapshot of all tables, so that a run that publishes meanwhile does not affect only some of the figures.
    with installation.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        return ReportFigures(
            week_start=week_start,
            first_day=installation.settings.start_date,
            days={
                day: GroupFigures(**row)
                for day, row in day_summaries(connection, installation.store, first_week, sunday).items()
            },
            cohorts={
                day: {cohort: GroupFigures(**row) for cohort, row in cohorts.items()}
                for day, cohorts in cohort_summaries(connection, installation.store, sundays).items()
            },
            active={
                monday: active_students(connection, installation.store, monday, monday + timedelta(days=DAYS - 1))
                for monday in (week_start - timedelta(days=DAYS), week_start)
            },
            recommendations=counts_by_week(connection, installation.store, first_week, week_start),
            at_risk=_at_risk(connection, installation, [week_start - timedelta(days=DAYS), week_start]),
            outcomes=outcomes,
            failures={
                failure.reason: failure.student_days
                for failure in failures_by_reason(connection, installation.store, week_start, sunday)
            },
        )


def _at_risk(connection: Connection, installation: Installation, weeks: list[date]) -> dict[date, AtRiskFigures]:
    numbers = at_risk_weeks(connection, installation.store, weeks[0], weeks[-1])
    by_cohort = at_risk_by_cohort(connection, installation.store, weeks)
    return {
        start: AtRiskFigures(week.states, week.reasons, week.new, week.left, by_cohort.get(start, {}))
        for start, week in numbers.items()
    }

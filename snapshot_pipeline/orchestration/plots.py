"""Pictures in the metadata: which are drawn for a day and a week, and that none of them ever fails a run.

Put here: from figures to pictures in Markdown. Do not put here: how a picture looks (`plots`), or its figures.

Nothing here imports Matplotlib before something is drawn: most processes never draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date

import dagster as dg
import sqlalchemy.exc

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.orchestration.failures import StepContext
from snapshot_pipeline.pipeline.batches import one_line
from snapshot_pipeline.pipeline.day_reports import CALENDAR, DayDetails, DayReport
from snapshot_pipeline.pipeline.recommendations import WeekReport

Metadata = dict[str, dg.MetadataValue]

PACE, FAILURES, CALENDAR_KEY = "pace_by_label", "failures_picture", "success_calendar"
RECOMMENDATIONS = "recommendations_by_week"


@contextmanager
def best_effort(context: StepContext, what: str) -> Iterator[None]:
    """Leave something out that is only looked at, with a warning, rather than fail a run that has published."""
    try:
        yield
    except (SnapshotPipelineError, sqlalchemy.exc.SQLAlchemyError) as error:
        # Not its message, which may repeat a statement with the data in it.
        context.log.warning(f"{what} is left out: {type(error).__name__}")
    except Exception as error:  # noqa: BLE001  # whatever Matplotlib raises: the rows are published
        context.log.warning(f"{what} is left out: {one_line(error)}; nothing else is affected, please report it")


def day_plots(context: StepContext, report: DayReport, review: DayDetails) -> Metadata:
    """How the paces of a day are distributed against four weeks ago, and why students failed, if any did."""
    drawn: Metadata = {}
    with best_effort(context, f"the picture of the paces of {report.day}"):
        from snapshot_pipeline.plots import pace_distribution

        has_earlier = review.earlier_paces.students > 0
        paces = pace_distribution.PaceDistribution(
            report.day,
            report.paces.by_label(),
            review.earlier_day if has_earlier else None,
            review.earlier_paces.by_label() if has_earlier else None,
        )
        drawn[PACE] = dg.MetadataValue.md(pace_distribution.draw(paces).markdown())
    if report.failures:
        with best_effort(context, f"the picture of the failures of {report.day}"):
            from snapshot_pipeline.plots import failures_by_reason

            reasons = failures_by_reason.FailuresByReason(report.day, report.day, dict(report.failures))
            drawn[FAILURES] = dg.MetadataValue.md(failures_by_reason.draw(reasons).markdown())
    return drawn


def calendar_plot(
    context: StepContext, last: date, rates: Mapping[date, float | None], wanted: float, start: date
) -> Metadata:
    """The success rates of the last thirteen weeks.

    Args:
        context: The step, for its log.
        last: The last day of the calendar.
        rates: The rate of each day that was computed.
        wanted: The least rate that is good.
        start: The first day that has a partition; there is no earlier cell.
    """
    drawn: Metadata = {}
    with best_effort(context, "the calendar of success rates"):
        from snapshot_pipeline.plots import success_calendar

        first = max(last - CALENDAR, start)
        figures = success_calendar.SuccessCalendar(first, last, rates, wanted)
        drawn[CALENDAR_KEY] = dg.MetadataValue.md(success_calendar.draw(figures).markdown())
    return drawn


def week_plot(context: StepContext, report: WeekReport, earlier: Mapping[date, Mapping[str, int]]) -> Metadata:
    """The recommendations of a week by type, against the weeks before."""
    drawn: Metadata = {}
    with best_effort(context, f"the picture of the week of {report.week_start}"):
        from snapshot_pipeline.plots import recommendations_by_week

        counts: dict[date, Mapping[str, int]] = {**earlier, report.week_start: report.types}
        weeks = sorted(counts)
        kinds = {kind for week in weeks for kind in counts[week]}
        figures = recommendations_by_week.RecommendationsByWeek(
            weeks, {kind: [counts[week].get(kind, 0) for week in weeks] for kind in sorted(kinds)}
        )
        drawn[RECOMMENDATIONS] = dg.MetadataValue.md(recommendations_by_week.draw(figures).markdown())
    return drawn

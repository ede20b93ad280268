"""The weekly asset `weekly_report`: one HTML file per week with text, plots and tables."""

# No `from __future__ import annotations` here: Dagster reads the annotation of `context` at run time.
from datetime import date, datetime, timezone
from urllib.parse import urlsplit

import dagster as dg

from snapshot_pipeline.alerts.channels import read_report_recipients
from snapshot_pipeline.alerts.report_messages import queue_report, report_message
from snapshot_pipeline.orchestration.assets import adaptive_recommendations, at_risk_students, cohort_summary
from snapshot_pipeline.orchestration.day_metadata import Metadata
from snapshot_pipeline.orchestration.names import DATABASES, GRAIN_TAG, REPORTS_GROUP
from snapshot_pipeline.orchestration.partitions import weekly_partitions, weekly_report_freshness
from snapshot_pipeline.orchestration.steps import requested_week, step_installation
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.periods import last_closed_week
from snapshot_pipeline.pipeline.student_lists import NoListError, WrittenLists, write_student_lists
from snapshot_pipeline.pipeline.weekly_report import WrittenReport, write_report
from snapshot_pipeline.plots.text import count_noun
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.outbox import Attachment

NAME = "weekly_report"
KEY = dg.AssetKey(NAME)


def build_weekly_report(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        name=NAME,
        description=(
            "One page per week for a head of teaching: what has changed, and who needs a person. The file on the "
            f"machine of the run is kept for {count_noun(settings.report_weeks, 'week')}."
        ),
        group_name=REPORTS_GROUP,
        owners=settings.owners,
        required_resource_keys=DATABASES,
        kinds={"html", "matplotlib"},
        tags={GRAIN_TAG: "week"},
        metadata={"dagster/uri": (settings.home / "reports").as_uri()},
        freshness_policy=weekly_report_freshness(settings),
        partitions_def=weekly_partitions(settings),
        deps=[cohort_summary.KEY, adaptive_recommendations.KEY, at_risk_students.KEY],
    )
    def weekly_report(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        week_start = requested_week(context, settings)
        with step_installation(context, settings) as installation:
            report = write_report(installation, week_start)
            lists = _write_lists(context, installation, week_start) if settings.student_lists else None
            queued = queue_for_recipients(installation, report, datetime.now(timezone.utc))
        for notice in report.notices:
            context.log.warning(notice)
        context.log.info(
            f"week of {week_start}: report of {count_noun(7 - len(report.missing_days), 'day')} written to "
            f"{report.path}, {count_noun(queued, 'message')} queued"
        )
        metadata = {**_metadata(report, settings), **_list_metadata(lists), "messages_queued": queued}
        return dg.MaterializeResult(metadata=metadata)

    return weekly_report


def queue_for_recipients(installation: Installation, report: WrittenReport, now: datetime) -> int:
    """Queue the report for SNAPSHOT_REPORT_RECIPIENTS, unless a later week has ended; return for how many of them.

    Those for whom a report of this week was queued before do not get another one.
    """
    settings = installation.settings
    recipients = [channel.id for channel in read_report_recipients(settings).channels]
    if not recipients or report.week_start != last_closed_week(settings, now):
        return 0
    url = f"{settings.report_url}/{report.path.name}" if settings.report_url else None
    message = report_message(report.title, report.headline, report.tiles, url)
    page = Attachment(report.path.name, report.path.read_bytes())
    return installation.transaction(queue_report, recipients, report.week_start, message, page, now)


def _write_lists(
    context: dg.AssetExecutionContext, installation: Installation, week_start: date
) -> WrittenLists | None:
    """Write the lists of students; a week that was computed without them has only the page."""
    try:
        return write_student_lists(installation, week_start)
    except NoListError as error:
        context.log.warning(str(error))
        return None


def _list_metadata(lists: WrittenLists | None) -> Metadata:
    return {"student_lists": lists.paths[0].parent, "students_in_lists": lists.students} if lists else {}


def _metadata(report: WrittenReport, settings: Settings) -> Metadata:
    lines = (*report.notices, report.headline, *report.tiles, *report.sentences)
    # Without a web server of its own the page is served by ours, under the address at which the reader opened the UI.
    directory = settings.report_url or f"{urlsplit(settings.ui_url).path.rstrip('/')}/reports"
    return {
        "page": dg.MetadataValue.url(f"{directory}/{report.path.name}"),
        "file": report.path,
        "in_words": dg.MetadataValue.md("\n".join(f"- {_escape_markdown(line)}" for line in lines)),
        "activity": dg.MetadataValue.md(report.plots[1].markdown()),
        "missing_days": len(report.missing_days),
        "bytes": report.size,
        "pages_removed": len(report.deleted),
    }


def _escape_markdown(sentence: str) -> str:
    """Escape Markdown in a sentence: the name of a cohort may look like a link."""
    return "".join(f"\\{character}" if character in "\\`*_{}[]()<>#+!|~&" else character for character in sentence)

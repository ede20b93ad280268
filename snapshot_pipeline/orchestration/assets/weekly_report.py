"""One page per week: what the students did, in words, six pictures and three tables, against the week before.

Reads `day_summary`, `cohort_summary`, `adaptive_recommendations` and `snapshot_failures`; writes one HTML file that
needs no network and no script: `reports/<Monday>.html` below SNAPSHOT_HOME of the machine that ran it, kept for
SNAPSHOT_REPORT_WEEKS weeks. Runs every Monday at 06:30, in a job of its own: when it fails, the recommendations are
there all the same. The words and a picture are in the metadata as well, for those who cannot open the file; the link
leads to SNAPSHOT_REPORT_URL, where that is set. A day of the week that is missing is named, and the page gives no sums.

When a run is red: none of the week's days was summarized, or the file cannot be written; its error says in one line
what to do. Materialize the days, then the week again.
"""

# No `from __future__ import annotations` here: Dagster reads the annotation of `context` as it stands.
from datetime import date

import dagster as dg

from snapshot_pipeline.orchestration.assets import adaptive_recommendations, cohort_summary
from snapshot_pipeline.orchestration.partitions import weekly_partitions
from snapshot_pipeline.orchestration.steps import opened_step
from snapshot_pipeline.pipeline.weekly_report import WrittenReport, write_report
from snapshot_pipeline.settings import Settings

NAME = "weekly_report"
KEY = dg.AssetKey(NAME)


def build_weekly_report(settings: Settings) -> dg.AssetsDefinition:
    """The weekly page of one installation."""

    @dg.asset(
        name=NAME,
        description=__doc__,
        group_name="recommendations",
        kinds={"html", "matplotlib"},
        partitions_def=weekly_partitions(settings),
        deps=[cohort_summary.KEY, adaptive_recommendations.KEY],
    )
    def weekly_report(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        with opened_step(context, settings) as installation:
            report = write_report(installation, date.fromisoformat(context.partition_key))
        for notice in report.notices:
            context.log.warning(notice)
        return dg.MaterializeResult(metadata=_metadata(report, settings))

    return weekly_report


def _metadata(report: WrittenReport, settings: Settings) -> dict[str, dg.MetadataValue]:
    words = "\n".join(f"- {_as_text(sentence)}" for sentence in (*report.notices, *report.sentences))
    address = f"{settings.report_url}/{report.path.name}" if settings.report_url else None
    return {
        "page": dg.MetadataValue.url(address) if address else dg.MetadataValue.path(str(report.path)),
        "in_words": dg.MetadataValue.md(words),
        "activity": dg.MetadataValue.md(report.pictures[0].markdown()),
        "missing_days": dg.MetadataValue.int(len(report.missing_days)),
        "bytes": dg.MetadataValue.int(report.size),
        "pages_removed": dg.MetadataValue.int(len(report.removed)),
    }


def _as_text(sentence: str) -> str:
    """A sentence in which nothing is Markdown: a cohort may be named like a link."""
    return "".join(f"\\{character}" if character in "\\`*_{}[]()<>#+!|~&" else character for character in sentence)

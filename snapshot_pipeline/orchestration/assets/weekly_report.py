"""The weekly page: one HTML file per week, in words, pictures and tables.

Put here: the asset, and what is shown of a page. Do not put here: what stands on it (`report`), or how it is written
(`pipeline.weekly_report`).
"""

# No `from __future__ import annotations` here: Dagster reads the annotation of `context` as it stands.
from datetime import date

import dagster as dg

from snapshot_pipeline.orchestration.asset_keys import RECOMMENDATIONS_GROUP
from snapshot_pipeline.orchestration.assets import adaptive_recommendations, cohort_summary
from snapshot_pipeline.orchestration.descriptions import described
from snapshot_pipeline.orchestration.freshness import weekly_page_freshness
from snapshot_pipeline.orchestration.partitions import weekly_partitions
from snapshot_pipeline.orchestration.steps import step_installation
from snapshot_pipeline.orchestration.tags import EACH_WEEK, GRAIN
from snapshot_pipeline.pipeline.weekly_report import WrittenReport, write_report
from snapshot_pipeline.settings import Settings

NAME = "weekly_report"
KEY = dg.AssetKey(NAME)


def build_weekly_report(settings: Settings) -> dg.AssetsDefinition:
    """The weekly page of one installation."""

    @dg.asset(
        name=NAME,
        description=_description(settings),
        group_name=RECOMMENDATIONS_GROUP,
        owners=settings.owners,
        kinds={"html", "matplotlib"},
        tags={GRAIN: EACH_WEEK},
        metadata={"dagster/uri": f"{settings.home}/reports"},
        freshness_policy=weekly_page_freshness(settings),
        partitions_def=weekly_partitions(settings),
        deps=[cohort_summary.KEY, adaptive_recommendations.KEY],
    )
    def weekly_report(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        with step_installation(context, settings) as installation:
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
        "activity": dg.MetadataValue.md(report.plots[0].markdown()),
        "missing_days": dg.MetadataValue.int(len(report.missing_days)),
        "bytes": dg.MetadataValue.int(report.size),
        "pages_removed": dg.MetadataValue.int(len(report.deleted)),
    }


def _as_text(sentence: str) -> str:
    """A sentence in which nothing is Markdown: a cohort may be named like a link."""
    return "".join(f"\\{character}" if character in "\\`*_{}[]()<>#+!|~&" else character for character in sentence)


def _description(settings: Settings) -> str:
    return described(
        "One page per week: what the students did, in words, pictures and tables, against the week before. One HTML "
        "file that needs no network and no script, `reports/<Monday>.html` below SNAPSHOT_HOME of the machine that ran "
        f"it, kept for {settings.report_weeks} weeks. The words and a picture are in the metadata as well; the link "
        "leads to SNAPSHOT_REPORT_URL, where that is set.",
        reads="`day_summary`, `cohort_summary`, `adaptive_recommendations` and `snapshot_failures`.",
        runs=f"every Monday at 06:30 ({settings.timezone}), in a job of its own, and for any week by *Materialize*.",
        remediation=(
            "none of the week's days was summarized, or the file cannot be written: the run's one line says which. "
            "Materialize the days, then the week again."
        ),
    )

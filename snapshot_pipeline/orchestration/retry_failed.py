"""The job that computes only the students that failed, and shows their days as they stand afterwards.

Put here: what can be asked for in the launchpad, and the events of each day: a materialization with the new counts, and
a new result of `success_rate`, so that the UI and everybody who reads check results sees the day healed; the same of
the day's summary, which follows.
Do not put here: the computation (`pipeline.retry`, `pipeline.summaries`).
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of `context` and `config` as they stand.
from collections.abc import Iterator
from datetime import date
from typing import Any

import dagster as dg
from pydantic import Field

from snapshot_pipeline.orchestration import pools
from snapshot_pipeline.orchestration.assets import performance_snapshots
from snapshot_pipeline.orchestration.assets.cohort_summary import summarized_again
from snapshot_pipeline.orchestration.checks import check_success_rate
from snapshot_pipeline.orchestration.day_metadata import REVIEWED_DAYS, day_numbers, reviewed_metadata
from snapshot_pipeline.orchestration.descriptions import described
from snapshot_pipeline.orchestration.failures import StepContext
from snapshot_pipeline.orchestration.partitioned_checks import partition_events
from snapshot_pipeline.orchestration.plots import Metadata
from snapshot_pipeline.orchestration.run_config_days import parse_day, require_in_order
from snapshot_pipeline.orchestration.steps import log_progress, step_installation
from snapshot_pipeline.pipeline.day_reports import DayReport
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.retry import RetriedDay, RetryRun, retry_failed
from snapshot_pipeline.settings import Settings

NAME = "retry_failed_job"
STEP = "retry_failed_op"


class RetryConfig(dg.Config):
    """What is asked for in the launchpad."""

    first: str = Field(
        default="", alias="from", description="The first day, as 2026-11-01. Empty: from the oldest open failure."
    )
    last: str = Field(
        default="", alias="to", description="The last day, included, as 2026-11-22. Empty: to the newest open failure."
    )


def run_config(first: date | None, last: date | None) -> dict[str, Any]:
    """The configuration of a run for the days `first … last`; None for no bound."""
    days = {"from": first.isoformat() if first else "", "to": last.isoformat() if last else ""}
    return {"ops": {STEP: {"config": days}}}


def build_retry_failed(settings: Settings) -> dg.JobDefinition:
    """The job of one installation."""

    @dg.op(name=STEP, pool=pools.SNAPSHOTS, description=__doc__)
    def retry_failed_op(context: dg.OpExecutionContext, config: RetryConfig) -> Iterator[Any]:
        with step_installation(context, settings) as installation:
            first, last = parse_day("from", config.first), parse_day("to", config.last)
            require_in_order(("from", "to"), first, last)
            run = retry_failed(installation, first, last, context.run_id, log_progress(context))
            shown = _shown(context, installation, run)
        for day in run.days:
            context.log.info(_sentence(day))
        # A day that was never computed as a whole must not look as if it were there.
        whole = {day.day: (day, day.report) for day in run.days if day.report is not None}
        yield from partition_events(
            context.instance,
            performance_snapshots.KEY,
            {day: {**_numbers(*retried), **shown.get(day, {})} for day, retried in whole.items()},
            {day: [check_success_rate(report, settings.min_success_rate)] for day, (_, report) in whole.items()},
        )
        # Only now: a summary that cannot be made must not hide what became of the students.
        yield from summarized_again(context, settings, list(whole))
        yield dg.Output(None)

    @dg.job(
        name=NAME,
        description=described(
            "Computes the students with an open failure again, for the days on which they failed and no others; their "
            "days' success rates follow. For when their rows in the platform were mended.",
            reads="`snapshot_failures`, and the platform's rows of these students.",
            runs=(
                "when you launch it: *Launchpad*, *Launch run*; with nothing filled in, all open failures. Never by "
                "itself."
            ),
            remediation="its one line says what to do. Students that fail again stay in `snapshot_failures`.",
        ),
        config=run_config(None, None),
    )
    def retry_failed_job() -> None:
        retry_failed_op()

    return retry_failed_job


def _sentence(day: RetriedDay) -> str:
    if day.report is None:
        return f"{day.day}: {day.retried:,} students computed again; the day itself was never computed as a whole"
    still = day.report.count.failed
    gone = (
        f", {day.deleted_failures:,} failures of students who are not active any more removed"
        if day.deleted_failures
        else ""
    )
    return f"{day.day}: {day.retried:,} students computed again, {still:,} still fail{gone}"


def _shown(context: StepContext, installation: Installation, run: RetryRun) -> dict[date, Metadata]:
    """Tables and pictures of the last few days; those of a long list of failures would take longer than the retry."""
    reports = [day.report for day in run.days if day.report is not None][-REVIEWED_DAYS:]
    return {report.day: reviewed_metadata(context, installation, report) for report in reports}


def _numbers(day: RetriedDay, report: DayReport) -> Metadata:
    return {**day_numbers(report), "retried": dg.MetadataValue.int(day.retried)}

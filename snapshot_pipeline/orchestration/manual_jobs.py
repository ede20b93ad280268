"""The jobs that take days in the launchpad: `recompute_days_job`, `retry_failed_job` and `late_data_job`.

The launchpad itself checks only names and types of fields. Days are checked when a run is launched, before it is
created (`_checked_before_launch`). Each job is one run that yields the events of every day it changes: materializations
and check results, for the snapshots and for their summaries. A backfill in the UI does the same as
`recompute_days_job`, which also works by a link.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of `context` and `config` at run time.
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
from pydantic import Field

from snapshot_pipeline.orchestration.assets import performance_snapshots
from snapshot_pipeline.orchestration.assets.cohort_summary import summarize_again
from snapshot_pipeline.orchestration.assets.performance_snapshots import compute_days, outcome
from snapshot_pipeline.orchestration.checks import check_data_quality, check_success_rate
from snapshot_pipeline.orchestration.day_metadata import DETAILED_DAYS, Metadata, day_metadata, details_metadata
from snapshot_pipeline.orchestration.instance.dagster_internals import refusal
from snapshot_pipeline.orchestration.names import DATABASES, DAYS_TAG, LATE_DATA_JOB, SNAPSHOTS_POOL
from snapshot_pipeline.orchestration.partitioned_checks import partition_events
from snapshot_pipeline.orchestration.partitions import run_ranges
from snapshot_pipeline.orchestration.steps import log_progress, readable_failures, step_installation
from snapshot_pipeline.pipeline.day_reports import DayReport
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.late_run import compute_late_data
from snapshot_pipeline.pipeline.periods import (
    PeriodError,
    days_between,
    days_text,
    last_closed_day,
    require_ascending,
    require_closed_days,
)
from snapshot_pipeline.pipeline.retry import RetriedDay, RetryRun, retry_failed
from snapshot_pipeline.plots.text import count_noun
from snapshot_pipeline.settings import Settings


class RecomputeConfig(dg.Config):
    """Run configuration of `recompute_days_job`."""

    first_day: str = Field(default="", description="First day, for example 2026-11-01. Empty: yesterday.")
    last_day: str = Field(default="", description="Last day, inclusive, for example 2026-11-22. Empty: the first day.")


class RetryConfig(dg.Config):
    """Run configuration of `retry_failed_job`."""

    first_day: str = Field(
        default="", description="First day, for example 2026-11-01. Empty: the oldest with an open failure."
    )
    last_day: str = Field(
        default="", description="Last day, inclusive, for example 2026-11-22. Empty: the newest with an open failure."
    )


class LateDataConfig(dg.Config):
    """Run configuration of `late_data_job`."""

    first_day: str = Field(
        default="", description="First day to search, for example 2026-11-01. Empty: SNAPSHOT_START_DATE."
    )


def recompute_run_config(first: str = "", last: str = "") -> dict[str, Any]:
    """Return the run configuration that recomputes some days; without arguments the launchpad's empty form."""
    return {"ops": {"recompute_days_op": {"config": {"first_day": first, "last_day": last}}}}


def retry_run_config(first: date | None, last: date | None) -> dict[str, Any]:
    """Return the run configuration that retries the failures of the days `first … last`; None means no bound."""
    days = {"first_day": first.isoformat() if first else "", "last_day": last.isoformat() if last else ""}
    return {"ops": {"retry_failed_op": {"config": days}}}


def late_data_run_config(first: date | None) -> dict[str, Any]:
    """Return the run configuration that searches the days from `first` on; None for all computed days."""
    return {"ops": {"late_data_op": {"config": {"first_day": first.isoformat() if first else ""}}}}


def build_recompute_days_job(settings: Settings) -> dg.JobDefinition:
    """Build the job that recomputes the days in its run configuration."""

    @dg.op(
        pool=SNAPSHOTS_POOL,
        required_resource_keys=DATABASES,
        description=f"Recomputes the days in ranges of at most {count_noun(settings.days_per_run, 'day')}.",
    )
    def recompute_days_op(context: dg.OpExecutionContext, config: RecomputeConfig) -> Iterator[Any]:
        with readable_failures():
            days = _days_to_recompute(config.first_day, config.last_day, settings)
        context.instance.add_run_tags(context.run_id, {DAYS_TAG: days_text(days[0], days[-1])})
        ranges, began = run_ranges(days, settings), time.monotonic()
        computed: dict[date, Metadata] = {}
        for first, last in ranges:
            context.log.info(f"computing {first} to {last}, of {days[0]} to {days[-1]}")
            with step_installation(context, settings) as installation:
                metadata, checks = compute_days(context, installation, first, last)
            computed |= metadata
            yield from partition_events(context.instance, performance_snapshots.KEY, metadata, checks)
            yield from summarize_again(context, settings, list(metadata))
        if len(ranges) > 1:
            context.log.info(outcome(computed, time.monotonic() - began))
        yield dg.Output(None)

    @dg.job(
        description=(
            "Recomputes the days from first_day to last_day, which you enter in the Launchpad (default: yesterday). "
            "Only differences are written, and each changed figure is recorded in `snapshot_restatements`."
        ),
        config=recompute_run_config(),
    )
    def recompute_days_job() -> None:
        _checked_before_launch(
            recompute_days_op,
            RecomputeConfig,
            lambda days: _days_to_recompute(days["first_day"], days["last_day"], settings),
        )()

    return recompute_days_job


def build_retry_failed_job(settings: Settings) -> dg.JobDefinition:
    """Build the job that recomputes only the students with open failures."""

    @dg.op(
        pool=SNAPSHOTS_POOL,
        required_resource_keys=DATABASES,
        description="Recomputes the students with an open failure, and reports the new counts of their days.",
    )
    def retry_failed_op(context: dg.OpExecutionContext, config: RetryConfig) -> Iterator[Any]:
        with step_installation(context, settings) as installation:
            first, last = _days_to_retry(config.first_day, config.last_day)
            run = retry_failed(installation, first, last, context.run_id, log_progress(context))
            # A day that was never computed as a whole must not be shown as materialized.
            reports = [day.report for day in run.days if day.report is not None]
            metadata = _days_metadata(context, installation, reports)
        for day in run.days:
            context.log.info(_retried_sentence(day))
            if day.report is not None:
                metadata[day.day]["retried"] = day.retried
        yield from partition_events(
            context.instance,
            performance_snapshots.KEY,
            metadata,
            {report.day: [check_success_rate(report, settings.min_success_rate)] for report in reports},
        )
        # Last, so that an error in a summary does not hide the results of the retry.
        yield from summarize_again(context, settings, list(metadata))
        context.log.info(_retry_outcome(run))
        yield dg.Output(None)

    @dg.job(
        description=(
            "Recomputes only the students with an open failure, on the days on which they failed. "
            "Launch it after the cause of the errors is fixed; leave the days empty for all open failures."
        ),
        config=retry_run_config(None, None),
    )
    def retry_failed_job() -> None:
        _checked_before_launch(
            retry_failed_op, RetryConfig, lambda days: _days_to_retry(days["first_day"], days["last_day"])
        )()

    return retry_failed_job


def build_late_data_job(settings: Settings) -> dg.JobDefinition:
    """Build the job that recomputes the students whose rows in the platform have changed."""

    @dg.op(
        pool=SNAPSHOTS_POOL,
        required_resource_keys=DATABASES,
        description=(
            "Finds the days whose rows in the platform have changed since they were computed, recomputes the affected "
            "students from the changed day on, and reports the days that have changed."
        ),
    )
    def late_data_op(context: dg.OpExecutionContext, config: LateDataConfig) -> Iterator[Any]:
        with step_installation(context, settings) as installation:
            first = _first_day_to_search(config.first_day, settings)
            run = compute_late_data(installation, first, context.run_id, log_progress(context))
            metadata = _days_metadata(context, installation, run.reports)
        context.log.info(
            f"{count_noun(run.students, 'student')} recomputed, {count_noun(run.student_days, 'student-day')}; "
            f"{count_noun(len(run.reports), 'day')} and "
            f"{count_noun(sum(report.restated for report in run.reports), 'earlier figure')} changed"
        )
        yield from partition_events(
            context.instance,
            performance_snapshots.KEY,
            metadata,
            {
                report.day: [
                    check_success_rate(report, settings.min_success_rate),
                    check_data_quality(report, settings),
                ]
                for report in run.reports
            },
        )
        yield from summarize_again(context, settings, list(metadata))
        yield dg.Output(None)

    @dg.job(
        name=LATE_DATA_JOB,
        description=(
            "Recomputes the students whose rows in the platform have changed since their days were computed, from the "
            "changed day on. `late_data_sensor` launches it; leave the day empty to search all computed days."
        ),
        config=late_data_run_config(None),
    )
    def late_data_job() -> None:
        _checked_before_launch(
            late_data_op, LateDataConfig, lambda days: _first_day_to_search(days["first_day"], settings)
        )()

    return late_data_job


def _days_metadata(
    context: dg.OpExecutionContext, installation: Installation, reports: Sequence[DayReport]
) -> dict[date, Metadata]:
    """Return the metadata of each day; plots of the last few only: those of many take longer than the run."""
    details = {report.day: details_metadata(context, installation, report) for report in reports[-DETAILED_DAYS:]}
    return {report.day: day_metadata(report, details.get(report.day, {})) for report in reports}


def _checked_before_launch(
    op: dg.OpDefinition, config: type[dg.Config], check: Callable[[Mapping[str, str]], object]
) -> dg.OpDefinition:
    """Return the op with a check of its days that Dagster makes before it creates a run.

    Dagster 1.13 evaluates a config mapping for the plan of a run, and no validator of Pydantic.

    Args:
        check: Raises `PeriodError` if the days of a run configuration cannot be computed.
    """

    def accept(days: Mapping[str, str]) -> Mapping[str, str]:
        try:
            check(days)
        except PeriodError as error:
            # Dagster wraps any other error in a sentence about the mapping.
            raise refusal(str(error)) from None
        return days

    return op.configured(accept, name=op.name, config_schema=config.to_config_schema().as_field())


def parse_day(name: str, text: str) -> date | None:
    """Return a day of the run configuration from ISO 8601; None for an empty text. `name` is the field."""
    if not text.strip():
        return None
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise PeriodError(f"{name}: {text!r} is not a date; expected a date such as 2026-11-22, or nothing") from None


def _days_to_recompute(first_day: str, last_day: str, settings: Settings) -> list[date]:
    first, last = parse_day("first_day", first_day), parse_day("last_day", last_day)
    if first is None and last is not None:
        raise PeriodError(f"first_day is empty and last_day is {last}; set both, or neither for yesterday")
    first = first or last_closed_day(settings)
    last = last or first
    require_closed_days(settings, first, last, ("first_day", "last_day" if last_day.strip() else "first_day"))
    return days_between(first, last)


def _days_to_retry(first_day: str, last_day: str) -> tuple[date | None, date | None]:
    first, last = parse_day("first_day", first_day), parse_day("last_day", last_day)
    if first and last:
        require_ascending(first, last, ("first_day", "last_day"))
    return first, last


def _first_day_to_search(first_day: str, settings: Settings) -> date:
    first = parse_day("first_day", first_day)
    if first is None:
        return settings.start_date
    require_closed_days(settings, first, first, ("first_day", "first_day"))
    return first


def _retry_outcome(run: RetryRun) -> str:
    reports = [day.report for day in run.days if day.report is not None]
    return (
        f"{count_noun(len(run.days), 'day')}: {count_noun(sum(day.retried for day in run.days), 'student-day')} "
        f"recomputed, {sum(report.count.failed for report in reports):,} still failing, "
        f"{count_noun(sum(day.restated for day in run.days), 'earlier figure')} changed"
    )


def _retried_sentence(day: RetriedDay) -> str:
    students = f"{day.day}: {count_noun(day.retried, 'student')} recomputed"
    if day.report is None:
        return f"{students}; the day as a whole was never computed"
    deleted = (
        f", {count_noun(day.deleted_failures, 'failure')} of inactive students deleted" if day.deleted_failures else ""
    )
    return f"{students}, {day.report.count.failed:,} still failing{deleted}"

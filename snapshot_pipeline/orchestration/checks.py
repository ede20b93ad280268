"""What must be true of a day and of a week, as plain functions with a thin Dagster result.

Put here: the checks. Do not put here: how a day is computed, or how a result is filed under its day (`checks_by_day`).
Who is told of a failed check is not decided here either.
See https://docs.dagster.io/guides/test/asset-checks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from typing import Any

import dagster as dg

from snapshot_pipeline.orchestration.day_metadata import failures_by_reason_table, failures_table
from snapshot_pipeline.orchestration.descriptions import described
from snapshot_pipeline.orchestration.partitioned_checks import WHAT_TO_DO
from snapshot_pipeline.orchestration.partitions import daily_partitions, weekly_partitions
from snapshot_pipeline.orchestration.plots import Metadata
from snapshot_pipeline.pipeline.day_reports import DayReport
from snapshot_pipeline.pipeline.recommendations import WeekReport
from snapshot_pipeline.pipeline.summaries import SummarizedDay
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.days import DayCount

SUCCESS_RATE = "success_rate"
RUN_TIME = "run_time"
STUDENT_COUNT_STABLE = "student_count_stable"
RECOMMENDATION_COVERAGE = "recommendation_coverage"
WEEK_COMPLETE = "week_complete"
ALL_STUDENTS = "all_students"

OBSERVED, THRESHOLD = "observed", "threshold"
"""In the metadata of every result: what was found and what was wanted, which Dagster plots over the days."""

MIN_COVERAGE = 0.5
"""The share of receivers below which a week looks as if something were missing, such as the lessons."""


REMEDIATION_FAILED = (
    "`failures_by_reason` and `first_failures` say why and who, `snapshot_failures` has all, with the row to blame. "
    "Mend the rows in the platform, then launch the job `retry_failed_job`, or materialize the day again"
)
REMEDIATION_SLOW = (
    "`snapshot-pipeline check` names missing indexes; docs/scaling.md says what else a platform of a size costs"
)
REMEDIATION_STUDENT_COUNT = (
    "ask whether students were deactivated, or rows deleted, in the platform; if so on purpose, the next day is green "
    "again"
)
REMEDIATION_SUMMARY = (
    "something else than a run has removed rows of `performance_snapshots` or `snapshot_failures`; find out what, then "
    "materialize the day's snapshots and summary again"
)
REMEDIATION_COVERAGE = (
    "look whether the platform's lessons are published and its students have a specialization and a level; the run's "
    "log names the students that failed"
)
REMEDIATION_WEEK = "materialize `performance_snapshots` for the missing days, then this week again"


def snapshot_check_specs(asset: str, settings: Settings) -> list[dg.AssetCheckSpec]:
    """The checks of a day of snapshots."""
    after = "with every run of the day, and after `retry_failed_job`."
    return [
        _spec(
            SUCCESS_RATE,
            asset,
            daily_partitions(settings),
            what=f"At least {percent(settings.min_success_rate)} of the day's students were published.",
            reads="how many students the run published, and how many failed.",
            runs=after,
            remediation=REMEDIATION_FAILED,
        ),
        _spec(
            RUN_TIME,
            asset,
            daily_partitions(settings),
            what=f"The run that computed the day took at most {settings.max_run_seconds:g} seconds.",
            reads="the clock.",
            runs="with every run of the day.",
            remediation=REMEDIATION_SLOW,
        ),
        _spec(
            STUDENT_COUNT_STABLE,
            asset,
            daily_partitions(settings),
            what=(
                f"The number of students did not fall by more than {percent(settings.max_student_drop)} against the "
                "last earlier day."
            ),
            reads="`snapshot_days`.",
            runs="with every run of the day.",
            remediation=REMEDIATION_STUDENT_COUNT,
        ),
    ]


def summary_check_specs(asset: str, settings: Settings) -> list[dg.AssetCheckSpec]:
    """The check of a day's summary."""
    return [
        _spec(
            ALL_STUDENTS,
            asset,
            daily_partitions(settings),
            what="Every student that the day's computation published, and every one that failed, is in the summary.",
            reads="`snapshot_days`, and how many students the run summarized.",
            runs="with every run of the day.",
            remediation=REMEDIATION_SUMMARY,
        )
    ]


def recommendation_check_specs(asset: str, settings: Settings) -> list[dg.AssetCheckSpec]:
    """The checks of a week of recommendations."""
    after = "with every run of the week."
    return [
        _spec(
            RECOMMENDATION_COVERAGE,
            asset,
            weekly_partitions(settings),
            what=f"At least {percent(MIN_COVERAGE)} of the active students have a recommendation.",
            reads="how many students the run reached.",
            runs=after,
            remediation=REMEDIATION_COVERAGE,
        ),
        _spec(
            WEEK_COMPLETE,
            asset,
            weekly_partitions(settings),
            what="Every day of the week has snapshots.",
            reads="`snapshot_days`.",
            runs=after,
            remediation=REMEDIATION_WEEK,
        ),
    ]


def _spec(
    name: str,
    asset: str,
    partitions: dg.PartitionsDefinition[str],
    *,
    what: str,
    reads: str,
    runs: str,
    remediation: str,
) -> dg.AssetCheckSpec:
    description = described(what, reads=reads, runs=runs, remediation=f"{remediation}.")
    return dg.AssetCheckSpec(name, asset=asset, partitions_def=partitions, description=description)


def percent(share: float) -> str:
    """A share in percent, to a tenth, never rounded up: what is below a threshold must not look as if it were not."""
    # A share such as 0.29 is a hair less than 29 hundredths: the noise of its last bits must not cost a tenth.
    return f"{math.floor(share * 1000 + 1e-9) / 10:g} %"


def rate_sentence(count: DayCount, minimum: float) -> str:
    """A day's success rate against the one that is wanted; the day has students."""
    rate = percent(count.success_rate or 0)
    return f"{count.day}: {rate} of {count.students:,} students, at least {percent(minimum)} wanted"


def check_success_rate(report: DayReport, minimum: float) -> dg.AssetCheckResult:
    """At least `minimum` of the day's students were published; with nobody at all there is no rate, which is amber."""
    count = report.count
    metadata: Metadata = {
        "published": dg.MetadataValue.int(count.published),
        "failed": dg.MetadataValue.int(count.failed),
    }
    if count.success_rate is None:
        return _result(
            SUCCESS_RATE,
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            found=f"{report.day}: there was nobody, no active student has started a lesson by then",
            remediation="see whether this is the platform that you meant, and the day one on which it had students",
            metadata={THRESHOLD: minimum, **metadata},
        )
    if report.failures:
        metadata["failures_by_reason"] = failures_by_reason_table(report)
        metadata["first_failures"] = failures_table(report)
    return _result(
        SUCCESS_RATE,
        passed=count.success_rate >= minimum,
        severity=dg.AssetCheckSeverity.ERROR,
        found=rate_sentence(count, minimum),
        remediation=REMEDIATION_FAILED,
        metadata={OBSERVED: count.success_rate, THRESHOLD: minimum, **metadata},
    )


def check_run_time(day: date, seconds: float, maximum: float) -> dg.AssetCheckResult:
    """The run that computed the day took at most `maximum` seconds."""
    return _result(
        RUN_TIME,
        passed=seconds <= maximum,
        severity=dg.AssetCheckSeverity.WARN,
        found=f"{day}: the run took {seconds:.1f} s, at most {maximum:g} s wanted",
        remediation=REMEDIATION_SLOW,
        metadata={OBSERVED: round(seconds, 3), THRESHOLD: maximum},
    )


def check_student_count_stable(count: DayCount, earlier: DayCount | None, max_drop: float) -> dg.AssetCheckResult:
    """The number of students did not fall by more than `max_drop` against the last earlier day; nobody is amber."""
    metadata: dict[str, Any] = {OBSERVED: count.students}
    if earlier is None:
        found = f"{count.day}: {count.students:,} students, no earlier day to compare with"
    else:
        found = f"{count.day}: {count.students:,} students after {earlier.students:,} on {earlier.day}"
        least = math.ceil(earlier.students * (1 - max_drop) - 1e-9)
        metadata |= {THRESHOLD: least, "earlier_students": earlier.students}
    fell = earlier is not None and count.students < earlier.students * (1 - max_drop)
    return _result(
        STUDENT_COUNT_STABLE,
        passed=count.students > 0 and not fell,
        severity=dg.AssetCheckSeverity.ERROR if fell else dg.AssetCheckSeverity.WARN,
        found=f"{found}; a fall by {percent(max_drop)} at most and somebody at all wanted",
        remediation=REMEDIATION_STUDENT_COUNT,
        metadata=metadata,
    )


def check_day(
    report: DayReport, earlier: DayCount | None, seconds: float, settings: Settings
) -> list[dg.AssetCheckResult]:
    """All checks of a day of snapshots."""
    return [
        check_success_rate(report, settings.min_success_rate),
        check_run_time(report.day, seconds, settings.max_run_seconds),
        check_student_count_stable(report.count, earlier, settings.max_student_drop),
    ]


def check_summary(day: SummarizedDay) -> dg.AssetCheckResult:
    """Everybody that the day's computation published or failed was counted; rows kept of others may be more."""
    published, failed = day.count.published, day.count.failed
    return _result(
        ALL_STUDENTS,
        passed=day.students >= published and day.failed >= failed,
        severity=dg.AssetCheckSeverity.ERROR,
        found=(
            f"{day.day}: {day.students:,} students in {day.cohorts:,} cohorts and {day.failed:,} failed, at least the "
            f"{published:,} published and {failed:,} failed of the day's computation wanted"
        ),
        remediation=REMEDIATION_SUMMARY,
        metadata={
            OBSERVED: day.students + day.failed,
            THRESHOLD: published + failed,
            "students": day.students,
            "published": published,
            "failed": day.failed,
            "failed_in_the_computation": failed,
        },
    )


def check_recommendation_coverage(report: WeekReport) -> dg.AssetCheckResult:
    """At least half of the receivers have a recommendation."""
    share = report.coverage
    failed = f"; {len(report.failed):,} students failed" if report.failed else ""
    return _result(
        RECOMMENDATION_COVERAGE,
        passed=share is not None and share >= MIN_COVERAGE and not report.failed,
        severity=dg.AssetCheckSeverity.WARN,
        found=(
            f"the week of {report.week_start}: there was nobody, no active student"
            if share is None
            else f"the week of {report.week_start}: {percent(share)} of {report.recipients:,} students have a "
            f"recommendation, at least {percent(MIN_COVERAGE)} wanted{failed}"
        ),
        remediation=REMEDIATION_COVERAGE,
        metadata={
            **({} if share is None else {OBSERVED: share}),
            THRESHOLD: MIN_COVERAGE,
            "receivers": report.recipients,
            "reached": report.with_recommendation,
            "failed": len(report.failed),
        },
    )


def check_week_complete(report: WeekReport) -> dg.AssetCheckResult:
    """Every day of the week has snapshots."""
    missing = ", ".join(map(str, report.missing_days))
    return _result(
        WEEK_COMPLETE,
        passed=not missing,
        severity=dg.AssetCheckSeverity.WARN,
        found=(
            f"the week of {report.week_start}: no snapshots for {missing}; materialize performance_snapshots for "
            "these days, then this week again"
            if missing
            else f"the week of {report.week_start}: all days are there"
        ),
        remediation=REMEDIATION_WEEK,
        metadata={
            OBSERVED: len(report.missing_days),
            THRESHOLD: 0,
            "missing_days": dg.MetadataValue.json([str(day) for day in report.missing_days]),
        },
    )


def _result(
    name: str,
    *,
    passed: bool,
    severity: dg.AssetCheckSeverity,
    found: str,
    remediation: str,
    metadata: Mapping[str, Any],
) -> dg.AssetCheckResult:
    """A result that says what was found, and where it is not what was wanted, what to do about it."""
    return dg.AssetCheckResult(
        check_name=name,
        passed=passed,
        severity=severity,
        description=found,
        metadata=dict(metadata) if passed else {**metadata, WHAT_TO_DO: dg.MetadataValue.md(f"{remediation}.")},
    )

"""The checks of a day, a summary and a week, evaluated in the run that computes it: plain functions of its report.

`partitioned_checks` stores the results under their partitions. The checks of many days are in `daily_checks`.
See https://docs.dagster.io/guides/test/asset-checks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from typing import Any

import dagster as dg

from snapshot_pipeline.orchestration.day_metadata import failure_tables, issue_table
from snapshot_pipeline.orchestration.partitioned_checks import WHAT_TO_DO
from snapshot_pipeline.orchestration.partitions import daily_partitions, weekly_partitions
from snapshot_pipeline.pipeline.day_reports import DayReport
from snapshot_pipeline.pipeline.recommendations import WeekReport
from snapshot_pipeline.pipeline.summaries import SummarizedDay
from snapshot_pipeline.plots.text import count_noun
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.days import DayCount

SUCCESS_RATE = "success_rate"
DATA_QUALITY = "data_quality"
RUN_TIME = "run_time"
STUDENT_COUNT_STABLE = "student_count_stable"
ALL_STUDENTS = "all_students"
RECOMMENDATION_COVERAGE = "recommendation_coverage"
WEEK_COMPLETE = "week_complete"

OBSERVED, THRESHOLD = "observed", "threshold"
"""Metadata keys of every result: the observed value and its limit, which Dagster plots over the days."""

MIN_COVERAGE = 0.5
"""Share of students with a recommendation below which something, such as the lessons, seems to be missing."""

REMEDIATION_FAILED = (
    "`first_failures` shows the errors; `snapshot_failures` lists all of them. Report an error of the pipeline; once "
    "its cause is fixed, launch `retry_failed_job`"
)
REMEDIATION_ISSUES = (
    "`data_issues` lists the rows. Correct them on the platform; the scan for late data then computes the day again, "
    "or materialize it at once"
)
REMEDIATION_NO_STUDENTS = "check that SNAPSHOT_DATABASE_URL is the right platform and that it had students on this day"
REMEDIATION_NO_ACTIVE_STUDENT = (
    "check that SNAPSHOT_DATABASE_URL is the right platform, and SNAPSHOT_STUDENT_ROLES the roles of its students"
)
REMEDIATION_SLOW = (
    "`snapshot-pipeline check` names missing indexes; docs/scaling.md describes the cost of large platforms"
)
REMEDIATION_STUDENT_COUNT = (
    "find out whether students were deactivated, or rows deleted, in the platform; if that was intended, do nothing: "
    "the check passes again on the next day"
)
REMEDIATION_SUMMARY = (
    "something other than a run has deleted rows of `performance_snapshots` or `snapshot_failures`; find out what, "
    "then materialize the snapshots and the summary of the day again"
)
REMEDIATION_WEEK_FAILED = (
    "the run's log lists the students and their errors. Report errors of the pipeline; once the cause is fixed, "
    "materialize the week again"
)
REMEDIATION_COVERAGE = (
    "check that the platform's lessons are published and its students have a specialization and a level"
)
REMEDIATION_WEEK = "materialize `performance_snapshots` for the missing days, then this week again"


def snapshot_check_specs(asset: str, settings: Settings) -> list[dg.AssetCheckSpec]:
    """Return the specs of the checks of a day of snapshots."""
    return _specs(
        asset,
        daily_partitions(settings),
        {
            SUCCESS_RATE: f"At least {percent(settings.min_success_rate)} of the day's students were published.",
            DATA_QUALITY: f"At most {percent(settings.max_issue_rate)} of the day's students have an invalid row.",
            RUN_TIME: f"The run that computed the day took at most {settings.max_run_seconds:g} seconds.",
            STUDENT_COUNT_STABLE: (
                f"The number of students fell by at most {percent(settings.max_student_drop)} since the day before."
            ),
        },
    )


def summary_check_specs(asset: str, settings: Settings) -> list[dg.AssetCheckSpec]:
    """Return the spec of the check of a day's summary."""
    description = "Every student that the day's run published, and every one that failed, is in the summary."
    return _specs(asset, daily_partitions(settings), {ALL_STUDENTS: description})


def recommendation_check_specs(asset: str, settings: Settings) -> list[dg.AssetCheckSpec]:
    """Return the specs of the checks of a week of recommendations."""
    return _specs(
        asset,
        weekly_partitions(settings),
        {
            SUCCESS_RATE: (
                f"The recommendations of at least {percent(settings.min_success_rate)} of the active students could be "
                "computed; the others keep their earlier ones."
            ),
            RECOMMENDATION_COVERAGE: (
                f"At least {percent(MIN_COVERAGE)} of the active students with a lesson left, who have started or "
                "whose cohort has begun, have a recommendation."
            ),
            WEEK_COMPLETE: "Every day of the week has snapshots.",
        },
    )


def _specs(
    asset: str, partitions: dg.PartitionsDefinition[str], descriptions: Mapping[str, str]
) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(name, asset=asset, partitions_def=partitions, description=description)
        for name, description in descriptions.items()
    ]


def percent(share: float) -> str:
    """Return a share in percent, rounded down to a tenth: a share below a threshold must not look equal to it."""
    # 1e-9, because a share such as 0.29 is a little less than 29 hundredths in binary.
    return f"{math.floor(share * 1000 + 1e-9) / 10:g} %"


def rate_sentence(count: DayCount, minimum: float) -> str:
    """Return a sentence with a day's success rate and the minimum; the day must have students."""
    return (
        f"{count.day}: {percent(count.success_rate or 0)} of {count_noun(count.students, 'student')} published, "
        f"expected at least {percent(minimum)}"
    )


def check_success_rate(report: DayReport, minimum: float) -> dg.AssetCheckResult:
    """Check that at least `minimum` of the day's students were published; a day without students is a warning."""
    count = report.count
    counts = {THRESHOLD: minimum, "published": count.published, "failed": count.failed}
    if count.success_rate is None:
        return _result(
            SUCCESS_RATE,
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{report.day}: no students; no active student had started a lesson by then",
            remediation=REMEDIATION_NO_STUDENTS,
            metadata=counts,
        )
    return _result(
        SUCCESS_RATE,
        passed=count.success_rate >= minimum,
        severity=dg.AssetCheckSeverity.ERROR,
        description=rate_sentence(count, minimum),
        remediation=REMEDIATION_FAILED,
        metadata={OBSERVED: count.success_rate, **counts, **failure_tables(report)},
    )


def check_data_quality(report: DayReport, maximum: float) -> dg.AssetCheckResult:
    """Check that at most `maximum` of the day's students have an invalid row of the day."""
    count = report.count
    share = count.issue_rate or 0.0
    kinds = ", ".join(f"{issue.rows:,} {issue.issue}" for issue in report.issues)  # no ids: it is sent in messages
    return _result(
        DATA_QUALITY,
        passed=share <= maximum,
        severity=dg.AssetCheckSeverity.ERROR,
        description=(
            f"{count.day}: {count.with_issues:,} of {count_noun(count.students, 'student')} "
            f"{'has' if count.with_issues == 1 else 'have'} invalid rows ({percent(share)}), expected at most "
            f"{percent(maximum)}{f' ({kinds})' if kinds else ''}"
        ),
        remediation=REMEDIATION_ISSUES,
        metadata={
            OBSERVED: share,
            THRESHOLD: maximum,
            "students_with_issues": count.with_issues,
            **issue_table(report),
        },
    )


def check_run_time(day: date, seconds: float, maximum: float) -> dg.AssetCheckResult:
    """Check that the run that computed the day took at most `maximum` seconds."""
    return _result(
        RUN_TIME,
        passed=seconds <= maximum,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{day}: the run took {seconds:.1f} s, expected at most {maximum:g} s",
        remediation=REMEDIATION_SLOW,
        metadata={OBSERVED: round(seconds, 3), THRESHOLD: maximum},
    )


def check_student_count_stable(count: DayCount, earlier: DayCount | None, max_drop: float) -> dg.AssetCheckResult:
    """Check that the number of students fell by at most `max_drop` since the last earlier day.

    Args:
        earlier: The counts of the last earlier day; None for the first day, a warning if it has no students.
        max_drop: Largest accepted decrease, as a share of the earlier number.
    """
    metadata: dict[str, Any] = {OBSERVED: count.students}
    students = f"{count.day}: {count_noun(count.students, 'student')}"
    if earlier is None:
        description = f"{students}; no earlier day to compare with"
    else:
        least = math.ceil(earlier.students * (1 - max_drop) - 1e-9)
        metadata |= {THRESHOLD: least, "earlier_students": earlier.students}
        description = (
            f"{students} after {earlier.students:,} on {earlier.day}, expected at least {least:,} "
            f"(a decrease of at most {percent(max_drop)})"
        )
    fell = earlier is not None and count.students < earlier.students * (1 - max_drop)
    return _result(
        STUDENT_COUNT_STABLE,
        passed=count.students > 0 and not fell,
        severity=dg.AssetCheckSeverity.ERROR if fell else dg.AssetCheckSeverity.WARN,
        description=description,
        remediation=REMEDIATION_STUDENT_COUNT,
        metadata=metadata,
    )


def check_day(
    report: DayReport, earlier: DayCount | None, seconds: float, settings: Settings
) -> list[dg.AssetCheckResult]:
    """Evaluate all checks of a day of snapshots."""
    return [
        check_success_rate(report, settings.min_success_rate),
        check_data_quality(report, settings.max_issue_rate),
        check_run_time(report.day, seconds, settings.max_run_seconds),
        check_student_count_stable(report.count, earlier, settings.max_student_drop),
    ]


def check_summary(day: SummarizedDay) -> dg.AssetCheckResult:
    """Check that the summary has at least the students that the day's run published and failed.

    It may have more: rows of students that have become inactive since are kept.
    """
    published, failed = day.count.published, day.count.failed
    return _result(
        ALL_STUDENTS,
        passed=day.students >= published and day.failed >= failed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=(
            f"{day.day}: {count_noun(day.students, 'student')} in {count_noun(day.cohorts, 'cohort')} and "
            f"{day.failed:,} failed, expected at least the {published:,} published and {failed:,} failed of "
            "the day's run"
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


def check_week(report: WeekReport, settings: Settings) -> list[dg.AssetCheckResult]:
    """Evaluate all checks of a week of recommendations."""
    return [
        check_week_success_rate(report, settings.min_success_rate),
        check_recommendation_coverage(report),
        check_week_complete(report),
    ]


def check_week_success_rate(report: WeekReport, minimum: float) -> dg.AssetCheckResult:
    """Check that at least `minimum` of the students did not fail; a week without students is a warning."""
    rate, failed = report.success_rate, len(report.failed)
    week = f"the week of {report.week_start}"
    return _result(
        SUCCESS_RATE,
        passed=rate is not None and rate >= minimum,
        severity=dg.AssetCheckSeverity.WARN if rate is None else dg.AssetCheckSeverity.ERROR,
        description=(
            f"{week}: no active student"
            if rate is None
            else f"{week}: {percent(rate)} of {count_noun(report.recipients, 'student')} computed, expected at least "
            f"{percent(minimum)}; {failed:,} failed"
        ),
        remediation=REMEDIATION_NO_ACTIVE_STUDENT if rate is None else REMEDIATION_WEEK_FAILED,
        metadata={**({} if rate is None else {OBSERVED: rate}), THRESHOLD: minimum, "failed": failed},
    )


def check_recommendation_coverage(report: WeekReport) -> dg.AssetCheckResult:
    """Check that at least half of the students with something to do have a recommendation.

    These have a lesson left, and have started, or their cohort has begun.
    """
    share = report.coverage
    return _result(
        RECOMMENDATION_COVERAGE,
        passed=share is not None and share >= MIN_COVERAGE,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"the week of {report.week_start}: no active student has a lesson left in a course that has begun"
            if share is None
            else f"the week of {report.week_start}: {percent(share)} of {count_noun(report.expected, 'student')} with "
            f"a lesson left have a recommendation, expected at least {percent(MIN_COVERAGE)}"
        ),
        remediation=REMEDIATION_COVERAGE,
        metadata={
            **({} if share is None else {OBSERVED: share}),
            THRESHOLD: MIN_COVERAGE,
            "recipients": report.recipients,
            "students_with_lesson_left": report.expected,
            "with_recommendation": report.expected_with_recommendation,
        },
    )


def check_week_complete(report: WeekReport) -> dg.AssetCheckResult:
    """Check that every day of the week has snapshots."""
    missing = [str(day) for day in report.missing_days]
    return _result(
        WEEK_COMPLETE,
        passed=not missing,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"the week of {report.week_start}: no snapshots for {', '.join(missing)}; materialize "
            "performance_snapshots for these days, then this week again"
            if missing
            else f"the week of {report.week_start}: every day has snapshots"
        ),
        remediation=REMEDIATION_WEEK,
        metadata={OBSERVED: len(missing), THRESHOLD: 0, "missing_days": missing},
    )


def _result(
    name: str,
    *,
    passed: bool,
    severity: dg.AssetCheckSeverity,
    description: str,
    remediation: str,
    metadata: Mapping[str, Any],
) -> dg.AssetCheckResult:
    """Build a result; one that has not passed also says what to do.

    As plain text, because the UI hides Markdown behind "[Show Markdown]".
    """
    what_to_do = f"{remediation}.".replace("`", "")
    return dg.AssetCheckResult(
        check_name=name,
        passed=passed,
        severity=severity,
        description=description,
        metadata=dict(metadata) if passed else {**metadata, WHAT_TO_DO: what_to_do},
    )

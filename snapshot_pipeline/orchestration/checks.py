"""The checks of a day, a summary and a week, evaluated in the run that computes it: plain functions of its report.

`partitioned_checks` stores the results under their partitions.
See https://docs.dagster.io/guides/test/asset-checks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from itertools import islice
from typing import Any

import dagster as dg

from snapshot_pipeline.orchestration.day_metadata import Metadata, failure_tables, issue_table, row_table, table
from snapshot_pipeline.orchestration.partitioned_checks import CAUSE, STUDENTS_FAILED, description
from snapshot_pipeline.orchestration.partitions import daily_partitions, weekly_partitions
from snapshot_pipeline.pipeline.at_risk import AtRiskReport
from snapshot_pipeline.pipeline.day_reports import EXAMPLES, DayReport
from snapshot_pipeline.pipeline.recommendations import WeekReport
from snapshot_pipeline.pipeline.summaries import SummarizedDay
from snapshot_pipeline.plots.text import count_noun, percent, percent_up, percentage, percentage_up
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.days import DayCount
from snapshot_pipeline.store.issues import ListedRow

SUCCESS_RATE = "success_rate"
DATA_QUALITY = "data_quality"
RUN_TIME = "run_time"
STUDENT_COUNT_STABLE = "student_count_stable"
ALL_STUDENTS = "all_students"
RECOMMENDATION_COVERAGE = "recommendation_coverage"
WEEK_COMPLETE = "week_complete"
AT_RISK_PLAUSIBLE = "at_risk_plausible"

_NAMED_REASONS = 5
"""How many reasons of failures a description names; the table has all."""

MIN_COVERAGE = 0.5
"""Share of students with a recommendation below which something, such as the lessons, seems to be missing."""


def snapshot_check_specs(asset: str, settings: Settings) -> list[dg.AssetCheckSpec]:
    return _specs(
        asset,
        daily_partitions(settings),
        {
            SUCCESS_RATE: f"At least {percent(settings.min_success_rate)} of the day's students have a snapshot.",
            DATA_QUALITY: f"At most {percent(settings.max_issue_rate)} of the day's students have an invalid row.",
            RUN_TIME: f"The run that computed the day took at most {settings.max_run_seconds:g} seconds.",
            STUDENT_COUNT_STABLE: (
                f"The number of students fell by at most {percent(settings.max_student_drop)} since the day before."
            ),
        },
    )


def summary_check_specs(asset: str, settings: Settings) -> list[dg.AssetCheckSpec]:
    description = "Every student that the day's run published or that failed is in the summary."
    return _specs(asset, daily_partitions(settings), {ALL_STUDENTS: description})


def recommendation_check_specs(asset: str, settings: Settings) -> list[dg.AssetCheckSpec]:
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


def at_risk_check_specs(asset: str, settings: Settings) -> list[dg.AssetCheckSpec]:
    description = (
        f"From {percent(settings.at_risk_min_share)} to {percent(settings.at_risk_max_share)} of the students with an "
        "engagement score are listed, and none whose cohort is too small to compare."
    )
    return _specs(asset, weekly_partitions(settings), {AT_RISK_PLAUSIBLE: description})


def _specs(
    asset: str, partitions: dg.PartitionsDefinition[str], descriptions: Mapping[str, str]
) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(name, asset=asset, partitions_def=partitions, description=description)
        for name, description in descriptions.items()
    ]


def check_success_rate(report: DayReport, minimum: float) -> dg.AssetCheckResult:
    """Check that at least `minimum` of the day's students were published; a day without students is a warning."""
    count = report.count
    counts = {STUDENTS_FAILED: count.failed, "students_published": count.published}
    if count.success_rate is None:
        return _result(
            SUCCESS_RATE,
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            found=f"{report.day}: no students; no active student had started a lesson by then",
            what_to_do=(
                "Check that SNAPSHOT_DATABASE_URL points to the right platform and that it had students on this day."
            ),
            metadata=counts,
        )
    failed = f"; {count.failed:,} failed" if count.failed else ""
    return _result(
        SUCCESS_RATE,
        passed=count.success_rate >= minimum,
        severity=dg.AssetCheckSeverity.ERROR,
        found=(
            f"{report.day}: {count.published:,} of {count_noun(count.students, 'student')} published "
            f"({percent(count.success_rate)}, at least {percent(minimum)} expected){failed}"
        ),
        what_to_do=(
            f"{_by_reason(report.failures)}`first_failures` shows the first errors; `snapshot_failures` lists "
            "all of them. Fix the cause, or report it if it is a bug in the pipeline; then run:"
        ),
        command=f"snapshot-pipeline retry-failed --from {report.day} --to {report.day}",
        metadata={**failure_tables(report), "percent_published": percentage(count.success_rate), **counts},
        cause=_most_frequent(report.failures),
    )


def _most_frequent(reasons: Counter[str]) -> str:
    return reasons.most_common(1)[0][0] if reasons else ""


def _by_reason(reasons: Counter[str]) -> str:
    """Return the most frequent reasons with their counts as a sentence; empty without reasons."""
    if not reasons:
        return ""
    named = [f"{reason} {count:,}" for reason, count in reasons.most_common(_NAMED_REASONS)]
    if len(reasons) > _NAMED_REASONS:
        named.append(f"and {count_noun(len(reasons) - _NAMED_REASONS, 'more reason')}")
    return f"Failures by reason: {', '.join(named)}. "


def check_data_quality(report: DayReport, settings: Settings, rows: Sequence[ListedRow] = ()) -> dg.AssetCheckResult:
    """Check that at most SNAPSHOT_MAX_ISSUE_RATE of the day's students have an invalid row of the day.

    Args:
        rows: Examples of these rows.
    """
    count = report.count
    share = count.issue_rate or 0.0
    issues = sorted(report.issues, key=lambda issue: -issue.rows)
    kinds = ", ".join(f"{issue.issue} {issue.rows:,}" for issue in issues)  # no ids: it is sent in messages
    return _result(
        DATA_QUALITY,
        passed=share <= settings.max_issue_rate,
        severity=dg.AssetCheckSeverity.ERROR,
        found=(
            f"{count.day}: {count.with_issues:,} of {count_noun(count.students, 'student')} "
            f"{'has' if count.with_issues == 1 else 'have'} invalid rows ({percent_up(share)}, at most "
            f"{percent(settings.max_issue_rate)} allowed)"
        ),
        what_to_do=(
            f"Rows by kind: {kinds}. Correct these rows on the platform; `data_issues` lists them. The day is then "
            f"recomputed within about {count_noun(settings.late_check_minutes, 'minute')} if it is one of the last "
            f"{count_noun(settings.late_window_days, 'day')}; otherwise, or to do it now, run:"
        ),
        command=_materialize(count.day),
        metadata={
            **issue_table(report),
            **row_table(rows),
            "percent_with_issues": percentage_up(share),
            "students_with_issues": count.with_issues,
        },
        cause=issues[0].issue if issues else "",
    )


def check_run_time(day: date, seconds: float, maximum: float) -> dg.AssetCheckResult:
    """Check that the run that computed the day took at most `maximum` seconds."""
    tenths = math.ceil(seconds * 10 - 1e-9) / 10  # up: more than the maximum must not look equal to it
    return _result(
        RUN_TIME,
        passed=seconds <= maximum,
        severity=dg.AssetCheckSeverity.WARN,
        found=f"{day}: the run took {f'{tenths:,.1f}'.removesuffix('.0')} s, at most {maximum:g} s expected",
        what_to_do=("The command names missing indexes; docs/scaling.md describes the cost of large platforms."),
        command="snapshot-pipeline check",
        metadata={"run_seconds": tenths},
    )


def check_student_count_stable(count: DayCount, earlier: DayCount | None, max_drop: float) -> dg.AssetCheckResult:
    """Check that the number of students fell by at most `max_drop` since the last earlier day.

    Args:
        earlier: The counts of the last earlier day; None for the first day, a warning if it has no students.
        max_drop: Largest accepted decrease, as a share of the earlier number.
    """
    metadata: dict[str, Any] = {"students": count.students}
    students = f"{count.day}: {count_noun(count.students, 'student')}"
    if earlier is None:
        found = f"{students}; no earlier day to compare with"
    else:
        least = math.ceil(earlier.students * (1 - max_drop) - 1e-9)
        metadata |= {"earlier_students": earlier.students}
        found = (
            f"{students} after {earlier.students:,} on {earlier.day} (at least {least:,} expected, a decrease of at "
            f"most {percent(max_drop)})"
        )
    fell = earlier is not None and count.students < earlier.students * (1 - max_drop)
    return _result(
        STUDENT_COUNT_STABLE,
        passed=count.students > 0 and not fell,
        severity=dg.AssetCheckSeverity.ERROR if fell else dg.AssetCheckSeverity.WARN,
        found=found,
        what_to_do=(
            "Find out whether students were deactivated or rows were deleted on the platform. If that was intended, do "
            "nothing: the check passes again the next day."
        ),
        metadata=metadata,
    )


def check_day(
    report: DayReport,
    earlier: DayCount | None,
    seconds: float,
    settings: Settings,
    invalid_rows: Sequence[ListedRow] = (),
) -> list[dg.AssetCheckResult]:
    """Evaluate all checks of a day of snapshots; `invalid_rows` are examples."""
    return [
        check_success_rate(report, settings.min_success_rate),
        check_data_quality(report, settings, invalid_rows),
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
        found=(
            f"{day.day}: {count_noun(day.students, 'student')} in {count_noun(day.cohorts, 'cohort')} and "
            f"{day.failed:,} failed (at least {published:,} published and {failed:,} failed expected)"
        ),
        what_to_do=(
            "Something other than a run has deleted rows of `performance_snapshots` or `snapshot_failures`. Find out "
            "what, then run:"
        ),
        command=_materialize(day.day),
        metadata={
            "students": day.students,
            "published": published,
            "failed": day.failed,
            "failed_in_the_computation": failed,
        },
    )


def check_week(report: WeekReport, settings: Settings) -> list[dg.AssetCheckResult]:
    return [
        check_week_success_rate(report, settings.min_success_rate),
        check_recommendation_coverage(report),
        check_week_complete(report),
    ]


def check_week_success_rate(report: WeekReport, minimum: float) -> dg.AssetCheckResult:
    """Check that at least `minimum` of the students did not fail; a week without students is a warning."""
    rate, failed = report.success_rate, len(report.failed)
    reasons = Counter(error.partition(":")[0] for error in report.failed.values())
    week = f"week of {report.week_start}"
    if rate is None:
        return _result(
            SUCCESS_RATE,
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            found=f"{week}: no active student",
            what_to_do=(
                "Check that SNAPSHOT_DATABASE_URL points to the right platform, and that SNAPSHOT_STUDENT_ROLES "
                "lists the roles of its students."
            ),
            metadata={STUDENTS_FAILED: failed},
        )
    return _result(
        SUCCESS_RATE,
        passed=rate >= minimum,
        severity=dg.AssetCheckSeverity.ERROR,
        found=(
            f"{week}: {report.recipients - failed:,} of {count_noun(report.recipients, 'student')} computed "
            f"({percent(rate)}, at least {percent(minimum)} expected); {failed:,} failed"
        ),
        what_to_do=(
            f"{_by_reason(reasons)}`first_failures` shows the first errors; the run's log has all of them. Fix "
            "the cause, or report it if it is a bug in the pipeline; then run:"
        ),
        command=_recommend(report),
        metadata={
            **_week_failures(report, reasons),
            "percent_computed": percentage(rate),
            STUDENTS_FAILED: failed,
        },
        cause=_most_frequent(reasons),
    )


def _week_failures(report: WeekReport, reasons: Counter[str]) -> Metadata:
    """Return why students failed, most frequent reason first, and the first ten; empty if none failed."""
    if not report.failed:
        return {}
    examples = ({"user_id": user_id, "detail": error} for user_id, error in islice(report.failed.items(), EXAMPLES))
    by_reason = ({"reason": reason, "students": count} for reason, count in reasons.most_common())
    return {
        "failures_by_reason": table(by_reason, {"reason": "text", "students": "int"}),
        "first_failures": table(examples, {"user_id": "int", "detail": "text"}),
    }


def check_recommendation_coverage(report: WeekReport) -> dg.AssetCheckResult:
    """Check that at least half of the students with something to do have a recommendation.

    These have a lesson left, and have started, or their cohort has begun.
    """
    share = report.coverage
    week = f"week of {report.week_start}"
    return _result(
        RECOMMENDATION_COVERAGE,
        passed=share is not None and share >= MIN_COVERAGE,
        severity=dg.AssetCheckSeverity.WARN,
        found=(
            f"{week}: no active student has a lesson left in a cohort that has begun"
            if share is None
            else f"{week}: {report.expected_with_recommendation:,} of {count_noun(report.expected, 'student')} with a "
            f"lesson left {'has' if report.expected_with_recommendation == 1 else 'have'} a recommendation "
            f"({percent(share)}, at least {percent(MIN_COVERAGE)} expected)"
        ),
        what_to_do=(
            "Check that the platform's lessons are published and its students have a specialization and a level."
        ),
        metadata={
            "recipients": report.recipients,
            "students_with_lesson_left": report.expected,
            "with_recommendation": report.expected_with_recommendation,
            **({} if share is None else {"percent_with_recommendation": percentage(share)}),
        },
    )


def check_week_complete(report: WeekReport) -> dg.AssetCheckResult:
    """Check that every day of the week has snapshots."""
    missing = [str(day) for day in report.missing_days]
    week = f"week of {report.week_start}"
    return _result(
        WEEK_COMPLETE,
        passed=not missing,
        severity=dg.AssetCheckSeverity.WARN,
        found=f"{week}: no snapshots for {', '.join(missing)}" if missing else f"{week}: every day has snapshots",
        what_to_do="Materialize `performance_snapshots` for the missing days, then run:",
        command=_recommend(report),
        metadata={"missing_days": len(missing)},
    )


def check_at_risk(report: AtRiskReport, settings: Settings) -> dg.AssetCheckResult:
    """Check the share of the students with a score who are listed, and that each of them has enough peers."""
    share, minimum, maximum = report.listed_share, settings.at_risk_min_share, settings.at_risk_max_share
    week, few_peers = f"week of {report.week_start}", report.listed_with_few_peers
    again = f"Materialize `performance_snapshots` for {report.week_start + timedelta(days=6)}, then run:"
    if few_peers:
        found = f"{week}: {count_noun(few_peers, 'student')} listed with too few peers"
        what_to_do = f"Their cohort has shrunk since the week's Sunday was computed. {again}"
    elif share is None:
        found = f"{week}: no student has an engagement score"
        what_to_do = (
            "Scores need cohorts of at least ten students. Check that the platform's students have a specialization "
            f"and a level. If so, {again[0].lower()}{again[1:]}"
        )
    else:
        found = (
            f"{week}: {report.listed:,} of {count_noun(report.with_score, 'student')} with a score listed "
            f"({_listed(share, maximum):g} %, {percent(minimum)} to {percent(maximum)} expected)"
        )
        what_to_do = (
            "Look at some of the students (`snapshot-pipeline at-risk`). If the reasons are right, change "
            "SNAPSHOT_AT_RISK_MIN_SHARE or SNAPSHOT_AT_RISK_MAX_SHARE. Otherwise look for missing or imported rows on "
            "the platform, then run:"
        )
    return _result(
        AT_RISK_PLAUSIBLE,
        passed=not few_peers and share is not None and minimum <= share <= maximum,
        severity=dg.AssetCheckSeverity.ERROR if few_peers else dg.AssetCheckSeverity.WARN,
        found=found,
        what_to_do=what_to_do,
        command=_recommend(report),
        metadata={
            "listed": report.listed,
            "with_score": report.with_score,
            "listed_with_few_peers": few_peers,
            **({} if share is None else {"percent_listed": _listed(share, maximum)}),
        },
    )


def _listed(share: float, maximum: float) -> float:
    """Return a share in percent, rounded so that it does not look equal to the limit that it exceeds."""
    return percentage_up(share) if share > maximum else percentage(share)


def _materialize(day: date) -> str:
    return f"snapshot-pipeline materialize --from {day} --to {day}"


def _recommend(report: WeekReport | AtRiskReport) -> str:
    return f"snapshot-pipeline recommend --week {report.week_start}"


def _result(
    name: str,
    *,
    passed: bool,
    severity: dg.AssetCheckSeverity,
    found: str,
    what_to_do: str,
    metadata: Mapping[str, Any],
    command: str = "",
    cause: str = "",
) -> dg.AssetCheckResult:
    """Build a result, whose description says what was found and, if it has not passed, what to do.

    Args:
        found: A sentence without its full stop.
        metadata: Tables, then numbers. The UI shows them by name, so the names of tables come first in the alphabet.
        cause: The main cause of a failure; failures with the same cause are one incident.
    """
    return dg.AssetCheckResult(
        check_name=name,
        passed=passed,
        severity=severity,
        description=description([f"{found}."] if passed else [f"{found}.", what_to_do], "" if passed else command),
        metadata=dict(metadata) if passed or not cause else {**metadata, CAUSE: cause},
    )

"""What must be true of a day and of a week, as plain functions with a thin Dagster result.

Put here: the checks, and the one helper that files a result under its day.
Do not put here: how a day is computed. Who is told of a failed check is not decided here either.
See https://docs.dagster.io/guides/test/asset-checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

from snapshot_pipeline.orchestration.partitions import daily_partitions, weekly_partitions
from snapshot_pipeline.pipeline.cohorts import SummarizedDay
from snapshot_pipeline.pipeline.recommendations import WeekReport
from snapshot_pipeline.pipeline.snapshots import DayReport
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.snapshots import DayCount

SUCCESS_RATE = "success_rate"
RUN_TIME = "run_time"
COVERAGE = "coverage"
REACH = "reach"
WEEK_COMPLETE = "week_complete"
ALL_STUDENTS = "all_students"

MIN_REACH = 0.5
"""The share of receivers below which a week looks as if something were missing, such as the lessons."""


def snapshot_check_specs(asset: str, settings: Settings) -> list[dg.AssetCheckSpec]:
    """The checks of a day of snapshots."""
    days = daily_partitions(settings)
    return [
        dg.AssetCheckSpec(
            SUCCESS_RATE,
            asset=asset,
            partitions_def=days,
            description=(
                f"At least {settings.min_success_rate:.0%} of the day's students were published. When it is red: the "
                "result lists the failures by reason and the first ten; `snapshot_failures` has them all. Mend the "
                "rows in the platform, then materialize the day again."
            ),
        ),
        dg.AssetCheckSpec(
            RUN_TIME,
            asset=asset,
            partitions_def=days,
            description=(
                f"The run that computed the day took at most {settings.max_run_seconds:g} seconds. When it is amber: "
                "`snapshot-pipeline check` says which indexes are missing."
            ),
        ),
        dg.AssetCheckSpec(
            COVERAGE,
            asset=asset,
            partitions_def=days,
            description=(
                f"The number of students did not fall by more than {settings.max_student_drop:.0%} against the last "
                "earlier day. When it is red: ask whether students were deactivated or rows deleted in the platform."
            ),
        ),
    ]


def summary_check_specs(asset: str, settings: Settings) -> list[dg.AssetCheckSpec]:
    """The check of a day's summary."""
    return [
        dg.AssetCheckSpec(
            ALL_STUDENTS,
            asset=asset,
            partitions_def=daily_partitions(settings),
            description=(
                "Every student that the day's computation published, and every one that failed, is in the summary. "
                "When it is red: something else than a run has removed rows of `performance_snapshots` or "
                "`snapshot_failures`; find out what, then materialize the day's snapshots and summary again."
            ),
        )
    ]


def recommendation_check_specs(asset: str, settings: Settings) -> list[dg.AssetCheckSpec]:
    """The checks of a week of recommendations."""
    weeks = weekly_partitions(settings)
    return [
        dg.AssetCheckSpec(
            REACH,
            asset=asset,
            partitions_def=weeks,
            description=(
                f"At least {MIN_REACH:.0%} of the active students have a recommendation. When it is amber: look "
                "whether the platform's lessons are published and the students have a specialization and a level."
            ),
        ),
        dg.AssetCheckSpec(
            WEEK_COMPLETE,
            asset=asset,
            partitions_def=weeks,
            description=(
                "Every day of the week has snapshots. When it is amber: the result names the days that are missing; "
                "materialize them, then the week again."
            ),
        ),
    ]


def check_success_rate(report: DayReport, minimum: float) -> dg.AssetCheckResult:
    """At least `minimum` of the day's students were published; with nobody at all there is no rate, which is amber."""
    count = report.count
    metadata: dict[str, dg.MetadataValue] = {
        "published": dg.MetadataValue.int(count.published),
        "failed": dg.MetadataValue.int(count.failed),
        "threshold": dg.MetadataValue.float(minimum),
    }
    if count.success_rate is None:
        return dg.AssetCheckResult(
            check_name=SUCCESS_RATE,
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{report.day}: there was nobody, no active student has started a lesson by then",
            metadata=metadata,
        )
    metadata["success_rate"] = dg.MetadataValue.float(count.success_rate)
    if report.failures:
        metadata["failures_by_reason"] = dg.MetadataValue.json(dict(report.failures.most_common()))
        metadata["first_failures"] = failures_table(report)
    return dg.AssetCheckResult(
        check_name=SUCCESS_RATE,
        passed=count.success_rate >= minimum,
        severity=dg.AssetCheckSeverity.ERROR,
        description=(
            f"{report.day}: {count.success_rate:.2%} of {count.students:,} students, at least {minimum:.0%} wanted"
        ),
        metadata=metadata,
    )


def failures_table(report: DayReport) -> dg.TableMetadataValue:
    """The first ten failed students of a day."""
    return dg.MetadataValue.table(
        [
            dg.TableRecord({"user_id": student.user_id, "reason": student.reason, "detail": student.detail})
            for student in report.examples
        ],
        schema=dg.TableSchema([dg.TableColumn("user_id", "int"), dg.TableColumn("reason"), dg.TableColumn("detail")]),
    )


def check_run_time(day: date, seconds: float, maximum: float) -> dg.AssetCheckResult:
    """The run that computed the day took at most `maximum` seconds."""
    return dg.AssetCheckResult(
        check_name=RUN_TIME,
        passed=seconds <= maximum,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{day}: the run took {seconds:.1f} s, at most {maximum:g} s wanted",
        metadata={"seconds": round(seconds, 3), "threshold": maximum},
    )


def check_coverage(count: DayCount, earlier: DayCount | None, max_drop: float) -> dg.AssetCheckResult:
    """The number of students did not fall by more than `max_drop` against the last earlier day; nobody is amber."""
    metadata: dict[str, dg.MetadataValue] = {"students": dg.MetadataValue.int(count.students)}
    if earlier is None:
        found = f"{count.day}: {count.students:,} students, no earlier day to compare with"
    else:
        found = f"{count.day}: {count.students:,} students after {earlier.students:,} on {earlier.day}"
        metadata["earlier_students"] = dg.MetadataValue.int(earlier.students)
    fell = earlier is not None and count.students < earlier.students * (1 - max_drop)
    return dg.AssetCheckResult(
        check_name=COVERAGE,
        passed=count.students > 0 and not fell,
        severity=dg.AssetCheckSeverity.ERROR if fell else dg.AssetCheckSeverity.WARN,
        description=f"{found}; a fall by {max_drop:.0%} at most and somebody at all wanted",
        metadata=metadata,
    )


def check_day(
    report: DayReport, earlier: DayCount | None, seconds: float, settings: Settings
) -> list[dg.AssetCheckResult]:
    """All checks of a day of snapshots."""
    return [
        check_success_rate(report, settings.min_success_rate),
        check_run_time(report.day, seconds, settings.max_run_seconds),
        check_coverage(report.count, earlier, settings.max_student_drop),
    ]


def check_summary(day: SummarizedDay) -> dg.AssetCheckResult:
    """Everybody that the day's computation published or failed was counted; rows kept of others may be more."""
    published, failed = day.count.published, day.count.failed
    return dg.AssetCheckResult(
        check_name=ALL_STUDENTS,
        passed=day.students >= published and day.failed >= failed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=(
            f"{day.day}: {day.students:,} students in {day.cohorts:,} cohorts and {day.failed:,} failed, at least the "
            f"{published:,} published and {failed:,} failed of the day's computation wanted"
        ),
        metadata={
            "students": day.students,
            "published": published,
            "failed": day.failed,
            "failed_in_the_computation": failed,
        },
    )


def check_reach(report: WeekReport) -> dg.AssetCheckResult:
    """At least half of the receivers have a recommendation."""
    share = report.share_reached
    failed = f"; {len(report.failed):,} students failed" if report.failed else ""
    return dg.AssetCheckResult(
        check_name=REACH,
        passed=share is not None and share >= MIN_REACH and not report.failed,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"the week of {report.week_start}: there was nobody, no active student"
            if share is None
            else f"the week of {report.week_start}: {share:.1%} of {report.receivers:,} students have a "
            f"recommendation, at least {MIN_REACH:.0%} wanted{failed}"
        ),
        metadata={"receivers": report.receivers, "reached": report.reached, "failed": len(report.failed)},
    )


def check_week_complete(report: WeekReport) -> dg.AssetCheckResult:
    """Every day of the week has snapshots."""
    missing = ", ".join(map(str, report.missing_days))
    return dg.AssetCheckResult(
        check_name=WEEK_COMPLETE,
        passed=not missing,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"the week of {report.week_start}: no snapshots for {missing}; materialize performance_snapshots for "
            "these days, then this week again"
            if missing
            else f"the week of {report.week_start}: all days are there"
        ),
        metadata={"missing_days": dg.MetadataValue.json([str(day) for day in report.missing_days])},
    )


def file_by_day(
    context: dg.AssetExecutionContext, results: Mapping[date, Sequence[dg.AssetCheckResult]]
) -> list[dg.AssetCheckResult]:
    """File each day's results under that day, and return what the step itself must still yield.

    A run of one partition key needs nothing special. In a run over a range Dagster 1.13 would file a result under no
    day at all, so each day's evaluation is logged with its day and its materialization, which must exist already. The
    step must yield one result a check all the same: that the checks of all its days passed.
    Partitioned checks are a preview in Dagster 1.13; all that leans on them is in this function.
    """
    if context.has_partition_key:
        return [result for day_results in results.values() for result in day_results]
    materialized = last_materializations(context.instance, context.asset_key, list(results))
    for day, day_results in results.items():
        for result in day_results:
            context.log_event(evaluation_of_day(context.asset_key, day, result, materialized.get(day)))
    names = [str(result.check_name) for result in next(iter(results.values()))]
    return [_of_the_range(name, results) for name in names]


def evaluation_of_day(
    asset: dg.AssetKey,
    day: date,
    result: dg.AssetCheckResult,
    materialized: AssetCheckEvaluationTargetMaterializationData | None,
) -> dg.AssetCheckEvaluation:
    """A result as an event that is filed under its day and under the day's last materialization, where it has one."""
    return dg.AssetCheckEvaluation(
        asset_key=asset,
        check_name=str(result.check_name),
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        description=result.description,
        target_materialization_data=materialized,
        partition=day.isoformat(),
    )


def last_materializations(
    instance: dg.DagsterInstance, asset: dg.AssetKey, days: Sequence[date]
) -> dict[date, AssetCheckEvaluationTargetMaterializationData]:
    """The last materialization of each day that has one, in two queries however many days there are."""
    partitions = {day.isoformat(): day for day in days}
    newest = instance.get_latest_storage_id_by_partition(
        asset, dg.DagsterEventType.ASSET_MATERIALIZATION, set(partitions)
    )
    if not newest:
        return {}
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=asset, storage_ids=list(newest.values())), limit=len(newest)
    ).records
    return {
        partitions[str(record.partition_key)]: AssetCheckEvaluationTargetMaterializationData(
            storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
        )
        for record in records
    }


def _of_the_range(name: str, results: Mapping[date, Sequence[dg.AssetCheckResult]]) -> dg.AssetCheckResult:
    failed = {
        day: result
        for day, day_results in results.items()
        for result in day_results
        if result.check_name == name and not result.passed
    }
    worst = any(result.severity == dg.AssetCheckSeverity.ERROR for result in failed.values())
    return dg.AssetCheckResult(
        check_name=name,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if worst else dg.AssetCheckSeverity.WARN,
        description=f"{len(results) - len(failed)} of the {len(results)} days of this run passed",
        metadata={"days_failed": dg.MetadataValue.json([str(day) for day in failed])},
    )

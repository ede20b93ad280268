"""Results of checks, filed under their days.

Put here: the one way by which a result finds its day. Do not put here: the checks (`checks`).
Partitioned checks are a preview in Dagster 1.13, and so is all that leans on them here.
See https://docs.dagster.io/guides/test/asset-checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData


def file_by_day(
    context: dg.AssetExecutionContext, results: Mapping[date, Sequence[dg.AssetCheckResult]]
) -> list[dg.AssetCheckResult]:
    """File each day's results under that day, and return what the step itself must still yield.

    A run of one partition key needs nothing special. In a run over a range Dagster 1.13 would file a result under no
    day at all, so each day's evaluation is logged with its day and its materialization, which must exist already. The
    step must yield one result a check all the same: that the checks of all its days passed.
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

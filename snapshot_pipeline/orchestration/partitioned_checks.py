"""Days and the results of their checks, filed under their days.

Put here: the one way by which a result finds its day. Do not put here: the checks (`checks`).
Partitioned checks are a preview in Dagster 1.13, and so is all that leans on them here.
See https://docs.dagster.io/guides/test/asset-checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

WHAT_TO_DO = "what_to_do"
"""In the metadata of a result that is not green."""


def log_by_partition(
    context: dg.AssetExecutionContext, results: Mapping[date, Sequence[dg.AssetCheckResult]]
) -> list[dg.AssetCheckResult]:
    """File each day's results under that day, and return what the step itself must still yield.

    A run of one partition key needs nothing special. In a run over a range Dagster 1.13 would file a result under no
    day at all, so each day's evaluation is logged with its day and its materialization, which must exist already. The
    step must yield one result a check all the same: that the checks of all its days passed.
    """
    if context.has_partition_key:
        return [result for day_results in results.values() for result in day_results]
    for evaluation in _evaluations(context.instance, context.asset_key, results):
        context.log_event(evaluation)
    names = [str(result.check_name) for result in next(iter(results.values()))]
    return [_of_the_range(name, results) for name in names]


def partition_events(
    instance: dg.DagsterInstance,
    asset: dg.AssetKey,
    metadata: Mapping[date, Mapping[str, dg.MetadataValue]],
    results: Mapping[date, Sequence[dg.AssetCheckResult]],
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """What a step yields of days of an asset that is not its own: that they are there, and how their checks went.

    Args:
        instance: Where the events are recorded.
        asset: The asset.
        metadata: What is shown of each day.
        results: The results of each day's checks.
    """
    for day, shown in metadata.items():
        yield dg.AssetMaterialization(asset, partition=day.isoformat(), metadata=shown)
    # Not before: a result is filed under the materialization that is the last one by now.
    yield from _evaluations(instance, asset, results)


def _evaluations(
    instance: dg.DagsterInstance, asset: dg.AssetKey, results: Mapping[date, Sequence[dg.AssetCheckResult]]
) -> Iterator[dg.AssetCheckEvaluation]:
    """Each result as an event that is filed under its day, and under the day's last materialization if it has one."""
    materialized = last_materializations(instance, asset, list(results))
    for day, day_results in results.items():
        for result in day_results:
            yield dg.AssetCheckEvaluation(
                asset_key=asset,
                check_name=str(result.check_name),
                passed=result.passed,
                metadata=result.metadata,
                severity=result.severity,
                description=result.description,
                target_materialization_data=materialized.get(day),
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
    last = next(result for result in results[max(results)] if result.check_name == name)
    shown = next(iter(failed.values()), last)  # the first day that failed, else the last one
    passed = f"{len(results) - len(failed)} of the {len(results)} days of this run passed"
    metadata: dict[str, dg.MetadataValue] = {"days_failed": dg.MetadataValue.json([str(day) for day in failed])}
    if WHAT_TO_DO in shown.metadata:
        metadata[WHAT_TO_DO] = shown.metadata[WHAT_TO_DO]
    return dg.AssetCheckResult(
        check_name=name,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if worst else dg.AssetCheckSeverity.WARN,
        description=f"{passed}; {shown.description}" if shown.description else passed,
        metadata=metadata,
    )

"""Stores check results under their partitions: in runs over a range, and for assets that a run does not own.

Partitioned checks are a preview feature of Dagster 1.13. See https://docs.dagster.io/guides/test/asset-checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg

from snapshot_pipeline.orchestration.instance.dagster_internals import AssetCheckEvaluationTargetMaterializationData

WHAT_TO_DO = "what_to_do"
"""Metadata key of a failed result: what to do."""


def log_by_partition(
    context: dg.AssetExecutionContext, results: Mapping[date, Sequence[dg.AssetCheckResult]]
) -> list[dg.AssetCheckResult]:
    """Store each day's results under its partition, and return the results that the step must still yield.

    A run of one partition yields its results as they are. In a run over a range Dagster 1.13 would store a result under
    no partition, so each day's evaluation is logged with its partition and its materialization, which must exist
    already. The step must still yield one result per check: whether it passed on all days.
    """
    if context.has_partition_key:
        return [result for day_results in results.values() for result in day_results]
    for evaluation in _evaluations(context.instance, context.asset_key, results):
        context.log_event(evaluation)
    names = [str(result.check_name) for result in next(iter(results.values()))]
    return [_range_result(name, results) for name in names]


def partition_events(
    instance: dg.DagsterInstance,
    asset: dg.AssetKey,
    metadata: Mapping[date, Mapping[str, Any]],
    results: Mapping[date, Sequence[dg.AssetCheckResult]],
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """Yield the materializations and check evaluations of some days of an asset that is not the step's own."""
    for day, day_metadata in metadata.items():
        yield dg.AssetMaterialization(asset, partition=day.isoformat(), metadata=day_metadata)
    # Not earlier: an evaluation refers to the latest materialization.
    yield from _evaluations(instance, asset, results)


def _evaluations(
    instance: dg.DagsterInstance, asset: dg.AssetKey, results: Mapping[date, Sequence[dg.AssetCheckResult]]
) -> Iterator[dg.AssetCheckEvaluation]:
    """Yield each result as an event with its partition, and its latest materialization if there is one."""
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
    """Return the latest materialization of each day that has one, with two queries for any number of days."""
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


def _range_result(name: str, results: Mapping[date, Sequence[dg.AssetCheckResult]]) -> dg.AssetCheckResult:
    failed = {
        day: result
        for day, day_results in results.items()
        for result in day_results
        if result.check_name == name and not result.passed
    }
    worst = any(result.severity == dg.AssetCheckSeverity.ERROR for result in failed.values())
    last = next(result for result in results[max(results)] if result.check_name == name)
    shown = next(iter(failed.values()), last)  # the first failed day, else the last day
    passed = f"{len(results) - len(failed)} of {len(results)} days of this run passed"
    metadata: dict[str, Any] = {"days_failed": [str(day) for day in failed]}
    if WHAT_TO_DO in shown.metadata:
        metadata[WHAT_TO_DO] = shown.metadata[WHAT_TO_DO]
    return dg.AssetCheckResult(
        check_name=name,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if worst else dg.AssetCheckSeverity.WARN,
        description=f"{passed}; {shown.description}" if shown.description else passed,
        metadata=metadata,
    )

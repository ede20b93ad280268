"""Stores check results under their partitions: in runs over a range, and for assets that a run does not own.

Partitioned checks are a preview feature of Dagster 1.13. See https://docs.dagster.io/guides/test/asset-checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg

from snapshot_pipeline.orchestration.instance.dagster_internals import AssetCheckEvaluationTargetMaterializationData

CAUSE = "cause"
"""Metadata key of a failed result: its main cause. Failures of a check with the same cause are one incident."""

_PARAGRAPH = "\n\n"


def description(paragraphs: Sequence[str], command: str = "") -> str:
    """Return the description of a result, in Markdown: what was found, what to do, and the command to run.

    The UI shows nothing else of a result inline.
    """
    return _PARAGRAPH.join([*paragraphs, f"`{command}`"] if command else paragraphs)


def found_and_advice(text: str) -> tuple[str, str]:
    """Return the first paragraph of a description without its full stop, and what to do, without the command."""
    found, *others = (" ".join(part.split()) for part in text.split(_PARAGRAPH))
    return found.rstrip("."), "\n".join(part for part in others if not part.startswith("`"))


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
    is_error = any(result.severity == dg.AssetCheckSeverity.ERROR for result in failed.values())
    last = next(result for result in results[max(results)] if result.check_name == name)
    shown = next(iter(failed.values()), last)  # the first failed day, else the last day
    tables = {key: value for key, value in shown.metadata.items() if isinstance(value, dg.TableMetadataValue)}
    passed = f"{len(results) - len(failed)} of {len(results)} days of this run passed"
    return dg.AssetCheckResult(
        check_name=name,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
        description=f"{passed}. {shown.description}" if shown.description else f"{passed}.",
        metadata={**tables, "days_failed": ", ".join(map(str, failed))} if failed else {},
    )

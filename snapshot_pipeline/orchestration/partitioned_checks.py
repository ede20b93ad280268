"""Stores check results under their partitions: in runs over a range, and for assets that a run does not own.

Partitioned checks are a preview feature of Dagster 1.13. See https://docs.dagster.io/guides/test/asset-checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg

from snapshot_pipeline.orchestration.commands import command_for
from snapshot_pipeline.orchestration.day_metadata import table
from snapshot_pipeline.orchestration.instance.dagster_internals import AssetCheckEvaluationTargetMaterializationData

CAUSE = "main_cause"
"""Metadata key of a failed result: its main cause. Failures of a check with the same cause are one incident."""

STUDENTS_FAILED = "students_failed"
"""Metadata key of the number of students who could not be computed."""

_PARAGRAPH = "\n\n"


def description(paragraphs: Sequence[str], command: str = "") -> str:
    """Return the description of a result, in Markdown: what was found, what to do, and the command to run.

    The UI shows nothing else of a result inline.
    """
    return _PARAGRAPH.join([*paragraphs, f"`{command}`"] if command else paragraphs)


@dataclass(frozen=True)
class Description:
    """The parts of a description.

    Attributes:
        found: The first paragraph, without its full stop.
        what_to_do: The other paragraphs, one line each; empty if there are none.
        command: The command to run, or an empty text.
    """

    found: str
    what_to_do: str
    command: str


def read_description(text: str) -> Description:
    """Return the parts of a description that `description` has built."""
    found, *others = (" ".join(part.split()) for part in text.split(_PARAGRAPH))
    commands = [part for part in others if part.startswith("`snapshot-pipeline ")]
    what_to_do = "\n".join(part for part in others if part not in commands)
    return Description(found.rstrip("."), what_to_do, commands[0].strip("`") if commands else "")


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
    """Return whether a check passed on all days, with what was found and the command for all days that failed."""
    by_day = {day: result for day, of_day in results.items() for result in of_day if result.check_name == name}
    if len(by_day) == 1:
        return next(iter(by_day.values()))
    failed = {day: result for day, result in by_day.items() if not result.passed}
    if not failed:
        last = by_day[max(by_day)]
        passed = f"All {len(by_day)} days of this run passed."
        text = f"{passed} {last.description}" if last.description else passed
        return dg.AssetCheckResult(check_name=name, passed=True, description=text)
    parts = {day: read_description(str(result.description)) for day, result in failed.items()}
    first = min(failed)
    found = f"{len(failed)} of {len(by_day)} days of this run failed; first {parts[first].found}."
    paragraphs = [found, *parts[first].what_to_do.split("\n")] if parts[first].what_to_do else [found]
    days = [{"day": str(day), "found": part.found.removeprefix(f"{day}: ")} for day, part in parts.items()]
    tables = {key: value for key, value in failed[first].metadata.items() if isinstance(value, dg.TableMetadataValue)}
    is_error = any(result.severity == dg.AssetCheckSeverity.ERROR for result in failed.values())
    return dg.AssetCheckResult(
        check_name=name,
        passed=False,
        severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
        description=description(paragraphs, command_for(parts[first].command, map(str, failed))),
        metadata={"failed_days": table(days, {"day": "text", "found": "text"}), **tables},
    )

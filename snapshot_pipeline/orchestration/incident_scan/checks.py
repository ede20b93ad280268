"""Finds failing checks of severity ERROR.

The description of a check result is sent to others; of its metadata only counts are, because a check names students in
its metadata only.
"""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from snapshot_pipeline.alerts.incidents import FAILED_CHECK, Observation
from snapshot_pipeline.orchestration.incident_scan.scan import Scan, from_timestamp

_COUNTS = ("published", "failed")


def find_failing_checks(scan: Scan) -> Iterator[Observation]:
    """Find the latest result of each check and partition that was evaluated since the last scan, failed or not.

    A partitioned check has one incident per partition. The result without a partition that a run over a range must also
    yield (`partitioned_checks.log_by_partition`) is skipped.
    """
    defined = {key: scan.repository.asset_graph.get(key) for key in scan.repository.asset_graph.asset_check_keys}
    latest: dict[str, Observation] = {}
    # From the storage: the instance's method is deprecated, and the alternatives return one check at a time.
    filter_ = dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION, after_timestamp=scan.since.timestamp())
    for event in scan.instance.event_log_storage.get_event_records(filter_, ascending=True):
        evaluation = event.event_log_entry.asset_check_evaluation
        if evaluation is None or evaluation.asset_check_key not in defined:
            continue
        partitions = defined[evaluation.asset_check_key].partitions_def
        if evaluation.partition is None and partitions is not None:
            continue
        if not _exists(partitions, evaluation.partition or ""):
            continue
        observation = _observation(evaluation, event.event_log_entry)
        known = latest.get(observation.subject)
        if known is None or known.event_at is None or event.timestamp >= known.event_at.timestamp():
            latest[observation.subject] = observation
    yield from latest.values()
    by_name = {_name(key): node for key, node in defined.items()}
    for subject, incident in scan.open_incidents(FAILED_CHECK).items():
        name, _, partition = subject.partition(" ")
        if name not in by_name:
            yield Observation(FAILED_CHECK, subject, False, incident.title, "the check is not defined any more")
        elif not _exists(by_name[name].partitions_def, partition):
            detail = f"the partition {partition} does not exist"
            yield Observation(FAILED_CHECK, subject, False, incident.title, detail)


def _exists(partitions: dg.PartitionsDefinition[str] | None, key: str) -> bool:
    return not key or partitions is None or partitions.has_partition_key(key)


def _observation(evaluation: dg.AssetCheckEvaluation, entry: dg.EventLogEntry) -> Observation:
    is_problem = not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR
    asset, partition = evaluation.asset_key.to_user_string(), evaluation.partition
    suffix = f" {partition}" if partition else ""
    return Observation(
        kind=FAILED_CHECK,
        subject=f"{_name(evaluation.asset_check_key)}{suffix}",
        is_problem=is_problem,
        title=f"{asset}{suffix}: the check {evaluation.check_name} has failed",
        detail=_detail(evaluation),
        run_id=entry.run_id or None,
        event_at=from_timestamp(entry.timestamp),
    )


def _name(key: dg.AssetCheckKey) -> str:
    return f"{key.asset_key.to_user_string()}/{key.name}"


def _detail(evaluation: dg.AssetCheckEvaluation) -> str:
    counts = [
        f"{value.value:,} {name}"
        for name in _COUNTS
        if isinstance(value := evaluation.metadata.get(name), dg.IntMetadataValue) and value.value is not None
    ]
    description = " ".join((evaluation.description or ("passed" if evaluation.passed else "did not pass")).split())
    return f"{description} ({', '.join(counts)})" if counts else description

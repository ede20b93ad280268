"""Find backfills that Dagster has given up on: it cancels their runs, and a canceled run alone is not an incident.

For example SNAPSHOT_START_DATE was moved while the backfill was in progress, so that its partitions no longer exist.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import dagster as dg

from snapshot_pipeline.alerts.incidents import FAILED_BACKFILL, Observation
from snapshot_pipeline.orchestration.incident_scan.errors import one_line
from snapshot_pipeline.orchestration.incident_scan.scan import Scan, from_timestamp
from snapshot_pipeline.orchestration.instance.dagster_internals import (
    BACKFILL_ID_TAG,
    BulkActionsFilter,
    BulkActionStatus,
    PartitionBackfill,
)

_LONGEST_BACKFILL = timedelta(days=14)
"""How long before the last scan a backfill that fails may have been launched."""

_GIVEN_UP = [BulkActionStatus.FAILED, BulkActionStatus.COMPLETED_FAILED, BulkActionStatus.FAILING]
"""A backfill whose definition can no longer be read stays FAILING for ever."""


def find_failed_backfills(scan: Scan) -> Iterator[Observation]:
    """Find backfills that failed themselves; a backfill some of whose runs failed has the incidents of these runs."""
    filter_ = BulkActionsFilter(statuses=_GIVEN_UP, created_after=scan.since - _LONGEST_BACKFILL)
    failed = {
        backfill.backfill_id: backfill
        for backfill in scan.instance.get_backfills(filters=filter_)
        if _is_recent(scan, backfill) and _is_ours(scan, backfill) and not _is_explained(scan, backfill)
    }
    still_open = scan.open_incidents(FAILED_BACKFILL)
    for backfill_id, incident in still_open.items():
        backfill = failed.get(backfill_id) or scan.instance.get_backfill(backfill_id)
        if backfill is None:
            detail = "Dagster no longer knows the backfill"
            yield Observation(FAILED_BACKFILL, backfill_id, False, incident.title, detail)
        else:
            failed[backfill_id] = backfill
    for backfill in failed.values():
        is_computed = all(_is_computed(scan, backfill, asset) for asset in backfill.asset_selection or ())
        yield Observation(
            kind=FAILED_BACKFILL,
            subject=backfill.backfill_id,
            is_problem=not is_computed,
            title=f"{_assets(backfill)}: the backfill {backfill.backfill_id} has failed",
            detail="its days or weeks have been computed since" if is_computed else _reason(backfill),
            event_at=None if is_computed else _ended(backfill),
        )


def _ended(backfill: PartitionBackfill) -> datetime | None:
    return from_timestamp(backfill.backfill_end_timestamp) if backfill.backfill_end_timestamp else None


def _is_recent(scan: Scan, backfill: PartitionBackfill) -> bool:
    ended = _ended(backfill)
    return backfill.status is BulkActionStatus.FAILING or (ended is not None and ended >= scan.since)


def _is_ours(scan: Scan, backfill: PartitionBackfill) -> bool:
    assets = set(backfill.asset_selection or ())
    return bool(assets) and assets <= set(scan.repository.asset_graph.get_all_asset_keys())


def _is_explained(scan: Scan, backfill: PartitionBackfill) -> bool:
    """Return whether runs of a completed backfill failed, which has incidents, or were canceled by a user."""
    if backfill.status is not BulkActionStatus.COMPLETED_FAILED:
        return False
    ended = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    runs = scan.instance.get_runs(dg.RunsFilter(statuses=ended, tags={BACKFILL_ID_TAG: backfill.backfill_id}), limit=1)
    return bool(runs)


def _is_computed(scan: Scan, backfill: PartitionBackfill, asset: dg.AssetKey) -> bool:
    """Return whether all partitions that still exist were materialized after the backfill was launched."""
    partitions = scan.repository.asset_graph.get(asset).partitions_def
    data = backfill.asset_backfill_data
    if partitions is None or data is None:
        return True
    wanted = set(data.target_subset.get_partitions_subset(asset).get_partition_keys())
    keys = {key for key in wanted if partitions.has_partition_key(key)}
    if not keys:
        return True
    launched = dg.AssetRecordsFilter(asset_key=asset, before_timestamp=backfill.backfill_timestamp)
    before = scan.instance.fetch_materializations(launched, limit=1).records
    since = before[0].storage_id if before else 0
    event = dg.DagsterEventType.ASSET_MATERIALIZATION
    event_ids = scan.instance.get_latest_storage_id_by_partition(asset, event, keys)
    return all(event_ids.get(key, -1) > since for key in keys)


def _assets(backfill: PartitionBackfill) -> str:
    return ", ".join(asset.to_user_string() for asset in backfill.asset_selection or ())


def _reason(backfill: PartitionBackfill) -> str:
    """Return one line that may be sent: the message of an error of Dagster's, of any other error only its class."""
    error = backfill.error
    if error is None:
        return "some of its days or weeks were not computed, and no run of it failed"
    if (error.cls_name or "").startswith("Dagster"):
        return one_line(error.message.split(": ", 1)[-1])
    return f"Dagster's daemon raised {error.cls_name or 'an error'}; the backfill's page has the details"

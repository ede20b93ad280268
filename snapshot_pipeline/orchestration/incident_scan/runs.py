"""Finds failed runs and slow runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import dagster as dg

from snapshot_pipeline.alerts.incidents import FAILED_RUN, SLOW_RUN, Observation
from snapshot_pipeline.orchestration.incident_scan.commands import materialize_command
from snapshot_pipeline.orchestration.incident_scan.errors import launch_error, one_line
from snapshot_pipeline.orchestration.incident_scan.scan import Scan, from_timestamp
from snapshot_pipeline.orchestration.instance.dagster_internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    AUTO_RETRY_RUN_ID_TAG,
    PARTITION_NAME_TAG,
    WILL_RETRY_TAG,
    quotes_an_error,
)
from snapshot_pipeline.orchestration.steps import REJECTED_INPUT, TEXT_TO_SEND
from snapshot_pipeline.store.incidents import Incident

_ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)

_RETRY_DEADLINE = timedelta(minutes=5)
"""How long a failed run that Dagster has announced to retry may wait for its retry."""


@dataclass(frozen=True)
class RunTarget:
    """What a run computes. A later successful run of the same target ends the incident of a failed one.

    Attributes:
        name: Names of the assets; for a run without assets the name of its job.
        assets: The assets, upstream first.
        first: First partition; None for a run without partitions.
        last: Last partition, included.
    """

    name: str
    assets: Sequence[dg.AssetKey]
    first: str | None
    last: str | None

    @property
    def subject(self) -> str:
        """The subject of the incident, e.g. `performance_snapshots 2026-02-10..2026-02-12`."""
        if self.first is None:
            return self.name
        return f"{self.name} {self.first}" + (f"..{self.last}" if self.last != self.first else "")

    @property
    def command(self) -> str:
        """The command that computes it again; empty for a run without partitions."""
        return materialize_command(self.assets[0], [str(self.first), str(self.last)]) if self.first else ""


def find_failed_runs(scan: Scan) -> Iterator[Observation]:
    """Find failed runs that are not retried, and those whose target has been computed since.

    A canceled run was stopped by a user and is not a failure.
    """
    newest: dict[str, tuple[RunTarget, dg.RunRecord]] = {}
    for record in _recently_failed(scan):
        target = _unfinished(scan, record.dagster_run)
        if target and (target.subject not in newest or _ended(record) > _ended(newest[target.subject][1])):
            newest[target.subject] = target, record
    still_open = scan.open_incidents(FAILED_RUN)
    run_ids = [incident.run_id for incident in still_open.values() if incident.run_id]
    known_runs = scan.instance.get_run_records(dg.RunsFilter(run_ids=run_ids)) if run_ids else []
    records = {record.dagster_run.run_id: record for record in known_runs}
    for subject, incident in still_open.items():
        if subject in newest:
            continue
        known = records.get(incident.run_id or "")
        target = _unfinished(scan, known.dagster_run) if known else None
        if known and target and target.subject == subject:
            newest[subject] = target, known
        else:
            detail = "Dagster no longer knows the run, its job or its assets"
            yield Observation(FAILED_RUN, subject, False, incident.title, detail)
    for target, record in newest.values():
        yield _failed(scan, target, record, still_open.get(target.subject))


def _recently_failed(scan: Scan) -> Iterator[dg.RunRecord]:
    filter_ = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=scan.since)
    for record in scan.instance.get_run_records(filter_, ascending=True):
        if _ended(record) < scan.since or _may_be_retried(scan, record) or _is_rejected(scan, record.dagster_run):
            continue
        yield record


def _may_be_retried(scan: Scan, record: dg.RunRecord) -> bool:
    tags = record.dagster_run.tags
    if AUTO_RETRY_RUN_ID_TAG in tags:
        return True
    if not scan.instance.run_retries_enabled or scan.now - _ended(record) > _RETRY_DEADLINE:
        return False
    # Dagster sets this tag a moment after it marks the run as failed.
    return tags.get(WILL_RETRY_TAG) in (None, "true")


def _failed(scan: Scan, target: RunTarget, record: dg.RunRecord, incident: Incident | None) -> Observation:
    run_id = record.dagster_run.run_id
    recovery = _recovery(scan, target, record)
    known = incident.detail if incident and incident.run_id == run_id else None
    return Observation(
        kind=FAILED_RUN,
        subject=target.subject,
        is_problem=recovery is None,
        title=f"{target.subject}: the run has failed",
        detail=recovery or known or _reason(scan.instance, run_id),
        run_id=run_id,
        event_at=None if recovery else _ended(record),
        command=target.command,
    )


def _recovery(scan: Scan, target: RunTarget, record: dg.RunRecord) -> str | None:
    """Return why a failed run needs no attention any more; None while it does."""
    if target.assets and target.first:
        missing = {asset: _not_computed_since(scan, target, asset, record) for asset in target.assets}
        return None if any(missing.values()) else f"{target.subject} has been computed since"
    tags = {PARTITION_NAME_TAG: target.first} if target.first else {}
    succeeded = dg.RunsFilter(
        job_name=record.dagster_run.job_name,
        statuses=[dg.DagsterRunStatus.SUCCESS],
        tags=tags,
        created_after=record.create_timestamp,
    )
    later = scan.instance.get_run_records(succeeded, limit=1)
    return "a later run has succeeded" if later else None


def _not_computed_since(scan: Scan, target: RunTarget, asset: dg.AssetKey, record: dg.RunRecord) -> set[str]:
    """Return the existing partitions that were not materialized after the run had failed."""
    partitions = scan.repository.asset_graph.get(asset).partitions_def
    ends = (str(target.first), str(target.last))
    if partitions is None or not all(partitions.has_partition_key(key) for key in ends):
        return set()
    keys = set(partitions.get_partition_keys_in_range(dg.PartitionKeyRange(*ends)))
    # By event id: what the run itself materialized before it failed does not count.
    failure = scan.instance.get_records_for_run(
        record.dagster_run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE, ascending=False, limit=1
    ).records
    event_ids = scan.instance.get_latest_storage_id_by_partition(asset, dg.DagsterEventType.ASSET_MATERIALIZATION, keys)
    since = failure[0].storage_id if failure else 0
    return {partition for partition in keys if event_ids.get(partition, -1) <= since}


def find_slow_runs(scan: Scan) -> Iterator[Observation]:
    """Find for each target the longest run in progress over SNAPSHOT_MAX_RUN_SECONDS, else its last finished run."""
    maximum = scan.settings.max_run_seconds
    observations: dict[str, Observation] = {}
    ended = dg.RunsFilter(statuses=_ENDED, updated_after=scan.since)
    for record in sorted(scan.instance.get_run_records(ended), key=_ended):
        target = _target(scan, record.dagster_run)
        if target is None or record.start_time is None or record.end_time is None:
            continue
        seconds = record.end_time - record.start_time
        if seconds > maximum or record.dagster_run.status is dg.DagsterRunStatus.SUCCESS:
            observations[target.name] = _timed(target, record, f"took {seconds:,.0f} s", seconds > maximum, maximum)
    running = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING])
    in_progress = scan.instance.get_run_records(running)
    for record in sorted(in_progress, key=lambda record: record.start_time or 0, reverse=True):
        target = _target(scan, record.dagster_run)
        if target is None or record.start_time is None:
            continue
        seconds = scan.now.timestamp() - record.start_time
        if seconds > maximum:
            # The text must not change from scan to scan, so it contains no elapsed time.
            observations[target.name] = _timed(target, record, "is still running", True, maximum)
    yield from observations.values()


def _timed(target: RunTarget, record: dg.RunRecord, took: str, is_problem: bool, maximum: float) -> Observation:
    started = record.start_time or 0
    return Observation(
        kind=SLOW_RUN,
        subject=target.name,
        is_problem=is_problem,
        title=f"{target.subject}: the run takes too long",
        detail=f"the run of {target.subject} {took}, expected at most {maximum:g} s",
        run_id=record.dagster_run.run_id,
        event_at=from_timestamp(record.end_time if record.end_time else started + maximum),
        command="snapshot-pipeline check",
    )


def _target(scan: Scan, run: dg.DagsterRun) -> RunTarget | None:
    """Return what a run computes; None for a run of another code location."""
    if not scan.repository.has_job(run.job_name):
        return None
    job = scan.repository.get_job(run.job_name)
    job_assets = job.asset_layer.executable_asset_keys
    if run.asset_selection and not set(run.asset_selection) <= set(job_assets):
        return None
    selected = run.asset_selection or job_assets
    assets = [asset for asset in scan.repository.asset_graph.toposorted_asset_keys if asset in selected]
    partition = run.tags.get(PARTITION_NAME_TAG)
    first = partition or run.tags.get(ASSET_PARTITION_RANGE_START_TAG)
    return RunTarget(
        _name(assets) or run.job_name, assets, first, partition or run.tags.get(ASSET_PARTITION_RANGE_END_TAG)
    )


def _unfinished(scan: Scan, run: dg.DagsterRun) -> RunTarget | None:
    """Return what a failed run has not computed: the assets whose steps did not succeed."""
    target = _target(scan, run)
    if target is None or len(target.assets) < 2:
        return target
    steps = {entry.step_key for entry in scan.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_SUCCESS)}
    left = [asset for asset in target.assets if asset.to_python_identifier() not in steps]
    return replace(target, name=_name(left), assets=left) if left else target


def _name(assets: Sequence[dg.AssetKey]) -> str:
    return ", ".join(asset.to_user_string() for asset in assets)


def _ended(record: dg.RunRecord) -> datetime:
    return from_timestamp(record.end_time) if record.end_time else record.update_timestamp


def _reason(instance: dg.DagsterInstance, run_id: str) -> str:
    """Return one line that may be sent: our text about the failed step, else the class of its error, else Dagster's."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        failure = entry.get_dagster_event().step_failure_data
        if failure.user_failure_data:
            text = failure.user_failure_data.metadata.get(TEXT_TO_SEND)
            return one_line(str(text.value) if text else f"the step {entry.step_key} has failed; its log says why")
        error = failure.error.cause or failure.error if failure.error else None
        return f"the step {entry.step_key} raised {error.cls_name if error else 'an error'}; see its log"
    has_begun = bool(instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_START))
    for entry in () if has_begun else instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        error = entry.get_dagster_event().engine_event_data.error
        if error is not None:
            return launch_error(error)
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE):
        event = entry.get_dagster_event()
        if event.message and not quotes_an_error(event):
            return one_line(event.message)
    return "no step has failed; see the run's log"


def _is_rejected(scan: Scan, run: dg.DagsterRun) -> bool:
    """Return whether the run was launched with days or a week that cannot be computed: whoever did so sees it."""
    for entry in scan.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        failure = entry.get_dagster_event().step_failure_data.user_failure_data
        if failure and REJECTED_INPUT in failure.metadata:
            return True
    return False

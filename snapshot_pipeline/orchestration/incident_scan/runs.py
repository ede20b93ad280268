"""Finds failed runs and slow runs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import dagster as dg

from snapshot_pipeline.alerts.incidents import CAUSE_SEPARATOR, FAILED_RUN, SLOW_RUN, Observation
from snapshot_pipeline.orchestration.commands import materialize_command
from snapshot_pipeline.orchestration.incident_scan.errors import launch_error, one_line
from snapshot_pipeline.orchestration.incident_scan.scan import Scan, affected, from_timestamp
from snapshot_pipeline.orchestration.instance.dagster_internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    AUTO_RETRY_RUN_ID_TAG,
    PARTITION_NAME_TAG,
    WILL_RETRY_TAG,
    quotes_an_error,
)
from snapshot_pipeline.orchestration.steps import REJECTED_INPUT, TEXT_TO_SEND
from snapshot_pipeline.pipeline.periods import days_between
from snapshot_pipeline.store.incidents import Incident

_ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)

_RETRY_DEADLINE = timedelta(minutes=5)
"""How long a failed run that Dagster has announced to retry may wait for its retry."""


_NUMBERS = re.compile(r"\b(?:[0-9a-f]{8}[0-9a-f-]*|\d[\d:.,-]*)")
"""Days, times, counts and run ids: errors that differ only in these have the same cause."""


@dataclass(frozen=True)
class RunTarget:
    """What a run computes.

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
    def text(self) -> str:
        """The assets and partitions, e.g. `performance_snapshots 2026-02-10..2026-02-12`."""
        if self.first is None:
            return self.name
        return f"{self.name} {self.first}" + (f"..{self.last}" if self.last != self.first else "")


@dataclass(frozen=True)
class _FailedRun:
    """A failed run.

    Attributes:
        target: What it should have computed and has not.
        record: Dagster's record of it.
        left: The partitions that were not computed since; the empty text for a run without partitions.
    """

    target: RunTarget
    record: dg.RunRecord
    left: Sequence[str]

    @property
    def run_id(self) -> str:
        """Its id in Dagster."""
        return self.record.dagster_run.run_id

    @property
    def ended(self) -> datetime:
        return _ended(self.record)


def find_failed_runs(scan: Scan) -> Iterator[Observation]:
    """Find failed runs that are not retried: one incident for the same assets and cause, with the days that are left.

    A day stays in its incident if it fails again, for whatever cause, until it has been computed. A canceled run was
    stopped by a user and is not a failure.
    """
    still_open = scan.open_incidents(FAILED_RUN)
    known = _known_runs(scan, still_open)
    groups: dict[str, dict[str, _FailedRun]] = defaultdict(dict)
    subjects: dict[tuple[str, str], str] = {}
    for subject, incident in still_open.items():
        for partition, run_id in incident.partitions.items():
            run = known.get(run_id)
            if run and partition in run.left:
                groups[subject][partition] = run
                subjects[run.target.name, partition] = subject
    for record in _recently_failed(scan):
        run = _failed_run(scan, record)
        if run is None or run.run_id in known:
            continue
        for partition in run.left:
            key = run.target.name, partition
            subject = subjects.setdefault(key, f"{run.target.name}{CAUSE_SEPARATOR}{_cause(scan, run)}")
            groups[subject][partition] = run
    for subject, incident in still_open.items():
        if not groups.get(subject):
            yield Observation(FAILED_RUN, subject, False, incident.title, _recovery(incident, known))
    for subject, runs in groups.items():
        yield _failed(scan, subject, runs, still_open.get(subject))


def _known_runs(scan: Scan, still_open: Mapping[str, Incident]) -> dict[str, _FailedRun]:
    """Return the runs of the open incidents that Dagster still knows."""
    run_ids = {run_id for incident in still_open.values() for run_id in incident.partitions.values()}
    records = scan.instance.get_run_records(dg.RunsFilter(run_ids=list(run_ids))) if run_ids else []
    runs = [_failed_run(scan, record) for record in records]
    return {run.run_id: run for run in runs if run}


def _failed_run(scan: Scan, record: dg.RunRecord) -> _FailedRun | None:
    target = _unfinished(scan, record.dagster_run)
    return _FailedRun(target, record, _left(scan, target, record)) if target else None


def _left(scan: Scan, target: RunTarget, record: dg.RunRecord) -> Sequence[str]:
    """Return the partitions that still exist and were not computed after the run had failed."""
    if target.first is None or not target.assets:
        return [] if _has_succeeded_since(scan, target, record) else [target.first or ""]
    left = {partition for asset in target.assets for partition in _not_computed_since(scan, target, asset, record)}
    return sorted(left)


def _cause(scan: Scan, run: _FailedRun) -> str:
    return _NUMBERS.sub("…", _reason(scan.instance, run.run_id))


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


def _failed(scan: Scan, subject: str, runs: Mapping[str, _FailedRun], incident: Incident | None) -> Observation:
    """Return the observation of the failed runs of one cause, by partition."""
    newest = max(runs.values(), key=lambda run: run.ended)
    assets = newest.target.assets
    name = affected(scan, assets, runs) if assets else newest.target.name
    has_one = len({run.run_id for run in runs.values()}) == 1
    is_known = incident is not None and incident.run_id == newest.run_id
    is_new = incident is None or incident.last_event_at is None or newest.ended > incident.last_event_at
    return Observation(
        kind=FAILED_RUN,
        subject=subject,
        is_problem=True,
        title=f"{name}: the {'run has' if has_one else 'runs have'} failed",
        detail=incident.detail if incident and is_known else _reason(scan.instance, newest.run_id),
        run_id=newest.run_id,
        event_at=newest.ended if is_new else None,
        command=materialize_command(assets[0], runs) if assets else "",
        partitions={partition: run.run_id for partition, run in sorted(runs.items())},
    )


def _recovery(incident: Incident, known: Mapping[str, _FailedRun]) -> str:
    """Return why no run of an open incident needs attention any more."""
    if not any(run_id in known for run_id in incident.partitions.values()):
        return "Dagster no longer knows the run, its job or its assets"
    if "" in incident.partitions:
        return "a later run has succeeded"
    days = ", ".join(incident.partitions)
    return f"{days} {'has' if len(incident.partitions) == 1 else 'have'} been computed since"


def _has_succeeded_since(scan: Scan, target: RunTarget, record: dg.RunRecord) -> bool:
    tags = {PARTITION_NAME_TAG: target.first} if target.first else {}
    succeeded = dg.RunsFilter(
        job_name=record.dagster_run.job_name,
        statuses=[dg.DagsterRunStatus.SUCCESS],
        tags=tags,
        created_after=record.create_timestamp,
    )
    return bool(scan.instance.get_run_records(succeeded, limit=1))


def _not_computed_since(scan: Scan, target: RunTarget, asset: dg.AssetKey, record: dg.RunRecord) -> set[str]:
    """Return the existing partitions that were not materialized after the run had failed."""
    partitions = scan.repository.asset_graph.get(asset).partitions_def
    if partitions is None:
        return set()
    days = days_between(date.fromisoformat(str(target.first)), date.fromisoformat(str(target.last)))
    keys = {str(day) for day in days if partitions.has_partition_key(str(day))}
    if not keys:
        return set()
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
            observations[target.name] = _timed(scan, target, record, f"took {seconds:,.0f} s", seconds > maximum)
    running = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING])
    in_progress = scan.instance.get_run_records(running)
    for record in sorted(in_progress, key=lambda record: record.start_time or 0, reverse=True):
        target = _target(scan, record.dagster_run)
        if target is None or record.start_time is None:
            continue
        seconds = scan.now.timestamp() - record.start_time
        if seconds > maximum:
            # The text must not change from scan to scan, so it contains no elapsed time.
            observations[target.name] = _timed(scan, target, record, "is still running", True)
    yield from observations.values()


def _timed(scan: Scan, target: RunTarget, record: dg.RunRecord, took: str, is_problem: bool) -> Observation:
    maximum = scan.settings.max_run_seconds
    started = record.start_time or 0
    found = f"the run {took}, expected at most {maximum:g} s"
    since = f"it started at {from_timestamp(started).astimezone(scan.settings.zone):%Y-%m-%d %H:%M %Z}"
    return Observation(
        kind=SLOW_RUN,
        subject=target.name,
        is_problem=is_problem,
        title=f"{target.text}: {found}",
        detail=since if is_problem else found,
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

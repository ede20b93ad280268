"""Finds failing checks of severity ERROR: one incident for each check and cause, with the days or weeks that fail.

The description of a check result is sent to others. Of its metadata only the cause is, because a check names students
in its metadata only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from snapshot_pipeline.alerts.incidents import CAUSE_SEPARATOR, FAILED_CHECK, Observation
from snapshot_pipeline.orchestration.assets.incidents import NO_OPEN_INCIDENTS
from snapshot_pipeline.orchestration.checks import STUDENT_COUNT_STABLE
from snapshot_pipeline.orchestration.commands import command_for
from snapshot_pipeline.orchestration.incident_scan.scan import Scan, affected, from_timestamp
from snapshot_pipeline.orchestration.partitioned_checks import CAUSE, Description, read_description
from snapshot_pipeline.store.incidents import Incident


@dataclass(frozen=True)
class _Result:
    """The latest result of a check for a partition, which is empty for a check without partitions."""

    check: dg.AssetCheckKey
    partition: str
    has_passed: bool
    is_problem: bool
    cause: str
    text: Description
    run_id: str | None
    at: datetime

    @property
    def subject(self) -> str:
        return _name(self.check) + (f"{CAUSE_SEPARATOR}{self.cause}" if self.cause else "")


def find_failing_checks(scan: Scan) -> Iterator[Observation]:
    """Find the checks that fail, and the open incidents whose check has passed since on all their days.

    The days of an open incident fail until a later result says otherwise. A day with fewer students than the day before
    fails only until a later day passes: nothing needs to be computed again, as the students may have left.
    """
    graph = scan.repository.asset_graph
    defined = {_name(key): key for key in graph.asset_check_keys if key != NO_OPEN_INCIDENTS}
    results = {(_name(result.check), result.partition): result for result in _latest_results(scan)}
    passed_later = _newest_passed(results)
    still_open = scan.open_incidents(FAILED_CHECK)
    failing: dict[str, dict[str, str]] = defaultdict(dict)
    newest: dict[str, _Result] = {}
    for result in sorted(results.values(), key=lambda result: result.partition):
        if result.is_problem and result.partition >= passed_later.get(result.check, ""):
            failing[result.subject][result.partition] = result.text.found
            newest[result.subject] = result
    for subject, incident in still_open.items():
        check = subject.partition(CAUSE_SEPARATOR)[0]
        if check not in defined:
            yield Observation(FAILED_CHECK, subject, False, incident.title, "the check is no longer defined")
            failing.pop(subject, None)
            continue
        partitions = graph.get(defined[check]).partitions_def
        kept = {
            partition: found
            for partition, found in incident.partitions.items()
            if (check, partition) not in results
            and _exists(partitions, partition)
            and partition >= passed_later.get(defined[check], "")
        }
        if kept or subject in failing:
            failing[subject] = {**kept, **failing[subject]}
        else:
            wanted = {*incident.partitions, passed_later.get(defined[check], "")}
            yield _resolution(incident, [results.get((check, partition)) for partition in sorted(wanted)])
    for subject, found in failing.items():
        asset = defined[subject.partition(CAUSE_SEPARATOR)[0]].asset_key
        yield _problem(scan, subject, asset, found, newest.get(subject), still_open.get(subject))


def _newest_passed(results: Mapping[tuple[str, str], _Result]) -> dict[dg.AssetCheckKey, str]:
    """Return the newest day on which `student_count_stable`, which compares with the day before, has passed."""
    passed = [r for r in results.values() if r.check.name == STUDENT_COUNT_STABLE and r.has_passed]
    return {result.check: result.partition for result in sorted(passed, key=lambda result: result.partition)}


def _latest_results(scan: Scan) -> Iterator[_Result]:
    """Yield the latest result of each check and partition that was evaluated since the last scan, passed or not.

    The result without a partition that a run over a range must also yield (`partitioned_checks.log_by_partition`) is
    skipped.
    """
    graph = scan.repository.asset_graph
    latest: dict[tuple[dg.AssetCheckKey, str], _Result] = {}
    # From the storage: the instance's method is deprecated, and the alternatives return one check at a time.
    filter_ = dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION, after_timestamp=scan.since.timestamp())
    for event in scan.instance.event_log_storage.get_event_records(filter_, ascending=True):
        evaluation = event.event_log_entry.asset_check_evaluation
        if evaluation is None or evaluation.asset_check_key == NO_OPEN_INCIDENTS:
            continue
        if evaluation.asset_check_key not in graph.asset_check_keys:
            continue
        partitions = graph.get(evaluation.asset_check_key).partitions_def
        partition = evaluation.partition or ""
        if (not partition and partitions is not None) or not _exists(partitions, partition):
            continue
        key = evaluation.asset_check_key, partition
        if key not in latest or event.timestamp >= latest[key].at.timestamp():
            latest[key] = _result(evaluation, event.event_log_entry)
    yield from latest.values()


def _result(evaluation: dg.AssetCheckEvaluation, entry: dg.EventLogEntry) -> _Result:
    cause = evaluation.metadata.get(CAUSE)
    text = evaluation.description or ("passed" if evaluation.passed else "did not pass")
    return _Result(
        check=evaluation.asset_check_key,
        partition=evaluation.partition or "",
        has_passed=evaluation.passed,
        is_problem=not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR,
        cause=str(cause.value) if cause else "",
        text=read_description(text),
        run_id=entry.run_id or None,
        at=from_timestamp(entry.timestamp),
    )


def _problem(
    scan: Scan,
    subject: str,
    asset: dg.AssetKey,
    found: Mapping[str, str],
    newest: _Result | None,
    incident: Incident | None,
) -> Observation:
    last = max(found)
    title = f"{asset.to_user_string()}, {found[last]}"
    if len(found) > 1:
        title = f"{affected(scan, [asset], found)}, the last {found[last]}"
    command = newest.text.command if newest else incident.command if incident else ""
    # A result that was seen before may come with a day that passes by now, so it is not repeated as an event.
    known = incident.last_event_at if incident else None
    is_new = newest is not None and (known is None or newest.at > known)
    # The title describes the last day, and so do the reasons.
    shown = newest if newest and (incident is None or newest.partition == last) else None
    return Observation(
        kind=FAILED_CHECK,
        subject=subject,
        is_problem=True,
        title=title,
        detail=shown.text.what_to_do if shown else incident.detail if incident else "",
        run_id=shown.run_id if shown else incident.run_id if incident else None,
        event_at=newest.at if newest and (is_new or incident is None) else None,
        command=command_for(command, found),
        partitions=dict(sorted(found.items())),
    )


def _resolution(incident: Incident, results: list[_Result | None]) -> Observation:
    last = next((result for result in reversed(results) if result), None)
    detail = last.text.found if last else f"no longer defined: {', '.join(incident.partitions)}"
    return Observation(FAILED_CHECK, incident.subject, False, incident.title, detail, last.run_id if last else None)


def _exists(partitions: dg.PartitionsDefinition[str] | None, key: str) -> bool:
    return not key or partitions is None or partitions.has_partition_key(key)


def _name(key: dg.AssetCheckKey) -> str:
    return f"{key.asset_key.to_user_string()}/{key.name}"

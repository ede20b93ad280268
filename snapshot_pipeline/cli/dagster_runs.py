"""Execute a job or scan for incidents in this process, recorded in the Dagster instance that the UI shows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snapshot_pipeline.cli.progress import ProgressUpdate, ShowProgress
from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.pipeline.batches import Progress, ProgressListener
from snapshot_pipeline.settings import FOUND_DAGSTER_HOME, Settings

if TYPE_CHECKING:
    from snapshot_pipeline.alerts.recording import IncidentChanges

_FILES = ("dagster.yaml", "workspace.yaml")


class RunFailedError(SnapshotPipelineError):
    """A run failed; the message is the run's own, in one line."""


@dataclass(frozen=True)
class FailedCheck:
    """A check that failed, or in which a student failed.

    Attributes:
        description: What it found, a sentence without a full stop.
        is_error: Whether it did not pass and is an error; otherwise a few students failed.
    """

    description: str
    is_error: bool


def set_dagster_home() -> Path:
    """Set DAGSTER_HOME, for this process and its children, to the directory with Dagster's files, and return it.

    It is DAGSTER_HOME itself if that is set, else the working directory, else the source tree.

    Raises:
        SnapshotPipelineError: The files are missing.
    """
    configured = os.environ.get("DAGSTER_HOME")
    candidates = [Path(configured)] if configured else [Path.cwd(), Path(__file__).parents[2]]
    for directory in candidates:
        if all((directory / name).is_file() for name in _FILES):
            os.environ["DAGSTER_HOME"] = str(directory.resolve())
            if not configured:  # the settings were read without a .env there, and stay the same
                os.environ[FOUND_DAGSTER_HOME] = str(directory.resolve())
            return directory.resolve()
    raise SnapshotPipelineError(
        f"there is no {' and '.join(_FILES)} in {' or '.join(map(str, candidates))}; run this command in the project's "
        "directory, or set DAGSTER_HOME to a directory with copies of the two files"
    )


def execute(
    settings: Settings,
    job_name: str,
    tags: Mapping[str, str],
    progress: ProgressListener,
    partition_key: str | None = None,
    run_config: Mapping[str, Any] | None = None,
) -> list[FailedCheck]:
    """Execute a job in this process and record it in the Dagster instance.

    Returns:
        The checks in which a student failed, or that failed themselves with severity ERROR.

    Raises:
        RunFailedError: The run failed.
        KeyboardInterrupt: The run was canceled by Ctrl-C.
    """
    workspace = set_dagster_home() / "workspace.yaml"
    import dagster as dg

    from snapshot_pipeline.orchestration.build import build_defs
    from snapshot_pipeline.orchestration.instance.dagster_internals import MAX_RETRIES_TAG, runs_of_location
    from snapshot_pipeline.orchestration.names import REASON_TAG
    from snapshot_pipeline.orchestration.partitioned_checks import STUDENTS_FAILED, read_description
    from snapshot_pipeline.orchestration.steps import progress_listener
    from snapshot_pipeline.pipeline.reasons import COMMAND_LINE

    job = build_defs(settings).resolve_job_def(job_name)
    # Whoever has interrupted a command repeats it; the daemon must not.
    tags = {REASON_TAG: COMMAND_LINE, MAX_RETRIES_TAG: "0", **tags}
    with (
        dg.DagsterInstance.get() as instance,
        runs_of_location(instance, workspace),
        progress_listener(progress),
    ):
        result = job.execute_in_process(
            instance=instance,
            tags=dict(tags),
            partition_key=partition_key,
            raise_on_error=False,
            run_config={**(run_config or {}), "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        run = instance.get_run_by_id(result.run_id)
    if run is not None and run.status is dg.DagsterRunStatus.CANCELED:
        raise KeyboardInterrupt
    if not result.success:
        raise RunFailedError(_failure_message(result))
    error = dg.AssetCheckSeverity.ERROR
    return [
        FailedCheck(
            read_description(str(check.description)).found,
            is_error=not check.passed and check.severity is error,
        )
        for check in result.get_asset_check_evaluations()
        if (not check.passed and check.severity is error) or _count(check.metadata.get(STUDENTS_FAILED))
    ]


def scan_for_incidents(settings: Settings, since: datetime) -> IncidentChanges:
    """Scan once and deliver the messages, as the two sensors do, and show the open incidents in the UI.

    Args:
        since: Start of monitoring; earlier failures are ignored.
    """
    set_dagster_home()
    import dagster as dg

    from snapshot_pipeline.alerts.channels import read_channels
    from snapshot_pipeline.alerts.delivery import deliver
    from snapshot_pipeline.orchestration.assets.incidents import incident_events, read_open_state
    from snapshot_pipeline.orchestration.build import build_defs
    from snapshot_pipeline.orchestration.sensors import ScanCursor, scan_and_record
    from snapshot_pipeline.pipeline.installation import open_installation

    now = datetime.now(timezone.utc)
    channels = read_channels(settings).channels
    repository = build_defs(settings).get_repository_def()
    with dg.DagsterInstance.get() as instance, open_installation(settings) as installation:
        ids = [channel.id for channel in channels]
        changes = scan_and_record(installation, instance, repository, ScanCursor(since, since), ids, now)
        for event in incident_events(read_open_state(installation, now), settings.zone):
            instance.report_runless_asset_event(event)
        deliver(installation.engine, installation.store, channels, now)
    return changes


def _count(value: object) -> int:
    return int(getattr(value, "value", 0) or 0)


class RunSeries:
    """Shows the progress of consecutive runs as one task."""

    def __init__(self, show: ShowProgress) -> None:
        self._show = show
        self._rows = 0

    def start_run(self, task: str, runs_left: float = 0) -> ProgressListener:
        """Return the progress listener of the next run.

        Args:
            task: What the run computes, e.g. `2026-11-01 to 2026-11-30`.
            runs_left: How many runs follow; a fraction for a shorter last run.
        """
        rows_before = self._rows

        def update(progress: Progress) -> None:
            self._rows = rows_before + progress.rows
            total = rows_before + round(progress.total_rows * (1 + runs_left))
            detail = f"{progress.done:,}/{progress.total:,} {progress.parts}"
            self._show(ProgressUpdate(task, self._rows, total, "rows", detail))

        return update


def _failure_message(result: object) -> str:
    import dagster as dg

    assert isinstance(result, dg.ExecuteInProcessResult)  # noqa: S101  # the annotation would import Dagster
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            if failure.user_failure_data and failure.user_failure_data.description:
                return str(failure.user_failure_data.description)
            if failure.error:
                error = failure.error.cause or failure.error
                return f"run {result.run_id}: {error.message.strip()}"
    return f"run {result.run_id} failed; see its log in the Dagster UI"

"""Runs started from the command line: through the same Dagster instance as the UI's, so the UI knows of them.

Put here: finding `dagster.yaml`, and executing a job in this process. Imported only by commands that run something.
Do not put here: which days or weeks may be asked for (`periods`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snapshot_pipeline.cli.progress import At, Show
from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.pipeline.batches import Progress, ProgressListener
from snapshot_pipeline.settings import Settings

_FILES = ("dagster.yaml", "workspace.yaml")


class RunFailedError(SnapshotPipelineError):
    """A run has failed; the message is its own line."""


def dagster_home() -> Path:
    """The directory whose files count for Dagster: DAGSTER_HOME, else the working directory, else the source tree.

    Raises:
        SnapshotPipelineError: There is none.
    """
    named = os.environ.get("DAGSTER_HOME")
    candidates = [Path(named)] if named else [Path.cwd(), Path(__file__).parents[2]]
    for directory in candidates:
        if all((directory / name).is_file() for name in _FILES):
            return directory.resolve()
    raise SnapshotPipelineError(
        f"no {' and '.join(_FILES)} in {' or '.join(map(str, candidates))}; call this from the project's directory, "
        "or set DAGSTER_HOME to a directory with copies of the project's"
    )


def prepare_environment() -> dict[str, str]:
    """The environment for Dagster: where its settings are."""
    os.environ["DAGSTER_HOME"] = str(dagster_home())
    return dict(os.environ)


def execute(
    settings: Settings,
    job_name: str,
    tags: Mapping[str, str],
    progress: ProgressListener,
    partition_key: str | None = None,
    run_config: Mapping[str, Any] | None = None,
) -> str:
    """Execute a job of ours in this process and record it in the Dagster instance.

    Args:
        settings: The installation.
        job_name: A job of `orchestration.jobs`.
        tags: The run's tags, e.g. the range of days.
        progress: Told how far the run is.
        partition_key: For a job that computes one partition.
        run_config: What the job is configured by.

    Returns:
        The run's id.

    Raises:
        RunFailedError: The run failed; what its step said.
        KeyboardInterrupt: It was interrupted by Ctrl-C, and is canceled.
    """
    prepare_environment()
    import dagster as dg

    from snapshot_pipeline.orchestration.build import build_defs
    from snapshot_pipeline.orchestration.instance.launcher import this_process
    from snapshot_pipeline.orchestration.steps import progress_listener

    job = build_defs(settings).resolve_job_def(job_name)
    with dg.DagsterInstance.get() as instance, progress_listener(progress):
        result = job.execute_in_process(
            instance=instance,
            tags={**tags, **this_process()},
            partition_key=partition_key,
            raise_on_error=False,
            run_config={**(run_config or {}), "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        run = instance.get_run_by_id(result.run_id)
    if run is not None and run.status is dg.DagsterRunStatus.CANCELED:
        raise KeyboardInterrupt
    if not result.success:
        raise RunFailedError(_reason(result))
    return result.run_id


class ShownRuns:
    """Shows how far some runs are, one after the other, as one piece of work."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self._rows = 0

    def begin(self, what: str, others_to_come: float = 0) -> ProgressListener:
        """Begin with a run.

        Args:
            what: What it computes.
            others_to_come: How much there is to do after it, in runs like this one.

        Returns:
            To be told how far it is.
        """
        before = self._rows

        def tell(run: Progress) -> None:
            self._rows = before + run.rows
            total = before + round(run.total_rows * (1 + others_to_come))
            self._show(At(what, self._rows, total, "rows", f"{run.done:,}/{run.total:,} {run.parts}"))

        return tell


def _reason(result: object) -> str:
    import dagster as dg

    assert isinstance(result, dg.ExecuteInProcessResult)  # noqa: S101  # typed late, so that Dagster is imported late
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            if failure.user_failure_data and failure.user_failure_data.description:
                return str(failure.user_failure_data.description)
            if failure.error:
                error = failure.error.cause or failure.error
                return f"run {result.run_id}: {error.message.strip()}"
    return f"run {result.run_id} failed; its log in the Dagster UI says why"

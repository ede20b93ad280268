"""What every step of ours runs in: an open installation, errors that are readable, reported, and tried again or not.

How far it is, is told in the run's log, and to whoever has started the run in this process and watches it.

Put here: how these go together. Do not put here: any of them (`failures`, `reporting`, `pipeline.installation`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import dagster as dg

from snapshot_pipeline.orchestration.failures import StepContext, pause_before_retry, readable_failures
from snapshot_pipeline.orchestration.reporting import reported_errors
from snapshot_pipeline.pipeline.batches import Progress, ProgressListener
from snapshot_pipeline.pipeline.installation import Installation, open_installation
from snapshot_pipeline.settings import Settings

_WATCHER: ContextVar[ProgressListener | None] = ContextVar("watcher", default=None)


@contextmanager
def step_installation(context: StepContext, settings: Settings) -> Iterator[Installation]:
    """Open the installation for the body of one step.

    Raises:
        dagster.Failure: Something that the operator can mend, in one line.
        dagster.RetryRequested: Something that passes by itself; the step is tried again later.
    """
    retry_seconds = pause_before_retry(context, settings)
    with reported_errors(context), readable_failures(retry_seconds), open_installation(settings) as installation:
        try:
            yield installation
        except dg.DagsterExecutionInterruptedError:
            if _WATCHER.get() is not None:
                # Whoever watches has pressed Ctrl-C: that is no failure, and nobody needs to be told of it.
                context.instance.report_run_canceling(context.run, "Interrupted at the command line.")
            raise


@contextmanager
def progress_listener(progress: ProgressListener) -> Iterator[None]:
    """Tell the caller, too, how far the runs are that this thread executes meanwhile."""
    token = _WATCHER.set(progress)
    try:
        yield
    finally:
        _WATCHER.reset(token)


def log_progress(context: StepContext) -> ProgressListener:
    """Tell the run's log after each batch how many are done, how fast, and how long the others will take."""
    watcher = _WATCHER.get()
    began = time.monotonic()

    def tell(progressed: Progress) -> None:
        seconds = max(time.monotonic() - began, 0.001)
        context.log.info(_sentence(progressed, seconds))
        if watcher is not None:
            watcher(progressed)

    return tell


def _sentence(progressed: Progress, seconds: float) -> str:
    sentence = f"{progressed.done:,} of {progressed.total:,} {progressed.parts} are done"
    if not progressed.rows:
        return sentence
    rate = progressed.rows / seconds
    seconds_left = (progressed.total_rows - progressed.rows) / rate
    left = f", {seconds_left:.0f} s to go" if progressed.done < progressed.total else ""
    return f"{sentence}, {rate:,.0f} rows a second{left}"

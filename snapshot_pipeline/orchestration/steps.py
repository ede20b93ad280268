"""What every step of ours runs in: an open installation, errors that are readable, reported, and tried again or not.

Put here: how these go together. Do not put here: any of them (`failures`, `reporting`, `pipeline.installation`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from snapshot_pipeline.orchestration.failures import StepContext, pause_before_retry, readable_failures
from snapshot_pipeline.orchestration.reporting import reported_errors
from snapshot_pipeline.pipeline.installation import Installation, open_installation
from snapshot_pipeline.settings import Settings


@contextmanager
def opened_step(context: StepContext, settings: Settings) -> Iterator[Installation]:
    """Open the installation for the body of one step.

    Raises:
        dagster.Failure: Something that the operator can mend, in one line.
        dagster.RetryRequested: Something that passes by itself; the step is tried again later.
    """
    retry_seconds = pause_before_retry(context, settings)
    with reported_errors(context), readable_failures(retry_seconds), open_installation(settings) as installation:
        yield installation

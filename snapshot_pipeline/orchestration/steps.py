"""What every step of ours runs in: an open installation, errors that are readable, reported, and tried again or not.

How far it is, is told in the run's log.

Put here: how these go together. Do not put here: any of them (`failures`, `reporting`, `pipeline.installation`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from snapshot_pipeline.orchestration.failures import StepContext, pause_before_retry, readable_failures
from snapshot_pipeline.orchestration.reporting import reported_errors
from snapshot_pipeline.pipeline.batches import Progress
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


PUBLISHED = "batches of students are published"
SUMMARIZED = "stretches of days are summarized"


def logged_progress(context: StepContext, done_is: str = PUBLISHED) -> Progress:
    """Tell the run's log after each batch how many are done, how fast, and how long the others will take."""
    began = time.monotonic()

    def log(done: int, batches: int) -> None:
        seconds = max(time.monotonic() - began, 0.001)
        rate = f"{done / seconds:.2f} a second" if done >= seconds else f"one every {seconds / done:.1f} s"
        remaining = f", {seconds / done * (batches - done):.0f} s to go" if done < batches else ""
        context.log.info(f"{done} of {batches} {done_is}, {rate}{remaining}")

    return log

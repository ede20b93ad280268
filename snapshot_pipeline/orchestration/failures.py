"""How an error that an operator can mend is shown in Dagster, and whether the step asks to be tried again later.

Put here: the translation into what Dagster understands. Do not put here: what passes by itself (`postgres.errors`), or
retries after crashes (`dagster.yaml`).

No `dg.RetryPolicy`: with one, Dagster 1.13 tries everything again that is not a `Failure`, a defect of the code and
the end of a run that somebody has asked for included.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from snapshot_pipeline.errors import SnapshotPipelineError, text_to_send
from snapshot_pipeline.postgres.errors import is_transient
from snapshot_pipeline.settings import Settings

StepContext = dg.OpExecutionContext | dg.AssetExecutionContext | dg.AssetCheckExecutionContext
"""What Dagster hands to a step."""

MOST_RETRIES = 3
"""How often a step asks to be tried again; with the default pauses of 1, 2 and 4 minutes."""

TEXT_TO_SEND = "text_to_send"
"""The metadata of a failure that may be sent to others; its description may quote students' rows."""


@contextmanager
def readable_failures(retry_seconds: float | None = None) -> Iterator[None]:
    """Turn what an operator can mend into a failure of the step with that line as its description.

    What passes by itself, such as a database that restarts, lets the step be tried again later, `MOST_RETRIES` times;
    the tries in between (`postgres.errors.retry_transient`) are over by then. All else fails at once.

    Args:
        retry_seconds: The pause before that, see `pause_before_retry`; None for a step that is not to be tried again.
    """
    try:
        yield
    except SnapshotPipelineError as error:
        sent = {TEXT_TO_SEND: text_to_send(error)}
        failure = dg.Failure(description=str(error), metadata=sent, allow_retries=False)
        if retry_seconds is None or not is_transient(error):
            raise failure from None
        failure.__suppress_context__ = True  # one line, and no traceback under it
        raise dg.RetryRequested(MOST_RETRIES, retry_seconds) from failure


def pause_before_retry(context: StepContext, settings: Settings) -> float | None:
    """The seconds before the step's next try: SNAPSHOT_RETRY_SECONDS, doubled with each; None after the last one."""
    if context.retry_number >= MOST_RETRIES:
        return None
    return settings.retry_seconds * float(2**context.retry_number)

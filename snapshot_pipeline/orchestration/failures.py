"""How an error that an operator can mend is shown in Dagster: as one line instead of a traceback.

Put here: the translation into `dagster.Failure`. Do not put here: retries; `dagster.yaml` has the policy for crashes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from snapshot_pipeline.errors import SnapshotPipelineError, text_to_send

TEXT_TO_SEND = "text_to_send"
"""The metadata of a failure that may be sent to others; its description may quote students' rows."""


@contextmanager
def readable_failures() -> Iterator[None]:
    """Turn what an operator can mend into a failure of the step with that line as its description."""
    try:
        yield
    except SnapshotPipelineError as error:
        sent = {TEXT_TO_SEND: text_to_send(error)}
        raise dg.Failure(description=str(error), metadata=sent, allow_retries=False) from None

"""The error of this package.

Put here: what a caller may want to catch. Do not put here: messages; they stand where what is wrong is found.
"""

from __future__ import annotations

from snapshot_pipeline.errors import SnapshotPipelineError


class EmbeddedServerError(SnapshotPipelineError):
    """The private server cannot be started, stopped or reached."""

"""Why days are computed: the values of `snapshot_restatements.reason`. Commands import them without pandas."""

from __future__ import annotations

NIGHTLY = "nightly"
"""The nightly run."""

LATE_DATA = "late data"
"""Source rows of past days have changed."""

RETRY = "retry"
"""Only the students that had failed."""

COMMAND_LINE = "command line"
"""`snapshot-pipeline materialize`."""

BACKFILL = "backfill"
"""A backfill in the UI."""

BY_HAND = "by hand"
"""Any other run that a person started."""

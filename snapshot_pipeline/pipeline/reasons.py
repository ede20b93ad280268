"""Why days are computed: what a restatement says in its column `reason`.

Put here: the words. Do not put here: who says which (`orchestration`, `cli`).
"""

from __future__ import annotations

NIGHTLY = "nightly"
"""The night's own days."""

LATE_DATA = "late data"
"""Rows of days long past have changed."""

RETRY = "retry"
"""Only the students that had failed."""

COMMAND_LINE = "command line"
"""`snapshot-pipeline materialize`."""

BACKFILL = "backfill"
"""A backfill in the UI."""

BY_HAND = "by hand"
"""Anything else that a person started."""

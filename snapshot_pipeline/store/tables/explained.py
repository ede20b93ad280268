"""Where a table and its columns say what they are, besides `Column.doc`.

Put here: the names. Do not put here: the sentences, which stand at the tables and columns.
"""

from __future__ import annotations

SENTENCE = "sentence"
"""In the `info` of a table: what a row of it is."""

VALUES = "values"
"""In the `info` of a column: which values it may have, where its type allows more."""

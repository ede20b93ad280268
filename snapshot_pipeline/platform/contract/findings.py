"""What a check says: one thing that a database lacks, in words and in SQL that can be pasted.

Put here: the shape of a finding, and how names and numbers are written in one.
Do not put here: what is looked for (`structure`, `rights`, `rows`, `indexes`), or how findings are printed
(`cli.check`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from snapshot_pipeline.postgres.urls import quote_identifier

Severity = Literal["error", "advice"]


@dataclass(frozen=True)
class Finding:
    """One thing that a database lacks.

    Attributes:
        severity: `error`: the pipeline cannot run, or would publish wrong figures. `advice`: it runs.
        table: The table concerned; None for the database or a schema.
        message: One line that says what was found and what to do.
        statement: SQL that mends it, where there is such.
    """

    severity: Severity
    table: str | None
    message: str
    statement: str | None = None


def full_name(schema: str, name: str) -> str:
    """A table or index as it stands in SQL that is shown."""
    return f"{quote_identifier(schema)}.{quote_identifier(name)}"


def counted(number: int, one: str, many: str) -> str:
    """`1 row has`, `2,000 rows have`."""
    return f"{number:,} {one if number == 1 else many}"

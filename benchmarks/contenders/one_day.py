"""One day for all students: the SQL by hand, the loop, the floors.

Put here: the contenders of the day. Do not put here: those of many days (`days`), or ours (`ours`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.contenders.protocol import Days, Run
from benchmarks.contenders.tables import SNAPSHOTS, empty, execute_file, generous, make_like_ours


@dataclass(frozen=True)
class SqlForDay:
    """One statement, `sql/one_day.sql`."""

    task: Days
    name: str = "sql"
    schema: str = "benchmark_sql"

    def prepare(self) -> None:
        """A table like ours."""
        make_like_ours(self.task.world, self.schema, SNAPSHOTS)

    def clean(self) -> None:
        """An empty table."""
        empty(self.task.world, self.schema, SNAPSHOTS)

    def run(self) -> Run:
        """Once, for the task's only day."""
        with generous(self.task.world, self.schema) as connection:
            began = time.monotonic()
            rows = execute_file(connection, "one_day", self.task.parameters)
            return Run(time.monotonic() - began, rows)

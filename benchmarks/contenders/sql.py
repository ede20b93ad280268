"""The SQL that somebody who knows PostgreSQL well would write by hand: the best that we could.

Put here: how the statements below `statements/` are run. Do not put here: the statements.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from benchmarks.contenders.protocol import Days, Run, Week
from benchmarks.contenders.tables import (
    RECOMMENDATIONS,
    SNAPSHOTS,
    connected,
    empty,
    execute_file,
    generous,
    make_like_ours,
)


@dataclass(frozen=True)
class SqlForDays:
    """One statement for all students, or for each half of them on a connection of its own.

    A server runs an INSERT on one processor; ours, which works on two batches at a time, can keep both busy. So the
    second form is timed as well.

    Attributes:
        task: The days.
        connections: How many parts the students are cut into.
    """

    task: Days
    connections: int = 1
    compared: str = "true"

    @property
    def name(self) -> str:
        """With the number of connections."""
        return "sql" if self.connections == 1 else f"sql, {self.connections} connections"

    @property
    def schema(self) -> str:
        """One for each form."""
        return f"benchmark_sql_{self.connections}"

    def prepare(self) -> None:
        """A table like ours."""
        make_like_ours(self.task.world, self.schema, SNAPSHOTS)

    def clean(self) -> None:
        """An empty table."""
        empty(self.task.world, self.schema, SNAPSHOTS)

    def run(self) -> Run:
        """The statement for a day, or the one for a range."""
        statement = "one_day" if self.task.count == 1 else "range"
        parts = [{**self.task.parameters, **ids} for ids in self._parts()]
        with ThreadPoolExecutor(self.connections) as pool:
            began = time.monotonic()
            rows = sum(pool.map(lambda parameters: self._execute(statement, parameters), parts))
            return Run(time.monotonic() - began, rows)

    def _parts(self) -> list[dict[str, int]]:
        if self.connections == 1:
            return [{}]
        with connected(self.task.world) as connection:
            query = """
                SELECT min(id), max(id)
                  FROM (SELECT id, ntile(:parts) OVER (ORDER BY id) AS part FROM users) AS cut
                 GROUP BY part ORDER BY part
            """
            bounds = connection.execute(text(query), {"parts": self.connections}).all()
        return [{"first_id": first, "last_id": last} for first, last in bounds]

    def _execute(self, statement: str, parameters: dict[str, Any]) -> int:
        with generous(self.task.world, self.schema) as connection:
            return execute_file(connection, statement, parameters)


@dataclass(frozen=True)
class SqlForWeek:
    """One statement, `statements/week.sql`."""

    task: Week
    name: str = "sql"
    schema: str = "benchmark_sql_week"
    compared: str = "true"

    def prepare(self) -> None:
        """A table like ours."""
        make_like_ours(self.task.world, self.schema, RECOMMENDATIONS)

    def clean(self) -> None:
        """An empty table."""
        empty(self.task.world, self.schema, RECOMMENDATIONS)

    def run(self) -> Run:
        """Once."""
        with generous(self.task.world, self.schema) as connection:
            began = time.monotonic()
            rows = execute_file(connection, "week", self.task.parameters)
            return Run(time.monotonic() - began, rows)

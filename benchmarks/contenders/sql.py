"""The best SQL statements that we could write by hand, from `statements/`."""

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
    connected_with_work_mem,
    empty,
    execute_file,
    make_like_ours,
)


@dataclass(frozen=True)
class SqlForDays:
    """One statement for all students, or for each half of them on a connection of its own.

    A server runs an INSERT on one processor, while our pipeline keeps two busy with two batches. So both forms are
    timed.

    Attributes:
        connections: Number of connections, each with an equal share of the students.
    """

    task: Days
    connections: int = 1
    compared: str = "true"

    @property
    def name(self) -> str:
        """The name, with the number of connections."""
        return "sql" if self.connections == 1 else f"sql, {self.connections} connections"

    @property
    def schema(self) -> str:
        """A schema for each form."""
        return f"benchmark_sql_{self.connections}"

    def prepare(self) -> None:
        """Create a table like ours."""
        make_like_ours(self.task.dataset, self.schema, SNAPSHOTS)

    def clean(self) -> None:
        """Empty the table."""
        empty(self.task.dataset, self.schema, SNAPSHOTS)

    def run(self) -> Run:
        """Execute the statement for a day, or the one for a range."""
        statement = "one_day" if self.task.count == 1 else "range"
        parts = [{**self.task.parameters, **ids} for ids in self._parts()]
        with ThreadPoolExecutor(self.connections) as pool:
            began = time.monotonic()
            rows = sum(pool.map(lambda parameters: self._execute(statement, parameters), parts))
            return Run(time.monotonic() - began, rows)

    def _parts(self) -> list[dict[str, int]]:
        if self.connections == 1:
            return [{}]
        with connected(self.task.dataset) as connection:
            query = """
                SELECT min(id), max(id)
                  FROM (SELECT id, ntile(:parts) OVER (ORDER BY id) AS part FROM users) AS cut
                 GROUP BY part ORDER BY part
            """
            bounds = connection.execute(text(query), {"parts": self.connections}).all()
        return [{"first_id": first, "last_id": last} for first, last in bounds]

    def _execute(self, statement: str, parameters: dict[str, Any]) -> int:
        with connected_with_work_mem(self.task.dataset, self.schema) as connection:
            return execute_file(connection, statement, parameters)


@dataclass(frozen=True)
class SqlForWeek:
    """One statement, `statements/week.sql`."""

    task: Week
    name: str = "sql"
    schema: str = "benchmark_sql_week"
    compared: str = "true"

    def prepare(self) -> None:
        """Create a table like ours."""
        make_like_ours(self.task.dataset, self.schema, RECOMMENDATIONS)

    def clean(self) -> None:
        """Empty the table."""
        empty(self.task.dataset, self.schema, RECOMMENDATIONS)

    def run(self) -> Run:
        """Execute the statement."""
        with connected_with_work_mem(self.task.dataset, self.schema) as connection:
            began = time.monotonic()
            rows = execute_file(connection, "week", self.task.parameters)
            return Run(time.monotonic() - began, rows)

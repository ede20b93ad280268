"""Lower bounds: read the source rows and discard them; load our finished rows.

Every way of computing the rows has to do both. Reading happens inside the server, with the output sent to /dev/null;
loading is a binary COPY of our rows, over one connection, into an empty table with the same indexes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from benchmarks.contenders.protocol import OURS, Days, Run, Week
from benchmarks.contenders.tables import RECOMMENDATIONS, SNAPSHOTS, connected, empty, make_like_ours
from benchmarks.datasets import Dataset

_BLOCK = 1 << 20
_STUDENT = "upper(trim(role)) = 'STUDENT' AND is_active"

_OF_DAYS = (
    f"""SELECT id, (SELECT min(started_at) FROM user_lesson_progress WHERE user_id = users.id)
          FROM users WHERE {_STUDENT}""",  # noqa: S608 - no input
    """SELECT user_id, lesson_id, started_at, completed_at, time_spent_minutes FROM user_lesson_progress
        WHERE (started_at >= :window_start AND started_at < :end)
           OR (completed_at >= :window_start AND completed_at < :end)""",
    """SELECT user_id, id, completed_at, score FROM quiz_attempts
        WHERE completed_at >= :window_start AND completed_at < :end""",
    f"""SELECT last_ten.* FROM users CROSS JOIN LATERAL (
               SELECT user_id, attempt.id, completed_at, score FROM quiz_attempts AS attempt
                WHERE user_id = users.id AND completed_at < :window_start AND score IS NOT NULL
                ORDER BY completed_at DESC, attempt.id DESC LIMIT 10) AS last_ten
         WHERE {_STUDENT}""",  # noqa: S608 - no input
    """SELECT user_id, created_at FROM exercise_submissions
        WHERE created_at >= :window_start AND created_at < :end""",
)
"""Source rows of a range of days."""

_OF_WEEK = (
    f"SELECT id, current_specialization, current_level FROM users WHERE {_STUDENT}",  # noqa: S608 - no input
    """SELECT user_id, lesson_id, started_at, completed_at, time_spent_minutes FROM user_lesson_progress
        WHERE started_at < :end OR completed_at < :end""",
    """SELECT user_id, attempt.id, quiz_id, lesson_id, score, completed_at
         FROM quiz_attempts AS attempt JOIN quizzes ON quizzes.id = quiz_id
        WHERE completed_at >= :review_start AND completed_at < :end""",
    "SELECT user_id, created_at FROM exercise_submissions WHERE created_at >= :exercises_start AND created_at < :end",
)
"""Source rows of a week."""


@dataclass(frozen=True)
class ReadFloor:
    """Read all rows that the task needs, and discard them."""

    task: Days | Week
    name: str = "floor: read"
    schema: None = None
    compared: str = "true"

    def prepare(self) -> None:
        """Do nothing."""

    def clean(self) -> None:
        """Do nothing."""

    def run(self) -> Run:
        """Run the queries one after another."""
        queries = _OF_DAYS if isinstance(self.task, Days) else _OF_WEEK
        with connected(self.task.dataset, OURS) as connection:
            began = time.monotonic()
            rows = sum(_discard(connection, query, self.task.parameters) for query in queries)
            return Run(time.monotonic() - began, rows)


def _discard(connection: Connection, query: str, parameters: dict[str, Any]) -> int:
    return connection.execute(text(f"COPY ({query}) TO '/dev/null' (FORMAT binary)"), parameters).rowcount


@dataclass(frozen=True)
class LoadFloor:
    """Load our rows by binary COPY, from a file that `prepare` writes."""

    task: Days | Week
    name: str = "floor: load"
    schema: str = "benchmark_floor"
    compared: str = "true"

    @property
    def table(self) -> str:
        """The table to load."""
        return SNAPSHOTS if isinstance(self.task, Days) else RECOMMENDATIONS

    @property
    def _file(self) -> Path:
        return self.task.dataset.home / f"{self.task.dataset.url.database}-{self.table}.copy"

    def prepare(self) -> None:
        """Create a table like ours, and write the file from the rows that `ours` has just computed."""
        make_like_ours(self.task.dataset, self.schema, self.table)
        order = "user_id, snapshot_date" if self.table == SNAPSHOTS else "user_id, priority DESC"
        columns = ", ".join(_columns(self.task.dataset, self.table))
        with self._file.open("wb") as file:
            query = f"SELECT {columns} FROM {OURS}.{self.table} ORDER BY {order}"  # noqa: S608 - names of our own
            _copy(self.task.dataset, f"COPY ({query}) TO STDOUT (FORMAT binary)", file)

    def clean(self) -> None:
        """Empty the table."""
        empty(self.task.dataset, self.schema, self.table)

    def run(self) -> Run:
        """Load the file into the table and commit."""
        columns = ", ".join(_columns(self.task.dataset, self.table))
        with self._file.open("rb") as file:
            statement = f"COPY {self.schema}.{self.table} ({columns}) FROM STDIN (FORMAT binary)"
            began = time.monotonic()
            rows = _copy(self.task.dataset, statement, file)
            return Run(time.monotonic() - began, rows)


def _columns(dataset: Dataset, table: str) -> list[str]:
    """All columns except an identity column."""
    query = """
        SELECT column_name FROM information_schema.columns
         WHERE table_schema = :schema AND table_name = :table AND is_identity = 'NO' ORDER BY ordinal_position
    """
    with connected(dataset) as connection:
        return list(connection.execute(text(query), {"schema": OURS, "table": table}).scalars())


def _copy(dataset: Dataset, statement: str, file: Any) -> int:
    with connected(dataset) as connection:
        cursor: Any = connection.connection.cursor()  # psycopg2's own
        cursor.copy_expert(statement, file, _BLOCK)
        return int(cursor.rowcount)

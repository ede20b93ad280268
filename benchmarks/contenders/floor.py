"""The floors: what it costs to read the rows and throw them away, and to load rows that are there already.

Nothing that computes the same can do without either. The reading happens inside the server, whose result goes to
/dev/null; the loading is a binary COPY, over one connection, of ours' own rows into an empty table with the same
indexes.

Put here: contenders that compute nothing. Do not put here: anything that does.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from benchmarks.contenders.protocol import OURS, Days, Run, Week
from benchmarks.contenders.tables import RECOMMENDATIONS, SNAPSHOTS, connected, empty, make_like_ours
from benchmarks.worlds import World

_BLOCK = 1 << 20
_STUDENT = "upper(role) = 'STUDENT' AND is_active"

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
"""What a range of days needs of the platform."""

_OF_WEEK = (
    f"SELECT id, current_specialization, current_level FROM users WHERE {_STUDENT}",  # noqa: S608 - no input
    """SELECT user_id, snapshot_date, time_spent_minutes_today, lessons_completed_count, exercises_submitted_count,
              last_activity_date
         FROM performance_snapshots WHERE snapshot_date BETWEEN :sunday - 13 AND :sunday""",
    """SELECT user_id, attempt.id, lesson_id, score, completed_at
         FROM quiz_attempts AS attempt JOIN quizzes ON quizzes.id = quiz_id
        WHERE completed_at >= :review_start AND completed_at < :end AND score IS NOT NULL AND lesson_id IS NOT NULL""",
    "SELECT user_id, lesson_id FROM user_lesson_progress WHERE completed_at < :end",
)
"""What a week needs of the platform, and of the snapshots."""


@dataclass(frozen=True)
class ReadFloor:
    """All rows that the task needs, read and thrown away."""

    task: Days | Week
    name: str = "floor: read"
    schema: None = None
    compared: str = "true"

    def prepare(self) -> None:
        """Nothing."""

    def clean(self) -> None:
        """Nothing."""

    def run(self) -> Run:
        """One query after the other."""
        queries = _OF_DAYS if isinstance(self.task, Days) else _OF_WEEK
        with connected(self.task.world, OURS) as connection:
            began = time.monotonic()
            rows = sum(_thrown_away(connection, query, self.task.parameters) for query in queries)
            return Run(time.monotonic() - began, rows)


def _thrown_away(connection: Connection, query: str, parameters: dict[str, Any]) -> int:
    return connection.execute(text(f"COPY ({query}) TO '/dev/null' (FORMAT binary)"), parameters).rowcount


@dataclass(frozen=True)
class LoadFloor:
    """Ours' rows by binary COPY, from a file that `prepare` writes."""

    task: Days | Week
    name: str = "floor: load"
    schema: str = "benchmark_floor"
    compared: str = "true"

    @property
    def table(self) -> str:
        """What is loaded."""
        return SNAPSHOTS if isinstance(self.task, Days) else RECOMMENDATIONS

    @property
    def _file(self) -> Path:
        return self.task.world.home / f"{self.task.world.url.database}-{self.table}.copy"

    def prepare(self) -> None:
        """A table like ours, and the file; ours has run just before."""
        make_like_ours(self.task.world, self.schema, self.table)
        order = "user_id, snapshot_date" if self.table == SNAPSHOTS else "user_id, priority DESC"
        columns = ", ".join(_columns(self.task.world, self.table))
        with self._file.open("wb") as file:
            query = f"SELECT {columns} FROM {OURS}.{self.table} ORDER BY {order}"  # noqa: S608 - names of our own
            _copy(self.task.world, f"COPY ({query}) TO STDOUT (FORMAT binary)", file)

    def clean(self) -> None:
        """An empty table."""
        empty(self.task.world, self.schema, self.table)

    def run(self) -> Run:
        """From the file into the table, committed."""
        columns = ", ".join(_columns(self.task.world, self.table))
        with self._file.open("rb") as file:
            statement = f"COPY {self.schema}.{self.table} ({columns}) FROM STDIN (FORMAT binary)"
            began = time.monotonic()
            rows = _copy(self.task.world, statement, file)
            return Run(time.monotonic() - began, rows)


def _columns(world: World, table: str) -> list[str]:
    """All columns but one that the server numbers by itself."""
    query = """
        SELECT column_name FROM information_schema.columns
         WHERE table_schema = :schema AND table_name = :table AND is_identity = 'NO' ORDER BY ordinal_position
    """
    with connected(world) as connection:
        return list(connection.execute(text(query), {"schema": OURS, "table": table}).scalars())


def _copy(world: World, statement: str, file: Any) -> int:
    with connected(world) as connection:
        cursor: Any = connection.connection.cursor()  # psycopg2's own
        cursor.copy_expert(statement, file, _BLOCK)
        return int(cursor.rowcount)

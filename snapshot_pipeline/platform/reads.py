"""Bulk reads of the platform: one method per query, each an Arrow fetch for a batch of students.

All reads of a session see the same state of the database and cannot write. Timestamps are returned as UTC instants. A
frame may have a few rows more than asked for: a plain `timestamp` is fetched with a day's margin on both sides, because
a wall clock is not monotonic; the metrics assign the exact local day.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import adbc_driver_postgresql.dbapi as adbc
import numpy as np
import pandas as pd
import pyarrow as pa
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Double,
    Engine,
    Select,
    String,
    Table,
    and_,
    any_,
    cast,
    column,
    func,
    literal,
    or_,
    select,
    text,
    true,
)

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.platform import replication
from snapshot_pipeline.platform.contract.findings import require_structure
from snapshot_pipeline.platform.tables import OPTIONAL_TABLES, TABLE_NAMES, reflected_tables
from snapshot_pipeline.postgres import bulk

_WALL_CLOCK_MARGIN = timedelta(days=1)
# PostgreSQL counts from 2000 and Arrow from 1970, so `infinity` and the last years of PostgreSQL's calendar overflow to
# values below its `-infinity`.
_MINUS_INFINITY = np.iinfo(np.int64).min + 946_684_800_000_000
# Set for the transaction. Batches run in parallel, so each uses only one of the server's processors.
_SESSION = {"jit": "off", "work_mem": "64MB", "max_parallel_workers_per_gather": "0"}
_FAR_FUTURE = np.datetime64("9999-12-31", "us")


@dataclass(frozen=True)
class PlatformTables:
    """The platform's tables as reflected from a database; `exercise_submissions` may be None."""

    users: Table
    lessons: Table
    user_lesson_progress: Table
    quizzes: Table
    quiz_attempts: Table
    exercise_submissions: Table | None

    @classmethod
    def of(cls, engine: Engine, schema: str) -> PlatformTables:
        """Reflect the tables and check their structure.

        Raises:
            SnapshotPipelineError: A required table or column is missing, or a column has a type that cannot be read.
        """
        tables = reflected_tables(engine, schema)
        missing = sorted(set(TABLE_NAMES) - OPTIONAL_TABLES - set(tables))
        if missing:
            raise SnapshotPipelineError(
                f"schema {schema!r} of database {engine.url.database!r} has no table {', '.join(missing)}; expected "
                "a learning platform; run `snapshot-pipeline check`, or create one by `snapshot-pipeline sample`"
            )
        with engine.connect() as connection:
            require_structure(connection, schema)
        return cls(**{"exercise_submissions": None, **tables})  # type: ignore[arg-type]  # the others are not missing


class Users(Protocol):
    """The users whose rows are read."""

    def hold(self, user_id: ColumnElement[Any]) -> ColumnElement[bool]:
        """Return the condition on a column of user ids."""


@dataclass(frozen=True)
class UserRange:
    """The users of a batch whose ids are between `first` and `last`, both included."""

    first: int
    last: int

    def hold(self, user_id: ColumnElement[Any]) -> ColumnElement[bool]:
        """Return whether the id is between the two."""
        return user_id.between(self.first, self.last)


@dataclass(frozen=True)
class UserSet:
    """A few users, whose ids may be far apart."""

    user_ids: tuple[int, ...]

    def hold(self, user_id: ColumnElement[Any]) -> ColumnElement[bool]:
        """Return whether the id is one of them."""
        return user_id == any_(bulk.integers(self.user_ids))


class PlatformReader:
    """The queries of a read session; see `read_session`."""

    def __init__(
        self, connection: adbc.Connection, tables: PlatformTables, naive_zone: ZoneInfo, deadline: float | None = None
    ) -> None:
        """Read through a connection with an open transaction.

        Args:
            connection: The connection.
            tables: The platform's tables.
            naive_zone: The zone of timestamps without one.
            deadline: The end of the last query, by the monotonic clock; None: no limit.
        """
        self._deadline = deadline
        self._connection = connection
        self._tables = tables
        self._naive_zone = naive_zone

    @property
    def tables(self) -> PlatformTables:
        """The tables that are read."""
        return self._tables

    @property
    def naive_zone(self) -> ZoneInfo:
        """The zone of timestamps without one."""
        return self._naive_zone

    def fetch(self, query: Select[Any]) -> pa.Table:
        """Run a query of another module of this package inside the session."""
        return bulk.fetch(self._connection, query)

    def position(self) -> str | None:
        """Return the replayed WAL position, at least that of the session's snapshot; `None` on a primary."""
        return replication.position(self._connection)

    def active_student_ids(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the ids of all active students, ascending, shape (students,)."""
        users = self._tables.users
        query = select(_id(users.c.id, "user_id")).where(self._is_active_student()).order_by(users.c.id)
        return self._fetch(query)["user_id"].to_numpy(np.int64)

    def events_per_student(self, user_ids: Sequence[int], start: datetime | None, end: datetime) -> float:
        """Return the mean number of progress rows and attempts of a student before `end`, and from `start` on if given.

        Args:
            user_ids: The students to count; the mean of none is 0.
            start: The first instant; None for no limit.
            end: The instant after the last one.
        """
        progress, attempts = self._tables.user_lesson_progress, self._tables.quiz_attempts
        counts = [
            select(func.count())
            .where(
                moment.table.c.user_id == any_(bulk.integers(user_ids)),
                moment < self._upper(moment, end),
                *([moment >= self._lower(moment, start)] if start else []),
            )
            .scalar_subquery()
            for moment in (progress.c.started_at, attempts.c.completed_at)
        ]
        events = self.fetch(select(sum(counts, start=literal(0)).label("events")))["events"][0].as_py()
        return float(events) / max(1, len(user_ids))

    def students(self, batch: Users) -> pd.DataFrame:
        """Return `user_id`, `specialization`, `level` (text or None), `first_started_at` of the active students."""
        users, progress = self._tables.users, self._tables.user_lesson_progress
        first_start = select(func.min(progress.c.started_at)).where(progress.c.user_id == users.c.id).scalar_subquery()
        query = select(
            _id(users.c.id, "user_id"),
            cast(users.c.current_specialization, String).label("specialization"),
            cast(users.c.current_level, String).label("level"),
            first_start.label("first_started_at"),
        ).where(self._is_active_student(), batch.hold(users.c.id))
        return self._fetch(query, "first_started_at")

    def progress(self, batch: Users, start: datetime, end: datetime) -> pd.DataFrame:
        """Return `user_id`, `lesson_id`, `started_at`, `completed_at`, `time_spent_minutes` of the window's lessons."""
        progress = self._tables.user_lesson_progress
        query = select(
            _id(progress.c.user_id, "user_id"),
            _id(progress.c.lesson_id, "lesson_id"),
            progress.c.started_at,
            progress.c.completed_at,
            cast(func.coalesce(progress.c.time_spent_minutes, 0), BigInteger).label("time_spent_minutes"),
        ).where(
            batch.hold(progress.c.user_id),
            or_(self._within(progress.c.started_at, start, end), self._within(progress.c.completed_at, start, end)),
        )
        return self._fetch(query, "started_at", "completed_at")

    def attempts(self, batch: Users, start: datetime, end: datetime) -> pd.DataFrame:
        """Return `user_id`, `attempt_id`, `completed_at`, `score`, `is_scored` of attempts in the window."""
        attempts = self._tables.quiz_attempts
        query = select(*self._attempt_columns(attempts), _is_scored(attempts)).where(
            batch.hold(attempts.c.user_id), self._within(attempts.c.completed_at, start, end)
        )
        return self._fetch(query, "completed_at")

    def last_scored_attempts(self, user_ids: Sequence[int], counts: Sequence[int], before: datetime) -> pd.DataFrame:
        """Return the columns of `attempts` of the last scored attempts of some students before an instant.

        One index probe per student, so that the cost does not grow with the years of history.

        Args:
            user_ids: The students.
            counts: The number of attempts to read for each student.
            before: The instant before which the attempts were completed.
        """
        attempts = self._tables.quiz_attempts
        wanted = (
            func.unnest(bulk.integers(user_ids), bulk.integers(counts))
            .table_valued(column("user_id", BigInteger), column("count", BigInteger), name="wanted")
            .render_derived()
        )
        last = (
            select(*self._attempt_columns(attempts), _is_scored(attempts))
            .where(
                attempts.c.user_id == wanted.c.user_id,
                attempts.c.score.is_not(None),
                attempts.c.completed_at < self._lower(attempts.c.completed_at, before),
            )
            .order_by(attempts.c.completed_at.desc(), attempts.c.id.desc())
            .limit(wanted.c.count)
            .lateral("last_attempts")
        )
        return self._fetch(select(*last.c).select_from(wanted.join(last, true())), "completed_at")

    def exercises(self, batch: Users, start: datetime, end: datetime) -> pd.DataFrame:
        """Return `user_id`, `created_at` of exercises in the window; no rows on a platform without exercises."""
        exercises = self._tables.exercise_submissions
        if exercises is None:
            return pd.DataFrame(
                {"user_id": np.zeros(0, np.int64), "created_at": pd.DatetimeIndex([], dtype="datetime64[us, UTC]")}
            )
        query = select(_id(exercises.c.user_id, "user_id"), exercises.c.created_at).where(
            batch.hold(exercises.c.user_id), self._within(exercises.c.created_at, start, end)
        )
        return self._fetch(query, "created_at")

    def last_activity(self, user_ids: Sequence[int], before: datetime) -> pd.DataFrame:
        """Return `user_id`, `last_activity_at` (NaT: none) of the latest activity before an instant."""
        users, progress = self._tables.users, self._tables.user_lesson_progress
        moments = {
            "last_started_at": progress.c.started_at,
            "last_completed_at": progress.c.completed_at,
            "last_attempt_at": self._tables.quiz_attempts.c.completed_at,
        }
        if self._tables.exercise_submissions is not None:
            moments["last_exercise_at"] = self._tables.exercise_submissions.c.created_at
        latest = [
            select(func.max(moment))
            .where(moment.table.c.user_id == users.c.id, moment < self._lower(moment, before))
            .scalar_subquery()
            .label(name)
            for name, moment in moments.items()
        ]
        is_wanted = users.c.id == any_(bulk.integers(user_ids))
        frame = self._fetch(select(_id(users.c.id, "user_id"), *latest).where(is_wanted), *moments)
        return pd.DataFrame({"user_id": frame["user_id"], "last_activity_at": frame[list(moments)].max(axis=1)})

    def lesson_scores(self, batch: Users, start: datetime, end: datetime) -> pd.DataFrame:
        """Return `user_id`, `attempt_id`, `lesson_id`, `score`, `completed_at` of scored attempts with a lesson."""
        attempts, quizzes = self._tables.quiz_attempts, self._tables.quizzes
        query = (
            select(*self._attempt_columns(attempts), _id(quizzes.c.lesson_id, "lesson_id"))
            .select_from(attempts.join(quizzes, quizzes.c.id == attempts.c.quiz_id))
            .where(
                batch.hold(attempts.c.user_id),
                self._within(attempts.c.completed_at, start, end),
                attempts.c.score.is_not(None),
                quizzes.c.lesson_id.is_not(None),
            )
        )
        return self._fetch(query, "completed_at")

    def completions(self, batch: Users, end: datetime) -> pd.DataFrame:
        """Return `user_id`, `lesson_id` of every lesson completed before `end`."""
        progress = self._tables.user_lesson_progress
        completed_at = progress.c.completed_at
        pairs: list[ColumnElement[Any]] = [_id(progress.c.user_id, "user_id"), _id(progress.c.lesson_id, "lesson_id")]
        completed = batch.hold(progress.c.user_id), completed_at < self._upper(completed_at, end)
        if _has_zone(completed_at):
            return self._fetch(select(*pairs).where(*completed))
        frame = self._fetch(select(*pairs, completed_at).where(*completed), "completed_at")
        return frame.loc[frame["completed_at"] < end, ["user_id", "lesson_id"]]

    def published_lessons(self) -> pd.DataFrame:
        """Return `lesson_id`, `title`, `specialization`, `level` (text or None), `display_order` (NaN: none)."""
        lessons = self._tables.lessons
        query = select(
            _id(lessons.c.id, "lesson_id"),
            cast(lessons.c.title, String).label("title"),
            cast(lessons.c.specialization_id, String).label("specialization"),
            cast(lessons.c.level_id, String).label("level"),
            cast(lessons.c.display_order, Double).label("display_order"),
        ).where(lessons.c.is_published)
        return self._fetch(query)

    def _is_active_student(self) -> ColumnElement[bool]:
        users = self._tables.users
        return and_(func.upper(cast(users.c.role, String)) == "STUDENT", users.c.is_active)

    def _attempt_columns(self, attempts: Table) -> list[ColumnElement[Any]]:
        return [
            _id(attempts.c.user_id, "user_id"),
            _id(attempts.c.id, "attempt_id"),
            attempts.c.completed_at,
            cast(attempts.c.score, Double).label("score"),
        ]

    def _within(self, column: Column[Any], start: datetime, end: datetime) -> ColumnElement[bool]:
        return and_(column >= self._lower(column, start), column < self._upper(column, end))

    def _lower(self, column: Column[Any], instant: datetime) -> datetime:
        return instant if _has_zone(column) else self._wall_clock(instant) - _WALL_CLOCK_MARGIN

    def _upper(self, column: Column[Any], instant: datetime) -> datetime:
        return instant if _has_zone(column) else self._wall_clock(instant) + _WALL_CLOCK_MARGIN

    def _wall_clock(self, instant: datetime) -> datetime:
        return instant.astimezone(self._naive_zone).replace(tzinfo=None)

    def _fetch(self, query: Select[Any], *instants: str) -> pd.DataFrame:
        """Run a query; the columns named become `datetime64[us, UTC]`."""
        if self._deadline is not None:
            remaining = max(1, round((self._deadline - time.monotonic()) * 1000))  # 0 would be no limit
            bulk.execute(self._connection, select(func.set_config("statement_timeout", f"{remaining}ms", True)))
        frame: pd.DataFrame = bulk.fetch(self._connection, query).to_pandas(date_as_object=False)
        for name in instants:
            frame[name] = _utc(frame[name], self._naive_zone)
        return frame


@contextmanager
def read_session(
    uri: str, tables: PlatformTables, naive_zone: ZoneInfo, position: str | None = None
) -> Iterator[PlatformReader]:
    """Open a read-only transaction, in which all reads see the same state of the platform.

    All its queries together may take no longer than `statement_timeout`: an `ALTER TABLE` of the application waits for
    the end of the transaction, not of a statement, and all other sessions wait for the `ALTER TABLE`.

    Args:
        uri: The database's URI for libpq.
        tables: The platform's tables.
        naive_zone: The zone of timestamps without one.
        position: The WAL position that a replica must have replayed, see `platform.replication`; None on a primary.
    """
    with bulk.transaction(uri) as connection:
        if position is not None:
            replication.require_replayed(connection, position)
            connection.commit()  # the snapshot of the reads must be taken after this query
        bulk.execute(connection, text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        for name, value in _SESSION.items():
            bulk.execute(connection, select(func.set_config(name, value, True)))
        yield PlatformReader(connection, tables, naive_zone, _deadline(connection))


def _deadline(connection: adbc.Connection) -> float | None:
    began = time.monotonic()
    limit = text("SELECT setting::bigint AS milliseconds FROM pg_settings WHERE name = 'statement_timeout'")
    milliseconds = bulk.fetch(connection, limit)["milliseconds"][0].as_py()
    return began + milliseconds / 1000 if milliseconds else None


def _id(column: ColumnElement[Any], name: str) -> ColumnElement[int]:
    return cast(column, BigInteger).label(name)


def _is_scored(attempts: Table) -> ColumnElement[bool]:
    return attempts.c.score.is_not(None).label("is_scored")


def _has_zone(column: Column[Any]) -> bool:
    return bool(getattr(column.type, "timezone", False))


def _utc(column: pd.Series[Any], naive_zone: ZoneInfo) -> pd.Series[Any]:
    """Return timestamps as UTC instants; of a local hour that occurs twice, the first."""
    instants = pd.DatetimeIndex(column).as_unit("us")
    wrapped = instants.notna() & (instants.asi8 < _MINUS_INFINITY)
    if wrapped.any():
        instants = instants.where(~wrapped, pd.Timestamp(_FAR_FUTURE, tz=instants.tz))
    if instants.tz is None:
        first = np.ones(len(instants), dtype=bool)
        instants = instants.tz_localize(naive_zone, ambiguous=first, nonexistent="shift_forward")
    return pd.Series(instants.tz_convert("UTC"), index=column.index, name=column.name)

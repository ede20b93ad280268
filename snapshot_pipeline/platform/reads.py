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
from typing import Any
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
    """The platform's tables as reflected from a database."""

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
                "a learning platform; run `snapshot-pipeline check`, or create one with `snapshot-pipeline sample`"
            )
        with engine.connect() as connection:
            require_structure(connection, schema)
        return cls(**{"exercise_submissions": None, **tables})  # type: ignore[arg-type]  # the others are not missing


@dataclass(frozen=True)
class User:
    """A user of the platform; `specialization` and `level` are None where the platform has none."""

    is_student: bool
    is_active: bool
    specialization: str | None
    level: str | None


@dataclass(frozen=True)
class UserRange:
    """The users of a batch whose ids are between `first` and `last`, both included."""

    first: int
    last: int

    def hold(self, user_id: ColumnElement[Any]) -> ColumnElement[bool]:
        """Return the condition on a column of user ids."""
        return user_id.between(self.first, self.last)


@dataclass(frozen=True)
class UserSet:
    """A few users, whose ids may be far apart."""

    user_ids: tuple[int, ...]

    def hold(self, user_id: ColumnElement[Any]) -> ColumnElement[bool]:
        """Return the condition on a column of user ids."""
        return user_id == any_(bulk.integers(self.user_ids))


Users = UserRange | UserSet


@dataclass(frozen=True)
class PlatformReader:
    """The queries of a read session; see `read_session`.

    Attributes:
        connection: With an open transaction.
        naive_zone: The zone of timestamps without one.
        deadline: The end of the last query, by the monotonic clock; None: no limit.
    """

    connection: adbc.Connection
    tables: PlatformTables
    naive_zone: ZoneInfo
    deadline: float | None = None

    def fetch(self, query: Select[Any]) -> pa.Table:
        """Run a query of another module of this package inside the session."""
        return bulk.fetch(self.connection, query)

    def position(self) -> str | None:
        """Return the replayed WAL position, at least that of the session's snapshot; `None` on a primary."""
        return replication.position(self.connection)

    def active_student_ids(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the ids of all active students, ascending, shape (students,)."""
        users = self.tables.users
        query = select(_id(users.c.id, "user_id")).where(self._is_active_student()).order_by(users.c.id)
        return self._fetch(query)["user_id"].to_numpy(np.int64)

    def user(self, user_id: int) -> User | None:
        """Return the user; `None` if there is no user with this id."""
        users = self.tables.users
        is_active = func.coalesce(users.c.is_active, False).label("is_active")
        query = select(self._is_student().label("is_student"), is_active, *self._cohort_columns())
        rows = self.fetch(query.where(users.c.id == user_id)).to_pylist()
        return User(**rows[0]) if rows else None

    def cohorts(self) -> pd.DataFrame:
        """Return `user_id`, `specialization`, `level` (categories, missing for none) of all users.

        Users who are not active students any more are included, because they keep their earlier snapshots.
        """
        query = select(_id(self.tables.users.c.id, "user_id"), *self._cohort_columns())
        cohorts: pd.DataFrame = self.fetch(query).to_pandas(strings_to_categorical=True)
        return cohorts

    def events_per_student(self, user_ids: Sequence[int], start: datetime | None, end: datetime) -> float:
        """Return the mean number of progress rows and attempts of a student in `[start, end)`; 0 without students."""
        progress, attempts = self.tables.user_lesson_progress, self.tables.quiz_attempts
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
        users, progress = self.tables.users, self.tables.user_lesson_progress
        first_start = select(func.min(progress.c.started_at)).where(progress.c.user_id == users.c.id).scalar_subquery()
        query = select(
            _id(users.c.id, "user_id"), *self._cohort_columns(), first_start.label("first_started_at")
        ).where(self._is_active_student(), batch.hold(users.c.id))
        return self._fetch(query, "first_started_at")

    def progress(self, batch: Users, start: datetime, end: datetime) -> pd.DataFrame:
        """Return `user_id`, `lesson_id`, `started_at`, `completed_at`, `time_spent_minutes` of the window's lessons."""
        progress = self.tables.user_lesson_progress
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
        attempts = self.tables.quiz_attempts
        query = select(*self._attempt_columns(attempts), _is_scored(attempts)).where(
            batch.hold(attempts.c.user_id), self._within(attempts.c.completed_at, start, end)
        )
        return self._fetch(query, "completed_at")

    def last_scored_attempts(self, user_ids: Sequence[int], counts: Sequence[int], before: datetime) -> pd.DataFrame:
        """Return the columns of `attempts` of the last scored attempts of some students before an instant.

        One index probe per student, so that the cost does not grow with the years of history. `counts` are the numbers
        of attempts to read for each student.
        """
        attempts = self.tables.quiz_attempts
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
        exercises = self.tables.exercise_submissions
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
        users, progress = self.tables.users, self.tables.user_lesson_progress
        moments = {
            "last_started_at": progress.c.started_at,
            "last_completed_at": progress.c.completed_at,
            "last_attempt_at": self.tables.quiz_attempts.c.completed_at,
        }
        if self.tables.exercise_submissions is not None:
            moments["last_exercise_at"] = self.tables.exercise_submissions.c.created_at
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
        attempts, quizzes = self.tables.quiz_attempts, self.tables.quizzes
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
        progress = self.tables.user_lesson_progress
        completed_at = progress.c.completed_at
        pairs: list[ColumnElement[Any]] = [_id(progress.c.user_id, "user_id"), _id(progress.c.lesson_id, "lesson_id")]
        completed = batch.hold(progress.c.user_id), completed_at < self._upper(completed_at, end)
        if has_zone(completed_at):
            return self._fetch(select(*pairs).where(*completed))
        frame = self._fetch(select(*pairs, completed_at).where(*completed), "completed_at")
        return frame.loc[frame["completed_at"] < end, ["user_id", "lesson_id"]]

    def published_lessons(self) -> pd.DataFrame:
        """Return `lesson_id`, `title`, `specialization`, `level` (text or None), `display_order` (NaN: none)."""
        lessons = self.tables.lessons
        query = select(
            _id(lessons.c.id, "lesson_id"),
            cast(lessons.c.title, String).label("title"),
            cast(lessons.c.specialization_id, String).label("specialization"),
            cast(lessons.c.level_id, String).label("level"),
            cast(lessons.c.display_order, Double).label("display_order"),
        ).where(lessons.c.is_published)
        return self._fetch(query)

    def _is_student(self) -> ColumnElement[bool]:
        return func.upper(cast(self.tables.users.c.role, String)) == "STUDENT"

    def _is_active_student(self) -> ColumnElement[bool]:
        return and_(self._is_student(), self.tables.users.c.is_active)

    def _cohort_columns(self) -> list[ColumnElement[Any]]:
        users = self.tables.users
        return [
            cast(users.c.current_specialization, String).label("specialization"),
            cast(users.c.current_level, String).label("level"),
        ]

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
        return instant if has_zone(column) else self._wall_clock(instant) - _WALL_CLOCK_MARGIN

    def _upper(self, column: Column[Any], instant: datetime) -> datetime:
        return instant if has_zone(column) else self._wall_clock(instant) + _WALL_CLOCK_MARGIN

    def _wall_clock(self, instant: datetime) -> datetime:
        return instant.astimezone(self.naive_zone).replace(tzinfo=None)

    def _fetch(self, query: Select[Any], *instants: str) -> pd.DataFrame:
        """Run a query; the columns named become `datetime64[us, UTC]`."""
        if self.deadline is not None:
            remaining = max(1, round((self.deadline - time.monotonic()) * 1000))  # 0 would be no limit
            bulk.execute(self.connection, select(func.set_config("statement_timeout", f"{remaining}ms", True)))
        frame = bulk.fetch_frame(self.connection, query)
        for name in instants:
            frame[name] = _utc(frame[name], self.naive_zone)
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


def has_zone(column: Column[Any]) -> bool:
    """Return whether a column of timestamps has a time zone."""
    return bool(getattr(column.type, "timezone", False))


def _utc(column: pd.Series[Any], naive_zone: ZoneInfo) -> pd.Series[Any]:
    """Return timestamps as UTC instants."""
    instants = pd.DatetimeIndex(column).as_unit("us")
    wrapped = instants.notna() & (instants.asi8 < _MINUS_INFINITY)
    if wrapped.any():
        instants = instants.where(~wrapped, pd.Timestamp(_FAR_FUTURE, tz=instants.tz))
    instants = localize(instants, naive_zone) if instants.tz is None else instants.tz_convert("UTC")
    return pd.Series(instants, index=column.index, name=column.name)


def localize(clock: pd.DatetimeIndex, zone: ZoneInfo) -> pd.DatetimeIndex:
    """Return local times as UTC instants; of an hour that occurs twice the first, of one that is skipped its end."""
    is_first = np.ones(len(clock), dtype=bool)
    return clock.tz_localize(zone, ambiguous=is_first, nonexistent="shift_forward").tz_convert("UTC")

"""Bulk reads of the platform: one method per query, each an Arrow fetch for a batch of students.

All reads of a session see the same state of the database and cannot write. Timestamps are returned as UTC instants.
Rows are returned as they are, for `metrics.corrections`; what is aggregated here ignores times before 2000 and after
the moment of the run, and counts a lesson that the table has twice once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import adbc_driver_postgresql.dbapi as adbc
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Engine,
    Select,
    String,
    Subquery,
    Table,
    and_,
    any_,
    case,
    cast,
    column,
    false,
    func,
    literal,
    or_,
    select,
    text,
    true,
    tuple_,
)

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.platform import replication
from snapshot_pipeline.platform.contract.findings import require_structure
from snapshot_pipeline.platform.numbers import LARGEST_FLOAT, double, whole
from snapshot_pipeline.platform.tables import OPTIONAL_TABLES, TABLE_NAMES, is_student, reflected_tables
from snapshot_pipeline.platform.timestamps import EARLIEST, bounds, to_utc
from snapshot_pipeline.postgres import bulk

_COHORT = ["specialization", "level"]
PROGRESS_COLUMNS = ("user_id", "lesson_id", "started_at", "completed_at", "time_spent_minutes", "copies")
# Set for the transaction. Batches run in parallel, so each uses only one of the server's processors.
_SESSION = {"jit": "off", "work_mem": "64MB", "max_parallel_workers_per_gather": "0"}


@dataclass(frozen=True)
class PlatformTables:
    """The platform's tables as reflected from a database.

    Attributes:
        progress_is_unique: Whether an index guarantees one row for each student and lesson.
    """

    users: Table
    lessons: Table
    user_lesson_progress: Table
    quizzes: Table
    quiz_attempts: Table
    exercise_submissions: Table | None
    progress_is_unique: bool = True

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
            structure = require_structure(connection, schema)
        progress = structure["user_lesson_progress"]
        tables_and_key = {**tables, "progress_is_unique": progress.is_unique(("user_id", "lesson_id"))}
        return cls(**{"exercise_submissions": None, **tables_and_key})  # type: ignore[arg-type]  # the others are not missing


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
class ReadRules:
    """How the platform's rows are read.

    Attributes:
        moment: When the run began; what is dated later does not exist yet.
        naive_zone: The zone of timestamps without one.
        student_roles: The roles of students, in any case.
        score_maximum: The score of full marks.
    """

    moment: datetime
    naive_zone: ZoneInfo
    student_roles: tuple[str, ...] = ("student",)
    score_maximum: float = 100


@dataclass(frozen=True)
class PlatformReader:
    """The queries of a read session; see `read_session`.

    Attributes:
        connection: With an open transaction.
        deadline: The end of the last query, by the monotonic clock; None: no limit.
    """

    connection: adbc.Connection
    tables: PlatformTables
    rules: ReadRules
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

    def cohorts(self, batch: Users | None = None) -> pd.DataFrame:
        """Return `user_id`, `specialization`, `level` (categories, missing for none) of all users, or of a batch.

        Users who are not active students any more are included, because they keep their earlier snapshots.
        """
        users = self.tables.users
        query = select(_id(users.c.id, "user_id"), *self._cohort_columns())
        query = query if batch is None else query.where(batch.hold(users.c.id))
        cohorts: pd.DataFrame = self.fetch(query).to_pandas(strings_to_categorical=True)
        return cohorts

    def cohort_starts(self, end: datetime, exercises_start: datetime) -> pd.DataFrame:
        """Return what the active students of each specialization and level have begun before an instant.

        Returns:
            `specialization`, `level` (text or None), `students`, `started` (how many have a start before `end`),
            `first_started_at` (the earliest of these, NaT: none), `has_exercises` (whether one of the students
            submitted an exercise in `[exercises_start, end)`).
        """
        users, exercises = self.tables.users, self.tables.exercise_submissions
        starts = self._first_starts(end)
        has_exercises: ColumnElement[bool] = false()
        if exercises is not None:
            submitted_at = exercises.c.created_at
            is_recent = and_(self._within(submitted_at, exercises_start, end), self._is_valid(submitted_at))
            has_exercises = users.c.id.in_(select(exercises.c.user_id).where(is_recent))
        students = (
            select(
                *self._cohort_columns(),
                starts.c.user_id.is_not(None).label("has_started"),
                starts.c.first_started_at,
                starts.c.first_completed_at,
                has_exercises.label("has_exercises"),
            )
            .select_from(users.outerjoin(starts, starts.c.user_id == users.c.id))
            .where(self._is_active_student())
            .subquery("students")
        )
        cohort = students.c.specialization, students.c.level
        first_times = ("first_started_at", "first_completed_at")
        query = select(
            *cohort,
            func.count().label("students"),
            func.count().filter(students.c.has_started).label("started"),
            *(func.min(students.c[name]).label(name) for name in first_times),
            func.bool_or(students.c.has_exercises).label("has_exercises"),
        ).group_by(*cohort)
        frame = self._fetch(query, *first_times)
        first = frame[list(first_times)].min(axis=1)
        return frame.drop(columns=list(first_times)).assign(first_started_at=first)

    def events_per_student(self, user_ids: Sequence[int], start: datetime | None, end: datetime) -> float:
        """Return the mean number of progress rows and attempts of a student in `[start, end)`; 0 without students."""
        progress, attempts = self.tables.user_lesson_progress, self.tables.quiz_attempts
        counts = [
            select(func.count())
            .where(
                moment.table.c.user_id == any_(bulk.integers(user_ids)),
                self._within(moment, start or EARLIEST, end),
            )
            .scalar_subquery()
            for moment in (progress.c.started_at, attempts.c.completed_at)
        ]
        events = self.fetch(select(sum(counts, start=literal(0)).label("events")))["events"][0].as_py()
        return float(events) / max(1, len(user_ids))

    def attempts_per_student(self, user_ids: Sequence[int], end: datetime) -> float:
        """Return the mean number of attempts of a student before an instant; 0 without students."""
        attempts = self.tables.quiz_attempts
        is_counted = attempts.c.user_id == any_(bulk.integers(user_ids))
        query = select(func.count().label("attempts")).where(
            is_counted, self._within(attempts.c.completed_at, EARLIEST, end)
        )
        return float(self.fetch(query)["attempts"][0].as_py()) / max(1, len(user_ids))

    def students(self, batch: Users, since: datetime) -> pd.DataFrame:
        """Return `user_id`, `first_started_at` (NaT: no lesson started) of the active students.

        A first start is exact from `since` on; of an earlier one only that it is earlier. So the completions, which
        seldom precede a start, are looked up for new students alone.
        """
        users, progress = self.tables.users, self._lessons_once
        of_user = progress.c.user_id == users.c.id
        started_at = select(func.min(progress.c.started_at)).where(of_user, self._is_valid(progress.c.started_at))
        started = (
            select(users.c.id, started_at.scalar_subquery().label("first_started_at"))
            .where(self._is_active_student(), batch.hold(users.c.id))
            .offset(0)  # otherwise PostgreSQL looks the start up twice
            .subquery("started")
        )
        completed_at = select(func.min(progress.c.completed_at)).where(
            progress.c.user_id == started.c.id, self._is_valid(progress.c.completed_at)
        )
        (first,) = bounds(progress.c.started_at, [since], self.rules.naive_zone)
        if_new = case((started.c.first_started_at < first, None), else_=completed_at.scalar_subquery())
        columns = (_id(started.c.id, "user_id"), started.c.first_started_at, if_new.label("first_completed_at"))
        frame = self._fetch(select(*columns), "first_started_at", "first_completed_at")
        first_times = frame[["first_started_at", "first_completed_at"]].min(axis=1)
        return pd.DataFrame({"user_id": frame["user_id"], "first_started_at": first_times})

    def progress(self, batch: Users, start: datetime, end: datetime) -> pd.DataFrame:
        """Return the lessons with a time in the window, for `metrics.corrections`.

        Returns:
            `user_id`, `lesson_id`, `started_at`, `completed_at`, `time_spent_minutes`, and `copies`: how many rows with
            a valid time the table has for the student and lesson. All rows of a duplicate are returned.
        """
        progress = self.tables.user_lesson_progress
        in_window = or_(
            self._within(progress.c.started_at, start, end), self._within(progress.c.completed_at, start, end)
        )
        return self._progress_rows(batch.hold(progress.c.user_id), in_window)

    def progress_of(self, user_ids: Sequence[int], lesson_ids: Sequence[int]) -> pd.DataFrame:
        """Return the columns of `progress` of some lessons of students: the pairs of the two sequences."""
        progress = self.tables.user_lesson_progress
        pairs = (
            func.unnest(bulk.integers(user_ids), bulk.integers(lesson_ids))
            .table_valued(column("user_id", BigInteger), column("lesson_id", BigInteger), name="pairs")
            .render_derived()
        )
        is_wanted = tuple_(progress.c.user_id, progress.c.lesson_id).in_(select(pairs.c.user_id, pairs.c.lesson_id))
        return self._progress_rows(progress.c.user_id == any_(bulk.integers(sorted(set(user_ids)))), is_wanted)

    def attempts(self, batch: Users, start: datetime | None, end: datetime) -> pd.DataFrame:
        """Return the attempts in the window, or all valid ones before its end.

        Returns:
            `user_id`, `attempt_id`, `quiz_id`, `completed_at`, `score`, `is_scored`.
        """
        attempts = self.tables.quiz_attempts
        in_window = self._within(attempts.c.completed_at, start or EARLIEST, end)
        return self._attempt_rows(batch.hold(attempts.c.user_id), in_window)

    def attempts_of(self, attempt_ids: Sequence[int]) -> pd.DataFrame:
        """Return the columns of `attempts` of some attempts."""
        return self._attempt_rows(self.tables.quiz_attempts.c.id == any_(bulk.integers(attempt_ids)))

    def last_scored_attempts(self, user_ids: Sequence[int], counts: Sequence[int], before: datetime) -> pd.DataFrame:
        """Return the columns of `attempts` of the last graded attempts of some students before an instant.

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
            select(*self._attempt_columns(attempts))
            .where(
                attempts.c.user_id == wanted.c.user_id,
                _is_graded(attempts),
                self._is_valid(attempts.c.completed_at, before),
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
        users, progress, attempts = self.tables.users, self._lessons_once, self.tables.quiz_attempts
        moments = {
            "last_started_at": (progress.c.user_id, progress.c.started_at),
            "last_completed_at": (progress.c.user_id, progress.c.completed_at),
            "last_attempt_at": (attempts.c.user_id, attempts.c.completed_at),
        }
        if (exercises := self.tables.exercise_submissions) is not None:
            moments["last_exercise_at"] = (exercises.c.user_id, exercises.c.created_at)
        latest = [
            select(func.max(moment))
            .where(user_id == users.c.id, self._is_valid(moment, before))
            .scalar_subquery()
            .label(name)
            for name, (user_id, moment) in moments.items()
        ]
        is_wanted = users.c.id == any_(bulk.integers(user_ids))
        frame = self._fetch(select(_id(users.c.id, "user_id"), *latest).where(is_wanted), *moments)
        return pd.DataFrame({"user_id": frame["user_id"], "last_activity_at": frame[list(moments)].max(axis=1)})

    def lesson_scores(self, batch: Users, start: datetime, end: datetime) -> pd.DataFrame:
        """Return the columns of `attempts`, `quiz_id` and `lesson_id` of the window's attempts at a lesson's quiz."""
        attempts, quizzes = self.tables.quiz_attempts, self.tables.quizzes
        query = (
            select(*self._attempt_columns(attempts), _id(quizzes.c.lesson_id, "lesson_id"))
            .select_from(attempts.join(quizzes, quizzes.c.id == attempts.c.quiz_id))
            .where(
                batch.hold(attempts.c.user_id),
                self._within(attempts.c.completed_at, start, end),
                quizzes.c.lesson_id.is_not(None),
            )
        )
        return self._fetch(query, "completed_at")

    def count_for_engagement(self, attempts: pd.DataFrame, users: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which attempts count: of users who have a cohort, at its published quizzes and those of no lesson.

        They are selected here, because PostgreSQL needs several times as long for the joins.

        Args:
            attempts: `user_id`, `quiz_id`.
            users: See `cohorts`.
        """
        quizzes = self._quizzes()
        user_rows = pd.Index(users["user_id"]).get_indexer(pd.Index(attempts["user_id"]))
        quiz_rows = pd.Index(quizzes["quiz_id"]).get_indexer(pd.Index(attempts["quiz_id"]))
        # The last element, which -1 selects, is for what is not known.
        is_counted = np.append(np.ones(len(quizzes), dtype=bool), False)[quiz_rows]
        is_of_cohort = np.ones(len(attempts), dtype=bool)
        for name in _COHORT:
            names = pd.Categorical(users[name])
            of_user = np.append(names.codes, -1)[user_rows]
            of_quiz = np.append(names.categories.get_indexer(pd.Index(quizzes[name])), -1)[quiz_rows]
            is_counted &= (of_user >= 0) & (of_user != names.categories.get_indexer(pd.Index([""]))[0])
            is_of_cohort &= of_user == of_quiz
        has_no_lesson = np.append(quizzes["lesson_id"].isna(), False)[quiz_rows]
        counted: NDArray[np.bool_] = is_counted & (has_no_lesson | is_of_cohort)
        return counted

    def _quizzes(self) -> pd.DataFrame:
        """`quiz_id`, `lesson_id` (missing: none), `specialization`, `level` of quizzes that can be opened."""
        quizzes, lessons = self.tables.quizzes, self.tables.lessons
        columns: list[ColumnElement[Any]] = [
            _id(quizzes.c.id, "quiz_id"),
            _id(quizzes.c.lesson_id, "lesson_id"),
            cast(lessons.c.specialization_id, String).label("specialization"),
            cast(lessons.c.level_id, String).label("level"),
        ]
        query = (
            select(*columns)
            .select_from(quizzes.outerjoin(lessons, lessons.c.id == quizzes.c.lesson_id))
            .where(or_(quizzes.c.lesson_id.is_(None), lessons.c.is_published))
        )
        return self._fetch(query)

    def quiz_titles(self) -> pd.DataFrame:
        """Return `quiz_id`, `title` (text; the quiz's number where the platform has none) of all quizzes."""
        quizzes = self.tables.quizzes
        number = func.concat("Quiz ", cast(quizzes.c.id, String))
        title = quizzes.c.get("title")
        named = number if title is None else func.coalesce(func.nullif(cast(title, String), ""), number)
        return self._fetch(select(_id(quizzes.c.id, "quiz_id"), named.label("title")))

    def completions(self, batch: Users, end: datetime) -> pd.DataFrame:
        """Return `user_id`, `lesson_id` of every lesson completed before `end`."""
        progress = self._lessons_once
        query = select(progress.c.user_id, progress.c.lesson_id).where(
            batch.hold(progress.c.user_id), self._is_valid(progress.c.completed_at, end)
        )
        return self._fetch(query)

    def published_lessons(self) -> pd.DataFrame:
        """Return `lesson_id`, `title`, `specialization`, `level` (text or None), `display_order` (NaN: none)."""
        lessons = self.tables.lessons
        query = select(
            _id(lessons.c.id, "lesson_id"),
            cast(lessons.c.title, String).label("title"),
            cast(lessons.c.specialization_id, String).label("specialization"),
            cast(lessons.c.level_id, String).label("level"),
            double(lessons.c.display_order).label("display_order"),
        ).where(lessons.c.is_published)
        return self._fetch(query)

    @cached_property
    def _lessons_once(self) -> Subquery:
        """`user_id`, `lesson_id`, `started_at`, `completed_at` of each lesson; of duplicates the row that counts."""
        progress = self.tables.user_lesson_progress
        key = _id(progress.c.user_id, "user_id"), _id(progress.c.lesson_id, "lesson_id")
        query = select(*key, progress.c.started_at, progress.c.completed_at)
        if self.tables.progress_is_unique:
            return query.subquery("lessons_once")
        started_at, completed_at = self._valid(progress.c.started_at), self._valid(progress.c.completed_at)
        start = func.least(started_at, completed_at)
        order = (completed_at.is_(None), start, completed_at, started_at)
        # Not DISTINCT ON, which SQLAlchemy 2.0 and 2.1 write differently.
        number = func.row_number().over(partition_by=key, order_by=order).label("number")
        rows = query.add_columns(number).where(start.is_not(None)).subquery("numbered_rows")
        columns = (rows.c.user_id, rows.c.lesson_id, rows.c.started_at, rows.c.completed_at)
        return select(*columns).where(rows.c.number == 1).subquery("lessons_once")

    def _first_starts(self, end: datetime) -> Subquery:
        """`user_id`, `first_started_at` and `first_completed_at` of the users with a lesson begun before an instant."""
        progress = self._lessons_once
        is_valid = [self._is_valid(time, end) for time in (progress.c.started_at, progress.c.completed_at)]
        query = select(
            progress.c.user_id,
            func.min(progress.c.started_at).filter(is_valid[0]).label("first_started_at"),
            func.min(progress.c.completed_at).filter(is_valid[1]).label("first_completed_at"),
        )
        return query.where(or_(*is_valid)).group_by(progress.c.user_id).subquery("starts")

    def _progress_rows(self, of_users: ColumnElement[bool], is_wanted: ColumnElement[bool]) -> pd.DataFrame:
        progress = self.tables.user_lesson_progress
        key = _id(progress.c.user_id, "user_id"), _id(progress.c.lesson_id, "lesson_id")
        minutes = whole(progress.c.time_spent_minutes).label("time_spent_minutes")
        columns = (*key, progress.c.started_at, progress.c.completed_at, minutes)
        if self.tables.progress_is_unique:
            frame = self._fetch(select(*columns).where(of_users, is_wanted), "started_at", "completed_at")
            return frame.assign(copies=1)
        has_time = or_(self._is_valid(progress.c.started_at), self._is_valid(progress.c.completed_at))
        copies = func.count().filter(has_time).over(partition_by=key).label("copies")
        wanted = func.bool_or(is_wanted).over(partition_by=key).label("is_wanted")
        rows = select(*columns, copies, wanted).where(of_users).subquery("progress_rows")
        query = select(*(rows.c[name] for name in PROGRESS_COLUMNS)).where(rows.c.is_wanted)
        return self._fetch(query, "started_at", "completed_at")

    def _attempt_rows(self, *conditions: ColumnElement[bool]) -> pd.DataFrame:
        attempts = self.tables.quiz_attempts
        return self._fetch(select(*self._attempt_columns(attempts)).where(*conditions), "completed_at")

    def _is_student(self) -> ColumnElement[bool]:
        return is_student(self.tables.users, self.rules.student_roles)

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
            _id(attempts.c.quiz_id, "quiz_id"),
            attempts.c.completed_at,
            double(attempts.c.score).label("score"),
            attempts.c.score.is_not(None).label("is_scored"),
        ]

    def _within(self, column: ColumnElement[Any], start: datetime, end: datetime) -> ColumnElement[bool]:
        first, after = bounds(column, [start, end], self.rules.naive_zone)
        return and_(column >= first, column < after)

    def _is_valid(self, column: ColumnElement[Any], before: datetime | None = None) -> ColumnElement[bool]:
        """Return whether a time is neither before 2000 nor after the moment of the run, and before an instant."""
        after_moment = self.rules.moment + timedelta(microseconds=1)
        return self._within(column, EARLIEST, min(after_moment, before or after_moment))

    def _valid(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return case((self._is_valid(column), column))

    def _fetch(self, query: Select[Any], *instants: str) -> pd.DataFrame:
        """Run a query; the columns named become `datetime64[us, UTC]`."""
        if self.deadline is not None:
            remaining = max(1, round((self.deadline - time.monotonic()) * 1000))  # 0 would be no limit
            bulk.execute(self.connection, select(func.set_config("statement_timeout", f"{remaining}ms", True)))
        frame = bulk.fetch_frame(self.connection, query)
        for name in instants:
            frame[name] = to_utc(frame[name], self.rules.naive_zone)
        return frame


@contextmanager
def read_session(
    uri: str, tables: PlatformTables, rules: ReadRules, position: str | None = None
) -> Iterator[PlatformReader]:
    """Open a read-only transaction, in which all reads see the same state of the platform.

    All its queries together may take no longer than `statement_timeout`: an `ALTER TABLE` of the application waits for
    the end of the transaction, not of a statement, and all other sessions wait for the `ALTER TABLE`.

    Args:
        uri: The database's URI for libpq.
        rules: How the rows are read.
        position: The WAL position that a replica must have replayed, see `platform.replication`; None on a primary.
    """
    with bulk.transaction(uri) as connection:
        if position is not None:
            replication.require_replayed(connection, position)
            connection.commit()  # the snapshot of the reads must be taken after this query
        bulk.execute(connection, text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        for name, value in _SESSION.items():
            bulk.execute(connection, select(func.set_config(name, value, True)))
        yield PlatformReader(connection, tables, rules, _deadline(connection))


def _deadline(connection: adbc.Connection) -> float | None:
    began = time.monotonic()
    limit = text("SELECT setting::bigint AS milliseconds FROM pg_settings WHERE name = 'statement_timeout'")
    milliseconds = bulk.fetch(connection, limit)["milliseconds"][0].as_py()
    return began + milliseconds / 1000 if milliseconds else None


def _id(column: ColumnElement[Any], name: str) -> ColumnElement[int]:
    return cast(column, BigInteger).label(name)


def _is_graded(attempts: Table) -> ColumnElement[bool]:
    return double(attempts.c.score).between(-LARGEST_FLOAT, LARGEST_FLOAT)  # neither null, NaN nor infinite

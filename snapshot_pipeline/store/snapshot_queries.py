"""Queries on published snapshots: totals and distributions of a day, and one student's days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta

import adbc_driver_postgresql.dbapi as adbc
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import BigInteger, ColumnElement, Connection, any_, cast, func, select

from snapshot_pipeline.metrics.score_counts import ScoreCounts
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.store.tables import ENGAGEMENT_COLUMNS, StoreTables

PERCENTILE_DECIMALS = 4
"""Decimals of the published percentiles."""


@dataclass(frozen=True)
class DayTotals:
    """Totals of a day's snapshots.

    Attributes:
        active: Number of students active on the day.
        students_with_average: Number of students with a quiz average.
        quiz_total: Sum of their quiz averages.
    """

    active: int
    lessons: int
    minutes: int
    students_with_average: int
    quiz_total: float


@dataclass(frozen=True)
class PaceQuartiles:
    """Quartiles of the changes of the pace score since the day before, over the students of both days."""

    lower: float
    median: float
    upper: float


@dataclass(frozen=True)
class WithoutData:
    """Numbers of students of a day with little data.

    Attributes:
        idle: Pace score 0: no lesson completed in the window, and no scored quiz.
        unscored: No scored quiz, so the quiz average is null.
    """

    idle: int
    unscored: int


@dataclass(frozen=True)
class StoredSnapshot:
    """A row of `performance_snapshots`, without the student."""

    snapshot_date: date
    pace_score: float
    learning_pace: str
    quiz_average: float | None
    lessons_completed_count: int
    time_spent_minutes_today: int
    quizzes_completed_count: int
    exercises_submitted_count: int
    last_activity_date: date
    computed_at: datetime


def day_totals(connection: Connection, tables: StoreTables, day: date) -> DayTotals:
    """Totals of a day's snapshots; zeros if there are none."""
    snapshots = tables.performance_snapshots
    query = select(
        func.count().filter(snapshots.c.last_activity_date == snapshots.c.snapshot_date),
        _sum(snapshots.c.lessons_completed_count),
        _sum(snapshots.c.time_spent_minutes_today),
        func.count(snapshots.c.quiz_average),
        func.coalesce(func.sum(snapshots.c.quiz_average), 0.0),
    ).where(snapshots.c.snapshot_date == day)
    return DayTotals(*connection.execute(query).one())


def pace_counts(connection: Connection, tables: StoreTables, day: date) -> ScoreCounts:
    """Number of students by pace score on a day."""
    snapshots = tables.performance_snapshots
    query = (
        select(snapshots.c.pace_score, func.count())
        .where(snapshots.c.snapshot_date == day)
        .group_by(snapshots.c.pace_score)
    )
    return ScoreCounts.of({score: students for score, students in connection.execute(query)})


def mean_pace_by_day(connection: Connection, tables: StoreTables, first: date, last: date) -> dict[date, float]:
    """The mean pace score of each of the days `first … last` that has snapshots."""
    snapshots = tables.performance_snapshots
    query = (
        select(snapshots.c.snapshot_date, func.avg(snapshots.c.pace_score))
        .where(snapshots.c.snapshot_date.between(first, last))
        .group_by(snapshots.c.snapshot_date)
    )
    return {day: mean for day, mean in connection.execute(query)}


def active_students(connection: Connection, tables: StoreTables, first: date, last: date) -> int:
    """Number of students with a snapshot of `last` whose last activity is on one of the days `first … last`."""
    snapshots = tables.performance_snapshots
    query = select(func.count()).where(snapshots.c.snapshot_date == last, snapshots.c.last_activity_date >= first)
    return connection.execute(query).scalar_one()


def pace_change_quartiles(connection: Connection, tables: StoreTables, day: date) -> PaceQuartiles | None:
    """How far pace scores have moved since the day before; None if no student has a snapshot of both days."""
    today, yesterday = tables.performance_snapshots.alias("today"), tables.performance_snapshots.alias("yesterday")
    change = today.c.pace_score - yesterday.c.pace_score
    query = (
        select(*(func.percentile_cont(share).within_group(change) for share in (0.25, 0.5, 0.75)))
        .join_from(today, yesterday, today.c.user_id == yesterday.c.user_id)
        .where(today.c.snapshot_date == day, yesterday.c.snapshot_date == day - timedelta(days=1))
    )
    lower, median, upper = connection.execute(query).one()
    return None if median is None else PaceQuartiles(lower, median, upper)


def students_without_data(connection: Connection, tables: StoreTables, day: date) -> WithoutData:
    """How many students of a day have little data."""
    snapshots = tables.performance_snapshots
    unscored = snapshots.c.quiz_average.is_(None)
    idle = unscored & (snapshots.c.pace_score == 0)
    query = select(func.count().filter(idle), func.count().filter(unscored)).where(snapshots.c.snapshot_date == day)
    return WithoutData(*connection.execute(query).one())


def count_restatements(connection: Connection, tables: StoreTables, first: date, last: date, run_id: str) -> int:
    """How many published figures of the days `first … last` a run has changed."""
    restatements = tables.snapshot_restatements.c
    query = select(func.count()).where(restatements.snapshot_date.between(first, last), restatements.run_id == run_id)
    return int(connection.execute(query).scalar_one())


def snapshots_of_student(
    connection: Connection, tables: StoreTables, user_id: int, first: date, last: date
) -> dict[date, StoredSnapshot]:
    """A student's snapshots of the days `first … last`."""
    snapshots = tables.performance_snapshots
    query = select(*(snapshots.c[field.name] for field in fields(StoredSnapshot))).where(
        snapshots.c.user_id == user_id, snapshots.c.snapshot_date.between(first, last)
    )
    rows = (StoredSnapshot(**row) for row in connection.execute(query).mappings())
    return {row.snapshot_date: row for row in rows}


def count_snapshots_of_student(connection: Connection, tables: StoreTables, user_id: int) -> tuple[int, date | None]:
    """The number of a student's snapshots, and the day of the last one."""
    snapshots = tables.performance_snapshots
    query = select(func.count(), func.max(snapshots.c.snapshot_date)).where(snapshots.c.user_id == user_id)
    count, last = connection.execute(query).one()
    return count, last


def _sum(column: ColumnElement[int]) -> ColumnElement[int]:
    return cast(func.coalesce(func.sum(cast(column, BigInteger)), 0), BigInteger)


def read_engagement(
    connection: adbc.Connection, tables: StoreTables, user_ids: NDArray[np.int64], days: Sequence[date]
) -> pd.DataFrame:
    """Return the published engagement of some students on some days.

    Returns:
        `user_id` (int64), `snapshot_date` (`datetime64[s]`), `engagement_score` and the percentiles `results`,
        `presence`, `timeliness`, `recency` (float64 as published, NaN: null).
    """
    snapshots = tables.performance_snapshots
    query = select(
        snapshots.c.user_id, snapshots.c.snapshot_date, *(snapshots.c[name] for name in ENGAGEMENT_COLUMNS)
    ).where(snapshots.c.snapshot_date.in_(days), snapshots.c.user_id == any_(bulk.integers(user_ids.tolist())))
    rows = bulk.fetch_frame(connection, query).rename(columns=lambda name: name.removeprefix("engagement_"))
    rows = rows.rename(columns={"score": "engagement_score"}).astype({"snapshot_date": "datetime64[s]"})
    percentiles = ["results", "presence", "timeliness", "recency"]
    # The columns are REAL, whose nearest double is not the published number.
    published = rows[percentiles].astype(np.float64).round(PERCENTILE_DECIMALS)
    return rows.assign(**published, engagement_score=rows["engagement_score"].astype(np.float64))

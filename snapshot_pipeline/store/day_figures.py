"""What a day's published snapshots come to: counts, distributions, and the few students that stand out.

Put here: questions about whole days, each answered by one statement over one day's rows or two.
Do not put here: questions about one student, or what a run counts while it publishes (`pipeline.day_reports`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import BigInteger, ColumnElement, Connection, cast, func, select

from snapshot_pipeline.metrics.score_counts import ScoreCounts
from snapshot_pipeline.store.tables import StoreTables


@dataclass(frozen=True)
class DayTotals:
    """What the snapshots of a day add up to.

    Attributes:
        active: Students who did something on that day.
        lessons: Lessons completed.
        minutes: Minutes spent.
        quizzers: Students who have a quiz average.
        quiz_total: The sum of their quiz averages.
    """

    active: int
    lessons: int
    minutes: int
    quizzers: int
    quiz_total: float


@dataclass(frozen=True)
class Mover:
    """A student whose pace score is another one than the day before.

    Attributes:
        user_id: The student.
        before: The pace score of the day before.
        after: That of the day.
    """

    user_id: int
    before: float
    after: float


@dataclass(frozen=True)
class Unknown:
    """Students of whom something cannot be said, for want of data.

    Attributes:
        students: How many.
        first: The first few of them, by id.
    """

    students: int
    first: tuple[int, ...]


@dataclass(frozen=True)
class WithoutData:
    """The students of a day of whom there is little to say.

    Attributes:
        idle: Those whose pace score is 0: no lesson completed in the window, and no scored quiz.
        unscored: Those without a scored quiz, whose quiz average is null.
    """

    idle: Unknown
    unscored: Unknown


def day_totals(connection: Connection, tables: StoreTables, day: date) -> DayTotals:
    """What the snapshots of a day add up to; zeros where there are none."""
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
    """How many students have which pace score on a day."""
    snapshots = tables.performance_snapshots
    query = (
        select(snapshots.c.pace_score, func.count())
        .where(snapshots.c.snapshot_date == day)
        .group_by(snapshots.c.pace_score)
    )
    return ScoreCounts.of({score: students for score, students in connection.execute(query)})


def largest_movers(connection: Connection, tables: StoreTables, day: date, count: int) -> list[Mover]:
    """The students whose pace score changed most since the day before, the largest change first."""
    today, yesterday = tables.performance_snapshots.alias("today"), tables.performance_snapshots.alias("yesterday")
    change = func.abs(today.c.pace_score - yesterday.c.pace_score)
    query = (
        select(today.c.user_id, yesterday.c.pace_score, today.c.pace_score)
        .join(yesterday, today.c.user_id == yesterday.c.user_id)
        .where(today.c.snapshot_date == day, yesterday.c.snapshot_date == day - timedelta(days=1), change > 0)
        .order_by(change.desc(), today.c.user_id)
        .limit(count)
    )
    return [Mover(*row) for row in connection.execute(query)]


def without_data(connection: Connection, tables: StoreTables, day: date, count: int) -> WithoutData:
    """The students of a day of whom there is little to say, the first `count` of each kind by id."""
    snapshots = tables.performance_snapshots
    of_the_day = snapshots.c.snapshot_date == day
    unscored = snapshots.c.quiz_average.is_(None)
    idle = unscored & (snapshots.c.pace_score == 0)
    students = connection.execute(select(func.count().filter(idle), func.count().filter(unscored)).where(of_the_day))

    def first(kind: ColumnElement[bool]) -> tuple[int, ...]:
        query = select(snapshots.c.user_id).where(of_the_day, kind).order_by(snapshots.c.user_id).limit(count)
        return tuple(connection.execute(query).scalars())

    of_idle, of_unscored = students.one()
    return WithoutData(
        idle=Unknown(of_idle, first(idle) if of_idle else ()),
        unscored=Unknown(of_unscored, first(unscored) if of_unscored else ()),
    )


def _sum(column: ColumnElement[int]) -> ColumnElement[int]:
    return cast(func.coalesce(func.sum(cast(column, BigInteger)), 0), BigInteger)

"""The loop of a typical cron job: one student at a time, a query per figure, an upsert, a commit.

Written as a decent web developer would write it, with all indexes that it needs. A long loop is timed on a sample of
students, spread evenly over the ids, and scaled up; the result says so.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import psycopg2
import psycopg2.extensions

from benchmarks.contenders.protocol import OURS, Days, Run, Week
from benchmarks.contenders.tables import RECOMMENDATIONS, SNAPSHOTS, empty, make_like_ours
from benchmarks.datasets import Dataset
from snapshot_pipeline.recommendations.messages import message_of, title_of

Cursor = psycopg2.extensions.cursor

Cohorts = dict[tuple[str, str], tuple[bool, bool]]
"""Of each specialization and level whether it has begun, and whether it has exercises."""

_WEIGHTS = (40, 25, 20, 10, 5, 4, 3, 2, 1, 1)
_STUDENTS = "SELECT id FROM users WHERE upper(trim(role)) = 'STUDENT' AND is_active ORDER BY id"


@dataclass(frozen=True)
class LoopForDays:
    """Compute the days of one student after another.

    Attributes:
        at_most: Sample size; the time is scaled up to all students.
    """

    task: Days
    at_most: int
    name: str = "loop"
    schema: str = "benchmark_loop"

    @property
    def compared(self) -> str:
        """The sampled students."""
        return _only(_part(self.task.dataset, self.at_most)[0])

    def prepare(self) -> None:
        """Create a table like ours."""
        make_like_ours(self.task.dataset, self.schema, SNAPSHOTS)

    def clean(self) -> None:
        """Empty the table."""
        empty(self.task.dataset, self.schema, SNAPSHOTS)

    def run(self) -> Run:
        """Compute all days, student by student."""
        days = [Days(self.task.dataset, day, day) for day in _dates(self.task.first, self.task.last)]

        def work(cursor: Cursor, user_id: int) -> int:
            return sum(_compute_day(cursor, user_id, day) for day in days)

        return _each(self.task.dataset, self.schema, self.at_most, work)


@dataclass(frozen=True)
class LoopForWeek:
    """Compute the recommendations of a week; see `LoopForDays`."""

    task: Week
    at_most: int
    name: str = "loop"
    schema: str = "benchmark_loop_week"

    @property
    def compared(self) -> str:
        """The sampled students."""
        return _only(_part(self.task.dataset, self.at_most)[0])

    def prepare(self) -> None:
        """Create a table like ours."""
        make_like_ours(self.task.dataset, self.schema, RECOMMENDATIONS)

    def clean(self) -> None:
        """Empty the table."""
        empty(self.task.dataset, self.schema, RECOMMENDATIONS)

    def run(self) -> Run:
        """Compute the week, student by student."""
        parameters = self.task.parameters
        cohorts: Cohorts = {}

        def work(cursor: Cursor, user_id: int) -> int:
            if not cohorts:
                cohorts.update(_read_cohorts(cursor, parameters))
            return _recommend(cursor, {"user_id": user_id, **parameters}, cohorts)

        return _each(self.task.dataset, self.schema, self.at_most, work)


def _each(dataset: Dataset, schema: str, at_most: int, work: Callable[[Cursor, int], int]) -> Run:
    """Call `work` for each student, in a transaction each."""
    students, all_students = _part(dataset, at_most)
    with _connected(dataset, schema) as connection, connection.cursor() as cursor:
        began = time.monotonic()
        rows = 0
        for user_id in students:
            rows += work(cursor, user_id)
            connection.commit()
        seconds = time.monotonic() - began
    is_part = len(students) < all_students
    scale = all_students / len(students)
    return Run(seconds * scale, round(rows * scale), scaled_from=len(students) if is_part else None)


@contextmanager
def _connected(dataset: Dataset, schema: str) -> Iterator[psycopg2.extensions.connection]:
    url = dataset.url
    path = f"-c search_path={schema},{OURS},public"
    with closing(
        psycopg2.connect(
            host=url.host, port=url.port, user=url.username, password=url.password, dbname=url.database, options=path
        )
    ) as connection:
        yield connection


def _part(dataset: Dataset, at_most: int) -> tuple[list[int], int]:
    """The sampled students, and the number of all students."""
    with _connected(dataset, OURS) as connection, connection.cursor() as cursor:
        cursor.execute(_STUDENTS)
        students = [user_id for (user_id,) in cursor.fetchall()]
    return students[:: math.ceil(len(students) / at_most)], len(students)


def _only(students: list[int]) -> str:
    return f"user_id IN ({', '.join(map(str, students))})"


def _dates(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _one(cursor: Cursor, query: str, parameters: dict[str, Any]) -> Any:
    cursor.execute(query, parameters)
    row = cursor.fetchone()
    return row[0] if row else None


def _compute_day(cursor: Cursor, user_id: int, day: Days) -> int:
    """One student's day, a query per figure; returns the number of rows written."""
    known = {"user_id": user_id, **day.parameters}
    first_date = _one(
        cursor,
        "SELECT (min(started_at) AT TIME ZONE %(zone)s)::date FROM user_lesson_progress"
        " WHERE user_id = %(user_id)s AND started_at < %(end)s",
        known,
    )
    if first_date is None:
        return 0
    n = min(max((day.first - first_date).days + 1, 7), 30)
    known["window"] = day.boundaries[30 - n]
    lessons = _one(
        cursor,
        "SELECT count(*) FROM user_lesson_progress"
        " WHERE user_id = %(user_id)s AND completed_at >= %(window)s AND completed_at < %(end)s",
        known,
    )
    days = _one(
        cursor,
        "SELECT count(DISTINCT (completed_at AT TIME ZONE %(zone)s)::date) FROM user_lesson_progress"
        " WHERE user_id = %(user_id)s AND completed_at >= %(window)s AND completed_at < %(end)s",
        known,
    )
    cursor.execute(
        "SELECT score FROM quiz_attempts"
        " WHERE user_id = %(user_id)s AND completed_at < %(end)s AND score IS NOT NULL"
        " ORDER BY completed_at DESC, id DESC LIMIT 10",
        known,
    )
    average = _quiz_average([score for (score,) in cursor.fetchall()])
    pace = _rounded(
        0.4 * (min(lessons / n, 1) * 100) + 0.3 * (min(days * 3 / (n * 2), 1) * 100) + 0.3 * (average or 0.0)
    )
    row = {
        "user_id": user_id,
        "day": day.first,
        "pace_score": pace,
        "learning_pace": _learning_pace(pace),
        "quiz_average": None if average is None else _rounded(average),
        "lessons": _one(
            cursor,
            "SELECT count(*) FROM user_lesson_progress"
            " WHERE user_id = %(user_id)s AND completed_at >= %(start)s AND completed_at < %(end)s",
            known,
        ),
        "minutes": _one(
            cursor,
            "SELECT least("
            " coalesce(sum(least(time_spent_minutes, floor(date_part('epoch', %(end)s - started_at) / 60))), 0),"
            " date_part('epoch', %(end)s - %(start)s) / 60)::integer FROM user_lesson_progress"
            " WHERE user_id = %(user_id)s AND started_at >= %(start)s AND started_at < %(end)s",
            known,
        ),
        "quizzes": _one(
            cursor,
            "SELECT count(*) FROM quiz_attempts"
            " WHERE user_id = %(user_id)s AND completed_at >= %(start)s AND completed_at < %(end)s",
            known,
        ),
        "exercises": _one(
            cursor,
            "SELECT count(*) FROM exercise_submissions"
            " WHERE user_id = %(user_id)s AND created_at >= %(start)s AND created_at < %(end)s",
            known,
        ),
        "last_activity_date": _one(cursor, _LAST_ACTIVITY, known),
    }
    cursor.execute(_UPSERT_DAY, row)
    return 1


_LAST_ACTIVITY = """
    SELECT (greatest(
        (SELECT max(started_at) FROM user_lesson_progress WHERE user_id = %(user_id)s AND started_at < %(end)s),
        (SELECT max(completed_at) FROM user_lesson_progress WHERE user_id = %(user_id)s AND completed_at < %(end)s),
        (SELECT max(completed_at) FROM quiz_attempts WHERE user_id = %(user_id)s AND completed_at < %(end)s),
        (SELECT max(created_at) FROM exercise_submissions WHERE user_id = %(user_id)s AND created_at < %(end)s)
    ) AT TIME ZONE %(zone)s)::date
"""

_ENGAGEMENT_SCORE = (
    "SELECT max(engagement_score) FROM performance_snapshots WHERE user_id = %(user_id)s AND snapshot_date = %(sunday)s"
)

_UPSERT_DAY = """
    INSERT INTO performance_snapshots
    VALUES (%(user_id)s, %(day)s, %(pace_score)s, %(learning_pace)s, %(quiz_average)s, %(lessons)s, %(minutes)s,
            %(quizzes)s, %(exercises)s, %(last_activity_date)s, %(day)s - %(last_activity_date)s,
            NULL, NULL, NULL, NULL, NULL, now())
    ON CONFLICT (user_id, snapshot_date) DO UPDATE SET
        pace_score = excluded.pace_score, learning_pace = excluded.learning_pace,
        quiz_average = excluded.quiz_average, lessons_completed_count = excluded.lessons_completed_count,
        time_spent_minutes_today = excluded.time_spent_minutes_today,
        quizzes_completed_count = excluded.quizzes_completed_count,
        exercises_submitted_count = excluded.exercises_submitted_count,
        last_activity_date = excluded.last_activity_date,
        days_since_activity = excluded.days_since_activity, computed_at = excluded.computed_at
"""


def _quiz_average(scores: list[float]) -> float | None:
    weights = _WEIGHTS[: len(scores)]
    if not scores:
        return None
    return sum(weight * score for weight, score in zip(weights, scores, strict=True)) / sum(weights)


def _rounded(value: float) -> float:
    return math.floor(value * 100 + 0.5 + 1e-9) / 100


def _learning_pace(pace: float) -> str:
    return "ACCELERATED" if pace >= 80 else "FAST" if pace >= 60 else "MEDIUM" if pace >= 40 else "SLOW"


def _recommend(cursor: Cursor, known: dict[str, Any], cohorts: Cohorts) -> int:
    """One student's week, a query per rule; returns the number of rows written."""
    cursor.execute(_DISMISSED, known)
    dismissed = {kind for (kind,) in cursor.fetchall()}
    found = {one[0]: one for one in _applying(cursor, known, cohorts) if one[0] not in dismissed}
    if "TAKE_BREAK" in found:
        found.pop("PRACTICE_MORE", None)
        found.pop("CONTINUE_LEARNING", None)
    if "RESUME_LEARNING" in found:
        found.pop("CONTINUE_LEARNING", None)
    best = list(found.values())[:3]
    for kind, priority, facts in best:
        cursor.execute(
            _UPSERT_RECOMMENDATION,
            {
                "user_id": known["user_id"],
                "week_start": known["week_start"],
                "kind": kind,
                "title": title_of(kind),
                "message": message_of(kind, facts),
                "priority": priority,
                "metadata": json.dumps(facts),
            },
        )
    return len(best)


def _applying(cursor: Cursor, known: dict[str, Any], cohorts: Cohorts) -> list[tuple[str, int, dict[str, Any]]]:
    """The recommendations that apply, highest priority first."""
    found: list[tuple[str, int, dict[str, Any]]] = []
    has_begun, has_exercises = cohorts.get(_cohort(cursor, known), (True, False))
    has_started = _one(cursor, f"SELECT min(start) < %(end)s FROM {_LESSONS}", known)  # noqa: S608 - no input
    cursor.execute(_NEXT_LESSON, known)
    row = cursor.fetchone()
    following = {} if row is None else {"lesson_id": row[0], "lesson_title": row[1]}
    minutes = sum(_minutes(cursor, known, number) for number in range(3))
    if minutes >= 600:
        found.append(("TAKE_BREAK", 95, {"total_minutes": minutes}))
    last_activity = _one(cursor, _LAST_ACTIVITY, known)
    score = _one(cursor, _ENGAGEMENT_SCORE, known)
    inactive = (known["sunday"] - last_activity).days if has_started else 0
    if following and (inactive >= 14 if score is None else inactive >= 7 and score < 35):
        found.append(("RESUME_LEARNING", 90, {"days_inactive": inactive, **following}))
    cursor.execute(_TO_REVIEW, known)
    if review := cursor.fetchall():
        lessons, scores = zip(*review, strict=True)
        found.append(("REVIEW_LESSON", 85, {"lesson_ids": list(lessons), "scores": list(scores)}))
    if not has_started and has_begun:
        found.append(("START_LEARNING", 80, following))
    done = _one(
        cursor,
        f"SELECT count(*) FROM {_LESSONS} WHERE completed_at >= %(activity_start)s"  # noqa: S608 - no input
        " AND completed_at < %(end)s",
        known,
    )
    exercises = _one(
        cursor,
        "SELECT count(*) FROM exercise_submissions WHERE user_id = %(user_id)s AND created_at >= %(activity_start)s"
        " AND created_at < %(end)s",
        known,
    )
    if done >= 5 and exercises < 2 and has_exercises:
        found.append(("PRACTICE_MORE", 75, {"lessons_done": done, "exercises_done": exercises}))
    if has_started and following:
        found.append(("CONTINUE_LEARNING", 70, following))
    return found


def _cohort(cursor: Cursor, known: dict[str, Any]) -> tuple[str, str]:
    cursor.execute("SELECT current_specialization, current_level FROM users WHERE id = %(user_id)s", known)
    specialization, level = cursor.fetchone() or (None, None)
    return specialization, level


def _minutes(cursor: Cursor, known: dict[str, Any], number: int) -> int:
    """The minutes of one of the three days before the end of the week."""
    days = [*known["break_days"], known["end"]]
    length = int((days[number + 1] - days[number]).total_seconds()) // 60
    spent = _one(
        cursor,
        "SELECT coalesce(sum(least(minutes, floor(extract(epoch FROM %(day_end)s - start) / 60))), 0)::bigint"  # noqa: S608 - no input
        f" FROM {_LESSONS} WHERE start >= %(day_start)s AND start < %(day_end)s",
        {**known, "day_start": days[number], "day_end": days[number + 1]},
    )
    return min(int(spent), length)


def _read_cohorts(cursor: Cursor, known: dict[str, Any]) -> Cohorts:
    """Of each specialization and level whether it has begun, and whether it has exercises."""
    cursor.execute(_COHORTS, known)
    return {(specialization, level): (begun, exercises) for specialization, level, begun, exercises in cursor}


_VALID = "BETWEEN '2000-01-01+00' AND now()"

_LESSONS = f"""
    (SELECT lesson_id, started_at, completed_at, least(started_at, completed_at) AS start,
            greatest(time_spent_minutes, 0) AS minutes
       FROM (SELECT lesson_id, time_spent_minutes,
                    CASE WHEN started_at {_VALID} THEN started_at END AS started_at,
                    CASE WHEN completed_at {_VALID} THEN completed_at END AS completed_at
               FROM user_lesson_progress WHERE user_id = %(user_id)s) AS valid) AS lessons_of_student
"""  # noqa: S608 - no input

_LAST_ACTIVITY = f"""
    SELECT (greatest(
        (SELECT max(started_at) FROM {_LESSONS} WHERE started_at < %(end)s),
        (SELECT max(completed_at) FROM {_LESSONS} WHERE completed_at < %(end)s),
        (SELECT max(completed_at) FROM quiz_attempts
          WHERE user_id = %(user_id)s AND completed_at < %(end)s AND completed_at {_VALID}),
        (SELECT max(created_at) FROM exercise_submissions
          WHERE user_id = %(user_id)s AND created_at < %(end)s AND created_at {_VALID})
    ) AT TIME ZONE %(zone)s)::date
"""  # noqa: S608 - no input

_COHORTS = f"""
    SELECT current_specialization, current_level,
           10 * count(first_start) >= count(*) OR coalesce(min(first_start) < %(long_begun)s, false),
           bool_or(EXISTS (SELECT FROM exercise_submissions
                            WHERE exercise_submissions.user_id = users.id AND created_at >= %(exercises_start)s
                              AND created_at < %(end)s AND created_at {_VALID}))
      FROM users
      LEFT JOIN (SELECT user_id, min(least(started_at, completed_at)) AS first_start
                   FROM (SELECT user_id, CASE WHEN started_at {_VALID} THEN started_at END AS started_at,
                                CASE WHEN completed_at {_VALID} THEN completed_at END AS completed_at
                           FROM user_lesson_progress) AS valid
                  WHERE least(started_at, completed_at) < %(end)s
                  GROUP BY user_id) AS starts ON starts.user_id = users.id
     WHERE upper(trim(role)) = 'STUDENT' AND is_active AND current_specialization <> '' AND current_level <> ''
     GROUP BY current_specialization, current_level
"""  # noqa: S608 - no input

_DISMISSED = """
    SELECT recommendation_type FROM adaptive_recommendations
     WHERE user_id = %(user_id)s AND week_start < %(week_start)s AND recommendation_type <> 'REVIEW_LESSON'
       AND dismissed_at > %(end)s - interval '14 days'
"""

_TO_REVIEW = """
    SELECT lesson_id, min(score)::double precision
      FROM (SELECT DISTINCT ON (quizzes.id) quizzes.lesson_id,
                   round(least(greatest(quiz_attempts.score, 0), 100)::numeric, 2) AS score
              FROM quiz_attempts JOIN quizzes ON quizzes.id = quiz_attempts.quiz_id
             WHERE quiz_attempts.user_id = %(user_id)s
               AND quiz_attempts.completed_at >= %(review_start)s AND quiz_attempts.completed_at < %(end)s
               AND quiz_attempts.completed_at <= now()
               AND quiz_attempts.score > '-Infinity' AND quiz_attempts.score < 'Infinity'
               AND quizzes.lesson_id IN (SELECT id FROM lessons WHERE is_published)
             ORDER BY quizzes.id, quiz_attempts.completed_at DESC, quiz_attempts.id DESC) AS latest
     WHERE score < 60
       AND NOT EXISTS (SELECT FROM adaptive_recommendations
                        WHERE user_id = %(user_id)s AND week_start < %(week_start)s
                          AND recommendation_type = 'REVIEW_LESSON' AND dismissed_at > %(end)s - interval '14 days'
                          AND metadata -> 'lesson_ids' @> to_jsonb(latest.lesson_id))
     GROUP BY lesson_id ORDER BY min(score), lesson_id LIMIT 3
"""

_NEXT_LESSON = f"""
    SELECT lessons.id, lessons.title
      FROM users
      JOIN lessons ON lessons.specialization_id = users.current_specialization
                  AND lessons.level_id = users.current_level
     WHERE users.id = %(user_id)s AND lessons.is_published
       AND users.current_specialization <> '' AND users.current_level <> ''
       AND NOT EXISTS (SELECT FROM user_lesson_progress
                        WHERE user_lesson_progress.user_id = users.id
                          AND user_lesson_progress.lesson_id = lessons.id
                          AND user_lesson_progress.completed_at < %(end)s
                          AND user_lesson_progress.completed_at {_VALID})
     ORDER BY lessons.display_order, lessons.id LIMIT 1
"""  # noqa: S608 - no input

_UPSERT_RECOMMENDATION = """
    INSERT INTO adaptive_recommendations
           (user_id, week_start, recommendation_type, title, message, priority, metadata, is_active)
    VALUES (%(user_id)s, %(week_start)s, %(kind)s, %(title)s, %(message)s, %(priority)s, %(metadata)s, true)
    ON CONFLICT (user_id, week_start, recommendation_type) DO UPDATE SET
        title = excluded.title, message = excluded.message, priority = excluded.priority,
        metadata = excluded.metadata
"""

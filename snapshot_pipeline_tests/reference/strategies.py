"""Hypothesis strategies: small platforms with every edge case of `metrics.md`.

Instants lie around a special day of the time zone, often exactly at midnight, and come from a small pool per student,
so that ties and days with several events are frequent.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from functools import cache, lru_cache
from itertools import product
from typing import TypeVar
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from snapshot_pipeline_tests.reference.days import start_of_day
from snapshot_pipeline_tests.reference.recommendations import NEVER, WeekRules
from snapshot_pipeline_tests.reference.rows import (
    EARLIEST,
    NO_MOMENT,
    Attempt,
    Exercise,
    Lesson,
    PlatformRows,
    Progress,
    Quiz,
    User,
)

Value = TypeVar("Value")

# Time zones, and days whose midnight or length is unusual.
SPECIAL_DAYS = [
    ("UTC", date(2024, 2, 29)),
    ("Europe/Budapest", date(2026, 3, 29)),
    ("Europe/Budapest", date(2025, 10, 26)),
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2025, 11, 2)),
    ("America/Sao_Paulo", date(2017, 10, 15)),  # no midnight
    ("America/Sao_Paulo", date(2018, 2, 18)),  # 23:00 occurs twice on the evening before
    ("Asia/Kolkata", date(2026, 1, 1)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),  # clocks change by half an hour
    ("Pacific/Apia", date(2011, 12, 30)),  # a skipped day
    ("America/Havana", date(2025, 11, 2)),  # midnight occurs twice
    ("America/Havana", date(2026, 3, 8)),  # no midnight
]
# Days from the first day of a range to the start of a window; for a week, S-29 is 23 days before its Monday.
EDGES = [-400, -30, -29, -24, -24, -23, -23, -7, -6, 0]
MIDNIGHT = timedelta(0)
TICK = timedelta(microseconds=1)
TIMES_OF_DAY = [
    *[MIDNIGHT, MIDNIGHT, -TICK, TICK, -timedelta(minutes=1), timedelta(minutes=30)],
    *[timedelta(hours=1), timedelta(hours=12)],
]
SPECIALIZATIONS = ["python", "python", "python", "data", None]
LEVELS = ["1", "1", "1", "2", None]
FIRST_IDS = [1, 2**31, 2**53 + 1]  # a float cannot represent the last one
FLAWS = ["score", "minutes", "order", "times", "copies", "every"]
RARELY_FLAWED = [*["none"] * 16, *FLAWS]
# Around the length of a day of 23, 24 and 25 hours, and around a week.
MINUTES = [None, 0, 1, 59, 600, 600]
LONG_MINUTES = [1379, 1380, 1381, 1439, 1440, 1441, 1499, 1500, 1501, 10_080, 10_081, 2**31 - 1]
INVALID_MINUTES = [-1, -(2**31), math.nan]
FIVE_MINUTES = timedelta(minutes=5)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# Days from the first day to the first start (None: nothing started), around the bounds of 7 and 30 days.
FIRST_STARTS = [None, None, -400, -400, -400, -60, -30, -29, -28, -8, -7, -6, -5, -1, 0, 1]
BAD_SCORES = [-0.0, -0.01, -5e-324, 100.00000000000001, 140.0, 1e308, float("nan"), float("inf"), float("-inf")]
# Rows that meet the thresholds of the rules: minutes of a lesson, days before the Sunday, lessons and exercises.
WEEK_MINUTES = [0, 199, 200, 201, 300, 600, 2_000]
WEEK_DAYS_AGO = [(0, 1, 2), (0, 2, 3, 12, 13), (0, 13, 14), (13, 14, 15, 26, 27), (14, 15, 28, 29, 30)]
WEEK_LESSONS = [0, 1, 5, 5, 6]
WEEK_EXERCISES = [0, 0, 0, 1, 2]


@lru_cache(maxsize=None, typed=True)
def _any_of(*values: Value) -> st.SearchStrategy[Value]:
    """`sampled_from`, made once: Hypothesis examines each new strategy, which takes longer than to draw from it."""
    return st.sampled_from(values)


def property_settings(examples: int) -> settings:
    """Return settings with the same examples in every run, or with SNAPSHOT_TEST_EXAMPLES different ones each time."""
    wanted = os.environ.get("SNAPSHOT_TEST_EXAMPLES")
    return settings(
        max_examples=int(wanted) if wanted else examples,
        derandomize=wanted is None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@dataclass(frozen=True)
class Scenario:
    """A platform, and the local days `first … last` to compute."""

    zone: ZoneInfo
    first: date
    last: date
    rows: PlatformRows

    @property
    def days(self) -> list[date]:
        """The days `first … last`, both included."""
        return [self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1)]


@st.composite
def scenarios(draw: st.DrawFn, longest: int = 45, flaws: Sequence[str] = RARELY_FLAWED) -> Scenario:
    """Generate a platform of up to five users and up to `longest` days around a special day of the zone."""
    zone_name, special_day = draw(_any_of(*SPECIAL_DAYS))
    zone = ZoneInfo(zone_name)
    length = draw(st.sampled_from([n for n in (1, 2, 3, 8, 31, longest) if n <= longest]))
    first = special_day - timedelta(days=draw(st.integers(0, min(length, 12))))
    last = first + timedelta(days=length - 1)
    moment = draw(st.sampled_from([None, None, None, *[length] * 2, length // 2, -3]))
    at = NO_MOMENT if moment is None else start_of_day(first + timedelta(days=moment), zone)
    if moment is not None:
        at += draw(_any_of(*TIMES_OF_DAY))
    rows = draw(platforms(zone, first, last, flaws, at, draw(_any_of(100, 100, 100, 1, 20, 0.3))))
    return Scenario(zone, first, last, rows)


@st.composite
def instants(draw: st.DrawFn, zone: ZoneInfo, first: date, last: date) -> datetime:
    """Generate an instant near `first … last`, in the 30 days before, or long ago; often the start of a day."""
    days_later, time_of_day = draw(st.sampled_from(_moments((last - first).days)))
    return start_of_day(first + timedelta(days=days_later), zone) + time_of_day


@cache
def _moments(length: int) -> list[tuple[int, timedelta]]:
    near = range(-3, length + 3)
    return list(product([*near, *near, *range(-45, length + 2), *EDGES], TIMES_OF_DAY))


@st.composite
def platforms(
    draw: st.DrawFn,
    zone: ZoneInfo,
    first: date,
    last: date,
    flaws: Sequence[str],
    moment: datetime = NO_MOMENT,
    score_maximum: float = 100,
) -> PlatformRows:
    """Generate up to five users with rows, up to eight lessons, and quizzes of some of them; rows in any order."""
    first_id = draw(_any_of(*FIRST_IDS))
    lessons = draw(_lessons(first_id))
    quizzes = [
        Quiz(first_id + n, draw(st.sampled_from([None, *(lesson.id for lesson in lessons)])), None) for n in range(4)
    ]
    users = [
        User(
            first_id + n,
            draw(_any_of("student", "STUDENT", "Student", " student  ", "STUDENT", "teacher")),
            draw(_any_of(True, True, True, True, True, False)),
            draw(_any_of(*SPECIALIZATIONS)),
            draw(_any_of(*LEVELS)),
        )
        for n in draw(st.permutations(range(draw(_any_of(1, 2, 5, 5, 5, 0)))))
    ]
    rows = PlatformRows(users=users, lessons=lessons, quizzes=quizzes, moment=moment, score_maximum=score_maximum)
    for user in users:
        flaw = draw(_any_of(*flaws))
        pool = draw(st.lists(instants(zone, first, last), min_size=1, max_size=8))
        streak_from = pool[0]
        if flaw in ("times", "every"):
            pool += [EARLIEST, EARLIEST - TICK, EPOCH]
            pool += [] if moment == NO_MOMENT else [moment, moment + TICK, moment + timedelta(days=400)]
        days_later = draw(_any_of(*FIRST_STARTS))
        if days_later is not None:
            start = start_of_day(first + timedelta(days=days_later), zone) + draw(_any_of(*TIMES_OF_DAY))
            rows.user_lesson_progress.append(Progress(user.id, first_id + 99, start, None, 5))
        if days_later is not None or draw(st.booleans()):
            rows.user_lesson_progress.extend(draw(_progress(user.id, first_id, pool, streak_from, flaw)))
        rows.quiz_attempts.extend(draw(_attempts(user.id, first_id, pool, flaw, score_maximum)))
        rows.exercise_submissions.extend(
            Exercise(first_id + 10 * n + len(users), user.id, instant)
            for n, instant in enumerate(draw(st.lists(st.sampled_from(pool), max_size=3)))
        )
    return rows


@st.composite
def _lessons(draw: st.DrawFn, first_id: int) -> list[Lesson]:
    return [
        Lesson(
            first_id + n,
            f"lesson {n}",
            draw(_any_of(*SPECIALIZATIONS)),
            draw(_any_of(*LEVELS)),
            draw(_any_of(None, 1, 1, 2, -3)),
            draw(_any_of(True, True, True, False)),
        )
        for n in draw(st.permutations(range(draw(st.integers(0, 8)))))
    ]


@st.composite
def _progress(
    draw: st.DrawFn, user_id: int, first_id: int, pool: list[datetime], streak_from: datetime, flaw: str
) -> list[Progress]:
    moment = st.sampled_from([None, *pool, *pool])
    minutes = _any_of(*MINUTES, *LONG_MINUTES)
    if flaw in ("minutes", "every"):
        minutes = _any_of(*MINUTES, *LONG_MINUTES, *INVALID_MINUTES, *INVALID_MINUTES)
    rows = []
    copies = [1] if flaw not in ("copies", "every") else [1, 1, 2, 3]
    for lesson in draw(st.permutations(range(draw(st.integers(0, 7))))):
        for _ in range(draw(_any_of(*copies))):
            started_at, completed_at = draw(moment), draw(moment)
            if started_at and completed_at and completed_at < started_at and flaw not in ("order", "every"):
                started_at, completed_at = completed_at, started_at
            if started_at and flaw in ("order", "every"):
                earlier = _any_of(None, None, None, TICK, FIVE_MINUTES, FIVE_MINUTES + TICK)
                difference = draw(earlier)
                completed_at = completed_at if difference is None else started_at - difference
            rows.append(Progress(user_id, first_id + lesson, started_at, completed_at, draw(minutes)))
    # One or two lessons a day for several days: full marks need more rows than are generated one by one.
    streak = draw(_any_of(0, 0, 0, 1, 4, 7, 20, 30))
    for n in range(streak):
        at = streak_from + timedelta(days=n)
        rows += [Progress(user_id, first_id + 100 + 2 * n + m, at, at, 2) for m in range(draw(_any_of(1, 2)))]
    return rows


@st.composite
def _attempts(
    draw: st.DrawFn, user_id: int, first_id: int, pool: list[datetime], flaw: str, score_maximum: float
) -> list[Attempt]:
    score = st.one_of(
        st.integers(0, 10_000).map(lambda cents: cents / 100), _any_of(None, None, 0.0, 69.99, 70.0, 100.0)
    ).map(
        lambda percent: percent if percent is None or score_maximum == 100 else round(percent * score_maximum / 100, 6)
    )
    if flaw in ("score", "every"):
        score = st.one_of(score, score, score, _any_of(*BAD_SCORES))
    quiz_and_moment = st.sampled_from(list(product(range(4), [*pool, *pool, *pool, None])))
    count = draw(_any_of(0, 1, 2, 3, 9, 10, 11, 12, 14))
    rows = []
    for n in draw(st.permutations(range(count))):
        quiz, moment = draw(quiz_and_moment)
        # The ids of a student are neither ordered by time nor contiguous.
        rows.append(Attempt(first_id + 8 * n + user_id % 8, user_id, first_id + quiz, draw(score), moment))
    return rows


@dataclass(frozen=True)
class WeekScenario:
    """A platform, a week, and what the settings and earlier weeks decide."""

    zone: ZoneInfo
    week_start: date
    rows: PlatformRows
    rules: WeekRules


@st.composite
def week_scenarios(draw: st.DrawFn) -> WeekScenario:
    """Generate a week with a special day, and rows around the thresholds of the rules."""
    zone_name, special_day = draw(_any_of(*SPECIAL_DAYS))
    zone = ZoneInfo(zone_name)
    monday = special_day - timedelta(days=special_day.weekday())
    sunday = monday + timedelta(days=6)
    rows = draw(platforms(zone, monday, sunday, RARELY_FLAWED))
    first_id = min((user.id for user in rows.users), default=1)
    course = [Lesson(first_id + 20 + n, f"lesson {n}", "python", "1", n, True) for n in range(draw(st.integers(0, 2)))]
    rows.lessons.extend(course)
    for user in rows.users:
        if draw(_any_of(False, True, True)):
            _remove_rows(rows, user.id)
        if draw(_any_of(False, True, True)):
            _add_week_rows(draw, rows, user.id, first_id, sunday, zone)
    types = ["TAKE_BREAK", "RESUME_LEARNING", "START_LEARNING", "PRACTICE_MORE", "CONTINUE_LEARNING"]
    user_ids = [user.id for user in rows.users] or [first_id]
    dismissals = st.lists(st.tuples(st.sampled_from(user_ids), st.sampled_from(types)), max_size=2, unique=True)
    lesson_ids = st.integers(first_id, first_id + 7)
    lessons = st.lists(st.tuples(st.sampled_from(user_ids), lesson_ids), max_size=3, unique=True)
    rules = WeekRules(
        moment=draw(st.sampled_from([NEVER, NEVER, start_of_day(sunday, zone)])),
        dismissals=draw(dismissals),
        dismissed_lessons=draw(lessons),
        review_below=draw(_any_of(60, 60, 70.5)),
        score_maximum=draw(_any_of(100, 100, 30)),
        engagement_scores=draw(st.dictionaries(st.sampled_from(user_ids), _any_of(0.0, 34.99, 35.0, 80.0), max_size=6)),
    )
    return WeekScenario(zone, monday, rows, rules)


def _remove_rows(rows: PlatformRows, user_id: int) -> None:
    for table in (rows.user_lesson_progress, rows.quiz_attempts, rows.exercise_submissions):
        table[:] = [row for row in table if row.user_id != user_id]


def _add_week_rows(
    draw: st.DrawFn, rows: PlatformRows, user_id: int, first_id: int, sunday: date, zone: ZoneInfo
) -> None:
    at = st.tuples(_any_of(*draw(_any_of(*WEEK_DAYS_AGO))), _any_of(*TIMES_OF_DAY)).map(
        lambda ago: start_of_day(sunday - timedelta(days=ago[0]), zone) + ago[1]
    )
    lesson_id = first_id + 300
    for minutes in draw(st.lists(_any_of(*WEEK_MINUTES), max_size=3)):
        lesson_id += 1
        rows.user_lesson_progress.append(Progress(user_id, lesson_id, draw(at), None, minutes))
    for _ in range(draw(_any_of(*WEEK_LESSONS))):
        lesson_id += 1
        started_at, completed_at = draw(st.sampled_from([None, draw(at)])), draw(at)
        rows.user_lesson_progress.append(Progress(user_id, lesson_id, started_at, completed_at, 1))
    for n in range(draw(_any_of(*WEEK_EXERCISES))):
        rows.exercise_submissions.append(Exercise(first_id + 1_000 + n, user_id, draw(at)))

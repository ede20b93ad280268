"""Invalid rows from CSV files to the published figures: one student for each kind, every figure computed by hand.

The students are loaded as `load` does, and computed for one day, for a range, and for the week. Most of them start
lesson 1 on `DAY` at 09:00 in Budapest (08:00 in UTC) and complete it an hour later, in 30 minutes.
The window has 7 days then, so one lesson is worth 0.4 · 100/7 + 0.3 · 100/(7 · 2/3) = 12.14 points, and a quiz average
of 100 another 30.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import URL, select, text
from sqlalchemy.exc import DBAPIError

from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.pipeline.student_drop import StudentDropError
from snapshot_pipeline.platform.contract import check_platform
from snapshot_pipeline.platform.csv_files import find_csv_files, load_csv_files
from snapshot_pipeline_tests.pipeline.installations import (
    differences,
    execute,
    installation_on,
    new_database,
    published,
)

MONDAY = date(2025, 3, 10)
DAY = date(2025, 3, 12)
THURSDAY = date(2025, 3, 13)
SUNDAY = date(2025, 3, 16)
WEEK = [MONDAY + timedelta(days=n) for n in range(7)]

USERS = """id,role,is_active,current_specialization,current_level
1,student,true,A,1
2,student,true,A,1
3,student,true,A,1
4,student,true,A,1
5,student,true,A,1
6,student,true,A,1
7,student,true,A,1
8,student,true,A,1
9,student,true,A,1
10,student,true,A,1
11,student,true,A,1
12,student,true,A,1
13,student,true,A,1
14,student,true,A,1
15,student,true,A,1
16,student,true,A,1
17,student,true,A,1
18,student,true,A,1
19,student,true,A,1
20,student,true,A,1
21,student,true,B,1
22,student,true,B,1
23,student,true,A,1
24,student,true,A,1
25,teacher,true,A,1
26,student,false,A,1
27,student,true,A,1
28,student,true,A,1
29, Student ,true,A,1
31,student,true,C,1
32,student,true,A,1
33,student,true,A,1
41,student,true,A,1
42,student,true,A,1
"""

LESSONS = """id,title,specialization_id,level_id,display_order,is_published
1,One,A,1,1,true
2,Two,A,1,2,true
3,Three,A,1,3,true
4,Four,A,1,4,true
5,Five,A,1,5,true
6,Six,A,1,6,true
9,Withdrawn,A,1,9,false
21,First,B,1,1,true
22,Last,B,1,2,true
31,a,C,1,1,true
32,b,C,1,2,true
33,c,C,1,3,true
34,d,C,1,4,true
35,e,C,1,5,true
36,f,C,1,6,true
"""

QUIZZES = "id,lesson_id,title\n1,1,Quiz 1\n9,9,Quiz 9\n"

PROGRESS = """user_id,lesson_id,started_at,completed_at,time_spent_minutes
1,1,2025-03-12T08:00Z,2025-03-12T09:00Z,30
2,1,2025-03-12T08:00Z,2025-03-12T09:00Z,30
3,1,2025-03-12T08:00Z,2025-03-12T09:00Z,30
4,1,2025-03-12T08:00Z,2025-03-12T09:00Z,30
5,1,2025-03-12T08:00Z,2025-03-12T09:00Z,30
6,1,2025-03-12T08:00:00Z,2025-03-12T07:59:59Z,30
7,1,2025-03-12T08:00Z,2025-03-12T07:00Z,30
8,1,2025-03-12T08:00Z,2025-03-10T09:00Z,30
9,1,,2025-03-12T09:00Z,30
10,1,2025-03-12T08:00Z,2025-03-12T09:00Z,-5
11,1,2025-03-12T20:00Z,2025-03-12T20:30Z,900
12,1,2025-03-12T08:00Z,,20000
13,1,2025-03-11T23:00Z,,1000
13,2,2025-03-12T00:00Z,,1000
14,1,2025-03-12T22:30Z,2025-03-12T23:20Z,50
15,1,2025-03-12T08:00Z,1970-01-01T00:00Z,30
16,1,1970-01-01T00:00Z,2025-03-12T09:00Z,30
17,1,1970-01-01T00:00Z,,30
18,1,2025-03-12T08:00Z,2200-01-01T00:00Z,30
19,1,2025-03-12T08:00Z,2025-03-12T09:00Z,30
20,1,2025-03-12T08:00Z,2025-03-12T09:00Z,30
21,21,2025-02-20T08:00Z,2025-02-20T09:00Z,30
21,22,2025-02-20T09:00Z,2025-02-20T10:00Z,30
22,21,2025-02-20T08:00Z,2025-02-20T09:00Z,30
23,1,2025-03-12T08:00Z,2025-03-12T09:00Z,30
24,1,2025-03-12T08:00Z,2025-03-12T09:00Z,30
25,1,2025-03-12T08:00Z,2025-03-12T09:00Z,-5
26,1,2025-03-12T08:00Z,2025-03-12T09:00Z,-5
27,1,2025-03-12T08:05Z,2025-03-12T08:00Z,30
28,1,2025-03-12T08:00Z,,10080
29,1,2025-03-12T08:00Z,2025-03-12T09:00Z,30
31,31,2025-03-13T08:00Z,2025-03-13T09:00Z,30
31,32,2025-03-13T09:00Z,2025-03-13T10:00Z,30
31,33,2025-03-13T10:00Z,2025-03-13T11:00Z,30
31,34,2025-03-13T11:00Z,2025-03-13T12:00Z,30
31,35,2025-03-13T12:00Z,2025-03-13T13:00Z,30
32,1,2025-03-13T08:00Z,2025-03-13T09:00Z,30
32,2,2025-03-13T09:00Z,2025-03-13T10:00Z,30
32,3,2025-03-13T10:00Z,2025-03-13T11:00Z,30
32,4,2025-03-13T11:00Z,2025-03-13T12:00Z,30
32,5,2025-03-13T12:00Z,2025-03-13T13:00Z,30
33,1,2025-03-13T08:00Z,2025-03-13T09:00Z,30
41,1,2025-03-15T20:00Z,,7200
42,1,2025-03-15T07:00Z,,700
"""

ATTEMPTS = """id,user_id,quiz_id,score,completed_at
101,1,1,110,2025-03-12T09:30Z
102,2,1,100.00000000000001,2025-03-12T09:30Z
103,3,1,-5,2025-03-12T09:30Z
104,4,1,NaN,2025-03-12T09:30Z
105,5,1,Infinity,2025-03-12T09:30Z
119,19,9,40,2025-03-12T09:30Z
120,20,1,40,2025-03-12T09:30Z
124,24,1,70,2200-01-01T00:00Z
125,24,1,70,1970-01-01T00:00Z
"""

EXERCISES = """id,user_id,created_at
224,24,2200-01-01T00:00Z
225,24,1970-01-01T00:00Z
233,33,2025-03-13T09:30Z
"""

FILES = {
    "users": USERS,
    "lessons": LESSONS,
    "user_lesson_progress": PROGRESS,
    "quizzes": QUIZZES,
    "quiz_attempts": ATTEMPTS,
    "exercise_submissions": EXERCISES,
}

# Only where the platform has no unique key: an earlier row of the lesson, which is not completed.
DUPLICATE = (
    "ALTER TABLE user_lesson_progress DROP CONSTRAINT user_lesson_progress_user_id_lesson_id_key",
    "INSERT INTO user_lesson_progress VALUES (23, 1, '2025-03-11T08:00Z', NULL, 45)",
)

Figures = tuple[float, str, float | None, int, int, int, int, date]
"""Pace score, label, quiz average, lessons, minutes, quizzes, exercises, last activity."""

USUAL: Figures = (12.14, "SLOW", None, 1, 30, 0, 0, DAY)
STILL_OPEN: Figures = (0.0, "SLOW", None, 0, 30, 0, 0, DAY)

FIGURES: dict[str, tuple[int, Figures]] = {
    "extra credit": (1, (42.14, "MEDIUM", 100.0, 1, 30, 1, 0, DAY)),
    "float noise": (2, (42.14, "MEDIUM", 100.0, 1, 30, 1, 0, DAY)),
    "negative score": (3, (12.14, "SLOW", 0.0, 1, 30, 1, 0, DAY)),
    "NaN score": (4, (12.14, "SLOW", None, 1, 30, 1, 0, DAY)),
    "infinite score": (5, (12.14, "SLOW", None, 1, 30, 1, 0, DAY)),
    "skew of a second": (6, USUAL),
    "skew of five minutes": (27, USUAL),
    "completed an hour before the start": (7, USUAL),
    # The start is moved to Monday, with the minutes; the lesson that is opened again is activity.
    "opened again": (8, (12.14, "SLOW", None, 0, 0, 0, 0, DAY)),
    "completed without start": (9, USUAL),
    "negative minutes": (10, (12.14, "SLOW", None, 1, 0, 0, 0, DAY)),
    # 21:00 to midnight are 180 minutes; 09:00 to midnight are 900.
    "more minutes than passed": (11, (12.14, "SLOW", None, 1, 180, 0, 0, DAY)),
    "more minutes than a week has": (12, (0.0, "SLOW", None, 0, 900, 0, 0, DAY)),
    "as many minutes as a week has": (28, (0.0, "SLOW", None, 0, 900, 0, 0, DAY)),
    "two lessons longer than the day": (13, (0.0, "SLOW", None, 0, 1440, 0, 0, DAY)),
    # Started at 23:30, completed at 00:20.
    "minutes over midnight": (14, (0.0, "SLOW", None, 0, 30, 0, 0, DAY)),
    "completed at epoch 0": (15, STILL_OPEN),
    "started at epoch 0": (16, USUAL),
    "completed in the future": (18, STILL_OPEN),
    # 12.14 points and 0.3 · 40.
    "quiz of an unpublished lesson": (19, (24.14, "SLOW", 40.0, 1, 30, 1, 0, DAY)),
    "quiz of a published lesson": (20, (24.14, "SLOW", 40.0, 1, 30, 1, 0, DAY)),
    # February 20 to March 12 are 21 days: 0.4 · 200/21 + 0.3 · 100/14, and 0.4 · 100/21 + 0.3 · 100/14.
    "finished student": (21, (5.95, "SLOW", None, 0, 0, 0, 0, date(2025, 2, 20))),
    "student with a lesson left": (22, (4.05, "SLOW", None, 0, 0, 0, 0, date(2025, 2, 20))),
    "attempts and exercises without a valid time": (24, USUAL),
    "role with spaces": (29, USUAL),
}
"""By kind the student and the figures of `DAY`."""

NOT_DUE = {
    "no valid time": 17,
    "teacher": 25,
    "inactive student": 26,
    "course without exercises": 31,
    "course with exercises": 32,
    "submitted an exercise": 33,
    "more minutes than passed, on the weekend": 41,
    "many minutes on the weekend": 42,
}
"""By kind the students without a snapshot on `DAY`; some start later."""

P, Q = "user_lesson_progress", "quiz_attempts"
Issue = tuple[str, str, str, int, date, str]

ISSUES: list[Issue] = [
    (Q, "103", "negative_score", 3, DAY, "score -5.0"),
    (Q, "104", "non_finite_score", 4, DAY, "score nan"),
    (Q, "105", "non_finite_score", 5, DAY, "score inf"),
    (P, "10/1", "negative_minutes", 10, DAY, "time_spent_minutes -5"),
    (P, "12/1", "implausible_minutes", 12, DAY, "time_spent_minutes 20000"),
    (P, "15/1", "implausible_timestamp", 15, DAY, "completed_at 1970-01-01T00:00:00+00:00"),
    (P, "16/1", "implausible_timestamp", 16, DAY, "started_at 1970-01-01T00:00:00+00:00"),
    (P, "18/1", "future_timestamp", 18, DAY, "completed_at 2200-01-01T00:00:00+00:00"),
    (
        P, "7/1", "completed_before_started", 7, DAY,
        "completed_at 2025-03-12T07:00:00+00:00, started_at 2025-03-12T08:00:00+00:00",
    ),
    (
        P, "8/1", "completed_before_started", 8, MONDAY,
        "completed_at 2025-03-10T09:00:00+00:00, started_at 2025-03-12T08:00:00+00:00",
    ),
]  # fmt: skip
"""The rows of `data_issues`, by table and key."""

DUPLICATE_ISSUE: Issue = (P, "23/1", "duplicate_progress", 23, DAY, "2 rows")


@dataclass(frozen=True)
class Computed:
    """What a computation published.

    Attributes:
        snapshots: The figures by student and day.
        issues: The rows of `data_issues` without the times at which they were seen, by table and key.
        with_issues: The students with issues by day.
        recommendations: The metadata of the active recommendations by student and type.
    """

    snapshots: dict[tuple[int, date], Figures]
    failures: int
    issues: list[Issue]
    with_issues: dict[date, int]
    recommendations: dict[int, dict[str, Any]]


def load(directory: Path, url: URL) -> None:
    for name, content in FILES.items():
        (directory / f"{name}.csv").write_text(content)
    load_csv_files(find_csv_files(directory), url, "public", ZoneInfo("UTC"))


def read(installation: Installation) -> Computed:
    store = installation.store
    snapshots, issues, weekly = store.performance_snapshots.c, store.data_issues.c, store.adaptive_recommendations.c
    figures = (
        snapshots.pace_score, snapshots.learning_pace, snapshots.quiz_average, snapshots.lessons_completed_count,
        snapshots.time_spent_minutes_today, snapshots.quizzes_completed_count, snapshots.exercises_submitted_count,
        snapshots.last_activity_date,
    )  # fmt: skip
    listed = (issues.source_table, issues.source_key, issues.issue, issues.user_id, issues.day, issues.detail)
    advice = select(weekly.user_id, weekly.recommendation_type, weekly.metadata).where(weekly.is_active)
    recommendations: dict[int, dict[str, Any]] = {}
    with installation.engine.connect() as connection:
        for user_id, kind, metadata in connection.execute(advice):
            recommendations.setdefault(user_id, {})[kind] = metadata
        return Computed(
            snapshots={
                (user_id, day): tuple(values)
                for user_id, day, *values in connection.execute(
                    select(snapshots.user_id, snapshots.snapshot_date, *figures)
                )
            },
            failures=len(connection.execute(select(store.snapshot_failures.c.user_id)).all()),
            issues=sorted(tuple(row) for row in connection.execute(select(*listed))),
            with_issues=dict(
                tuple(row)
                for row in connection.execute(
                    select(store.snapshot_days.c.snapshot_date, store.snapshot_days.c.students_with_issues)
                )
            ),
            recommendations=recommendations,
        )


@pytest.fixture(scope="module")
def loaded(server_url: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[URL]:
    """A template with the files' rows; its tables have a unique key."""
    with new_database(server_url) as url:
        load(tmp_path_factory.mktemp("files"), url)
        with installation_on(url):
            pass  # creates our tables
        yield url


@pytest.fixture(scope="module", params=["unique key", "no unique key"])
def platform(request: pytest.FixtureRequest, server_url: URL, loaded: URL) -> Iterator[tuple[str, URL]]:
    """The platform with a unique key, and without one but with a duplicate row."""
    with new_database(server_url, loaded) as url:
        if request.param == "no unique key":
            execute(url, *DUPLICATE)
        yield request.param, url


@pytest.fixture(scope="module")
def day(server_url: URL, platform: tuple[str, URL]) -> Iterator[Computed]:
    """`DAY` computed alone."""
    with new_database(server_url, platform[1]) as url, installation_on(url) as installation:
        run_days(installation, DAY, DAY, "day")
        yield read(installation)


@pytest.fixture(scope="module")
def week(server_url: URL, platform: tuple[str, URL]) -> Iterator[Computed]:
    """The week computed as one range, with its recommendations."""
    with new_database(server_url, platform[1]) as url, installation_on(url) as installation:
        run_days(installation, MONDAY, SUNDAY, "range")
        run_week(installation, MONDAY, "week")
        yield read(installation)


@pytest.fixture
def installation(server_url: URL, loaded: URL) -> Iterator[Installation]:
    """An open installation on the platform with a unique key, for one test."""
    with new_database(server_url, loaded) as url, installation_on(url) as opened:
        yield opened


# One day, a range, the list


@pytest.mark.parametrize("kind", FIGURES)
def test_a_student_has_the_right_figures_on_the_day_alone_and_in_a_range(day: Computed, week: Computed, kind: str):
    user_id, expected = FIGURES[kind]
    assert day.snapshots[user_id, DAY] == expected
    assert week.snapshots[user_id, DAY] == expected


def test_a_duplicate_counts_once_with_the_largest_minutes(day: Computed, week: Computed, platform: tuple[str, URL]):
    """The completed row counts, with its start on `DAY`: no snapshot is due on Tuesday."""
    minutes = 45 if platform[0] == "no unique key" else 30
    for computed in (day, week):
        assert computed.snapshots[23, DAY] == (12.14, "SLOW", None, 1, minutes, 0, 0, DAY)
    assert (23, DAY - timedelta(days=1)) not in week.snapshots


def test_no_other_student_is_published_and_nobody_fails(day: Computed, week: Computed):
    expected = {user_id for user_id, _ in FIGURES.values()} | {23}
    assert expected.isdisjoint(NOT_DUE.values())
    assert {user_id for user_id, _ in day.snapshots} == expected
    assert {user_id for user_id, computed_day in week.snapshots if computed_day == DAY} == expected
    assert (day.failures, week.failures) == (0, 0)


def test_exactly_the_invalid_rows_are_listed(day: Computed, week: Computed, platform: tuple[str, URL]):
    expected = sorted([*ISSUES, DUPLICATE_ISSUE] if platform[0] == "no unique key" else ISSUES)
    assert day.issues == expected
    assert week.issues == expected


def test_an_issue_counts_for_its_day_only(day: Computed, week: Computed, platform: tuple[str, URL]):
    of_day = 10 if platform[0] == "no unique key" else 9
    assert day.with_issues == {DAY: of_day}
    assert week.with_issues == {**dict.fromkeys(WEEK, 0), MONDAY: 1, DAY: of_day}


def test_a_lesson_opened_again_counts_on_the_day_of_its_completion(week: Computed):
    assert week.snapshots[8, MONDAY] == (12.14, "SLOW", None, 1, 30, 0, 0, MONDAY)
    assert week.snapshots[8, MONDAY + timedelta(days=1)] == (12.14, "SLOW", None, 0, 0, 0, 0, MONDAY)


def test_minutes_over_midnight_stay_on_the_day_of_the_start(week: Computed):
    assert week.snapshots[14, THURSDAY] == (12.14, "SLOW", None, 1, 0, 0, 0, THURSDAY)


def test_impossible_minutes_on_the_weekend_are_limited(week: Computed):
    saturday = date(2025, 3, 15)
    assert week.snapshots[41, saturday] == (0.0, "SLOW", None, 0, 180, 0, 0, saturday)
    assert week.snapshots[42, saturday] == (0.0, "SLOW", None, 0, 700, 0, 0, saturday)


def test_a_student_without_a_valid_time_has_no_snapshot(week: Computed):
    assert not {17, 25, 26} & {user_id for user_id, _ in week.snapshots}


# Numbers that integers and double precision do not hold

HUGE = {"numeric": "1e400", "double precision": "1e300"}


@pytest.mark.parametrize("kind", HUGE)
def test_a_number_out_of_range_fails_nobody(installation: Installation, kind: str):
    """Such a value fails the cast (SQLSTATE 0A000 or 22003), and with it the query of all students."""
    url, huge = installation.engine.url, HUGE[kind]
    minutes = {1: "NaN", 2: "Infinity", 6: "-Infinity", 9: huge, 27: f"-{huge}"}
    scores = {101: huge, 102: "1e-400" if kind == "numeric" else "1e-320", 103: f"-{huge}", 120: "-Infinity"}
    orders = {2: "NaN", 3: huge, 4: "Infinity", 5: f"-{huge}", 6: "-Infinity"}
    execute(
        url,
        f"ALTER TABLE user_lesson_progress ALTER time_spent_minutes TYPE {kind}",
        f"ALTER TABLE quiz_attempts ALTER score TYPE {kind}",
        f"ALTER TABLE lessons ALTER display_order TYPE {kind}",
        *(f"UPDATE user_lesson_progress SET time_spent_minutes = '{n}' WHERE user_id = {k}"  # noqa: S608
          for k, n in minutes.items()),
        *(f"UPDATE quiz_attempts SET score = '{n}' WHERE id = {k}" for k, n in scores.items()),  # noqa: S608
        *(f"UPDATE lessons SET display_order = '{n}' WHERE id = {k}" for k, n in orders.items()),  # noqa: S608
    )  # fmt: skip
    for cast in (
        "time_spent_minutes::bigint FROM user_lesson_progress",
        "max(time_spent_minutes::int) FROM user_lesson_progress",
    ):
        with installation.engine.connect() as connection, pytest.raises(DBAPIError) as caught:
            connection.execute(text(f"SELECT {cast}")).all()
        assert getattr(caught.value.orig, "pgcode", None) in ("0A000", "22003")
    run_days(installation, MONDAY, SUNDAY, "range")
    run_week(installation, MONDAY, "week")
    computed = read(installation)
    assert computed.failures == 0
    published_minutes = {user_id: computed.snapshots[user_id, DAY][4] for user_id in minutes}
    # 09:00 to midnight are 900 minutes; student 9 has no start, and completed at 10:00.
    assert published_minutes == {1: 0, 2: 900, 6: 0, 9: 840, 27: 0}
    averages = {user_id: computed.snapshots[user_id, DAY][2] for user_id in (1, 2, 3, 20)}
    assert averages == {1: 100.0, 2: 0.0, 3: 0.0, 20: None}
    listed = {(key, issue) for _, key, issue, *_ in computed.issues}
    assert listed >= {
        ("1/1", "implausible_minutes"), ("2/1", "implausible_minutes"), ("9/1", "implausible_minutes"),
        ("6/1", "negative_minutes"), ("27/1", "negative_minutes"),
        ("103", "negative_score"), ("120", "non_finite_score"),
    }  # fmt: skip
    assert ("1/1", "negative_minutes") not in listed
    assert ("101", "non_finite_score") not in listed
    assert {detail for _, key, *_, detail in computed.issues if key == "1/1"} == {"time_spent_minutes NaN"}
    findings = check_platform(installation.engine, "public")
    assert not [finding for finding in findings if "cannot be read" in finding.message]


# The week


CONTINUE_1 = {"CONTINUE_LEARNING": {"lesson_id": 1, "lesson_title": "One"}}
CONTINUE_2 = {"CONTINUE_LEARNING": {"lesson_id": 2, "lesson_title": "Two"}}

RECOMMENDATIONS: dict[str, tuple[int, dict[str, Any]]] = {
    "extra credit": (1, CONTINUE_2),
    "negative score": (3, {"REVIEW_LESSON": {"lesson_ids": [1], "scores": [0]}, **CONTINUE_2}),
    "NaN score": (4, CONTINUE_2),
    "completed without start": (9, CONTINUE_2),
    "completed at epoch 0": (15, CONTINUE_1),
    "started at epoch 0": (16, CONTINUE_2),
    "no valid time": (17, {"START_LEARNING": {"lesson_id": 1, "lesson_title": "One"}}),
    "completed in the future": (18, CONTINUE_1),
    "quiz of an unpublished lesson": (19, CONTINUE_2),
    "quiz of a published lesson": (20, {"REVIEW_LESSON": {"lesson_ids": [1], "scores": [40]}, **CONTINUE_2}),
    "finished student": (21, {}),
    # February 20 to March 16.
    "student with a lesson left": (
        22,
        {"RESUME_LEARNING": {"days_inactive": 24, "lesson_id": 22, "lesson_title": "Last"}},
    ),
    "duplicate": (23, CONTINUE_2),
    "teacher": (25, {}),
    "course without exercises": (31, {"CONTINUE_LEARNING": {"lesson_id": 36, "lesson_title": "f"}}),
    "course with exercises": (
        32,
        {
            "PRACTICE_MORE": {"lessons_done": 5, "exercises_done": 0},
            "CONTINUE_LEARNING": {"lesson_id": 6, "lesson_title": "Six"},
        },
    ),
    # 180 minutes from 21:00 to midnight: no TAKE_BREAK.
    "more minutes than passed, on the weekend": (41, CONTINUE_1),
    "many minutes on the weekend": (42, {"TAKE_BREAK": {"total_minutes": 700}}),
}
"""By kind the student and the metadata of the week's recommendations, by type."""


@pytest.mark.parametrize("kind", RECOMMENDATIONS)
def test_a_student_has_the_right_recommendations(week: Computed, kind: str):
    user_id, expected = RECOMMENDATIONS[kind]
    assert week.recommendations.get(user_id, {}) == expected


# Corrected rows, lost rows


def seen(installation: Installation) -> dict[str, tuple[datetime, datetime]]:
    """When each listed row was first and last seen, by its key."""
    columns = installation.store.data_issues.c
    query = select(columns.source_key, columns.first_seen_at, columns.last_seen_at)
    with installation.engine.connect() as connection:
        return {key: (first, last) for key, first, last in connection.execute(query)}


def test_a_corrected_row_leaves_the_list_at_the_computation_of_any_day(installation: Installation):
    """The other day's window does not contain the rows: they are read again by their keys."""
    run_days(installation, DAY, DAY, "first")
    before = seen(installation)
    execute(
        installation.engine.url,
        "UPDATE user_lesson_progress SET time_spent_minutes = 5 WHERE user_id = 10",
        "UPDATE quiz_attempts SET score = 5 WHERE id = 103",
        "DELETE FROM user_lesson_progress WHERE user_id = 12",
    )
    run_days(installation, DAY + timedelta(days=60), DAY + timedelta(days=60), "later")
    after = seen(installation)
    assert before.keys() - after.keys() == {"10/1", "103", "12/1"}
    assert after.keys() < before.keys()
    for key, (first, last) in after.items():
        assert first == before[key][0]
        assert last > before[key][1]


def test_a_student_whose_progress_was_reset_keeps_the_published_snapshots(installation: Installation):
    run_days(installation, MONDAY, SUNDAY, "first")
    before = read(installation).snapshots
    execute(installation.engine.url, "DELETE FROM user_lesson_progress WHERE user_id IN (1, 8)")
    run = run_days(installation, MONDAY, SUNDAY, "after the reset")
    after = read(installation)
    assert after.snapshots == before
    assert "8/1" not in {key for _, key, *_ in after.issues}
    of_day = next(report for report in run.reports if report.day == DAY)
    assert of_day.published == 24


LATER = "UPDATE user_lesson_progress SET started_at = started_at + interval '30 days', completed_at = NULL WHERE "


def test_a_computation_that_would_remove_many_students_publishes_nothing(installation: Installation):
    """26 students are published on `DAY`; 6 of them are more than a fifth."""
    run_days(installation, DAY, DAY, "first")
    before, snapshots = published(installation), read(installation).snapshots
    execute(installation.engine.url, LATER + "user_id IN (1, 2, 3, 4, 5, 6)")
    with pytest.raises(StudentDropError, match=r"^6 of the 26 published rows of 2025-03-12 .* --allow-student-drop"):
        run_days(installation, DAY, DAY, "lost")
    assert differences(published(installation), before) == []
    run_days(installation, DAY, DAY, "permitted", allow_student_drop=True)
    remaining = {user_id for user_id, _ in read(installation).snapshots}
    assert remaining == {user_id for user_id, _ in snapshots} - {1, 2, 3, 4, 5, 6}


def test_a_computation_that_would_remove_a_fifth_of_the_students_is_permitted(installation: Installation):
    run_days(installation, DAY, DAY, "first")
    execute(installation.engine.url, LATER + "user_id IN (1, 2, 3, 4, 5)")
    run = run_days(installation, DAY, DAY, "moved")
    assert run.reports[0].published == 21

"""A whole week from the platform's rows to the table: every change of the rules, and invalid rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import date
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, select
from sqlalchemy.pool import NullPool

from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.platform.tables import platform_metadata
from snapshot_pipeline_tests.pipeline.comparison import compare_week
from snapshot_pipeline_tests.pipeline.installations import execute, installation_on, new_database
from snapshot_pipeline_tests.reference.reading import read_rows

MONDAY, SUNDAY = date(2026, 3, 9), date(2026, 3, 15)
TABLES = ("user_lesson_progress", "quiz_attempts", "exercise_submissions")
UNIQUE = "ALTER TABLE user_lesson_progress DROP CONSTRAINT user_lesson_progress_user_id_lesson_id_key"

FIRST, SECOND = ({"lesson_id": n, "lesson_title": title} for n, title in ((1, "Loops"), (2, "Lists")))
CONTINUE_1, CONTINUE_2 = {"CONTINUE_LEARNING": FIRST}, {"CONTINUE_LEARNING": SECOND}

COURSES = (
    """INSERT INTO lessons VALUES (1, 'Loops', 'python', '1', 1, true), (2, 'Lists', 'python', '1', 2, true),
       (3, 'Draft', 'python', '1', 3, false), (9, 'Joins', 'sql', '1', 1, true),
       (10, 'Maps', 'go', '1', 1, true), (20, 'None', '', '1', 1, true)""",
    "INSERT INTO quizzes VALUES (11, 1, NULL), (12, 1, NULL), (21, 2, NULL), (31, 3, NULL), (41, 99, NULL)",
    # Students without rows, so that a cohort is large: no tenth of `sql` and of `go` has started.
    "INSERT INTO users SELECT 1000 + n, 'teacher', true, 'python', '1' FROM generate_series(1, 5) AS n",
    "INSERT INTO users SELECT 2000 + n, 'student', false, 'sql', '1' FROM generate_series(1, 50) AS n",
)


@pytest.fixture(scope="module")
def platform_template(server_url: URL) -> Iterator[URL]:
    """A platform with courses, a student who submitted an exercise, and our empty tables."""
    with new_database(server_url) as url:
        engine = create_engine(url, poolclass=NullPool)
        platform_metadata("public").create_all(engine)
        execute(
            url,
            *COURSES,
            *student(500, "'python', '1'", "(500, 1, '2026-03-15 08:00+00', NULL, 5)"),
            "INSERT INTO exercise_submissions VALUES (500, 500, '2026-02-20 08:00+00')",
        )
        engine.dispose()
        with installation_on(url):
            pass  # creates our tables
        yield url


def student(user_id: int | str, course: str, *progress: str) -> list[str]:
    """Return the statements for an active student and rows of lesson progress."""
    insert = f"INSERT INTO user_lesson_progress VALUES {', '.join(progress)}"  # noqa: S608
    return [f"INSERT INTO users VALUES ({user_id}, ' Student ', true, {course})", *([insert] if progress else [])]  # noqa: S608


@pytest.fixture
def installation(server_url: URL, platform_template: URL) -> Iterator[Installation]:
    with new_database(server_url, platform_template) as url, opened(url) as installation:
        yield installation


def opened(url: URL, **settings: Any) -> AbstractContextManager[Installation]:
    return installation_on(url, timezone="UTC", batch_rows=1_000, **settings)


def recommended(installation: Installation, *statements: str, week: date = MONDAY) -> dict[int, dict[str, Any]]:
    """Run statements, compute the week, compare it with the reference; return metadata by type and student."""
    execute(installation.engine.url, *statements)
    run_days(installation, SUNDAY, SUNDAY, "sunday")
    run_week(installation, week, "week")
    rows = read_rows(installation.engine, "public")
    assert compare_week(installation, rows, week).differences == []
    table = installation.store.adaptive_recommendations
    query = select(table.c.user_id, table.c.recommendation_type, table.c["metadata"]).where(table.c.is_active)
    found: dict[int, dict[str, Any]] = {}
    with installation.engine.connect() as connection:
        for user_id, kind, metadata in connection.execute(query.order_by(table.c.user_id, table.c.priority.desc())):
            found.setdefault(user_id, {})[kind] = metadata
    return found


PYTHON = "'python', '1'"
# ID is the student's.
WEEKS: dict[str, tuple[list[str], dict[str, Any] | None]] = {
    "a break after ten hours in three days, alone": (
        student("ID", PYTHON, *(f"(ID, {n}, '2026-03-{15 - n % 3} 06:00+00', NULL, 200)" for n in (1, 5, 6))),
        {"TAKE_BREAK": {"total_minutes": 600}},
    ),
    "minutes are at most those up to the end of the day": (
        student("ID", PYTHON, "(ID, 1, '2026-03-13 23:50+00', NULL, 7200)"),
        CONTINUE_1,
    ),
    "minutes of a day are at most its length": (
        student("ID", PYTHON, *(f"(ID, {n}, '2026-03-14 00:00+00', NULL, 7200)" for n in (1, 5, 6))),
        {"TAKE_BREAK": {"total_minutes": 1440}},
    ),
    "back after fourteen days, with the next lesson only there": (
        student("ID", PYTHON, "(ID, 1, '2026-03-01 08:00+00', '2026-03-01 09:00+00', 5)"),
        {"RESUME_LEARNING": {"days_inactive": 14, **SECOND}},
    ),
    "thirteen days are too few": (
        student("ID", PYTHON, "(ID, 1, '2026-03-02 08:00+00', '2026-03-02 09:00+00', 5)"),
        CONTINUE_2,
    ),
    "a lesson opened again after its completion is activity": (
        student("ID", PYTHON, "(ID, 1, '2026-03-12 08:00+00', '2026-01-01 09:00+00', 5)"),
        CONTINUE_2,
    ),
    "an epoch 0 and a time in the future are no activity": (
        student(
            "ID",
            PYTHON,
            "(ID, 1, '2026-02-01 08:00+00', '1970-01-01 00:00+00', 5), (ID, 5, '2120-01-01 00:00+00', NULL, 5)",
        ),
        {"RESUME_LEARNING": {"days_inactive": 42, **FIRST}},
    ),
    "a lesson completed without a start is a start": (
        student("ID", PYTHON, "(ID, 1, NULL, '2026-03-12 09:00+00', 5)"),
        CONTINUE_2,
    ),
    "a finished course has no start, return or next lesson": (
        student("ID", PYTHON, *(f"(ID, {n}, '2026-01-01 08:00+00', '2026-01-01 09:00+00', 5)" for n in (1, 2))),
        None,
    ),
    "a student without a start gets the first lesson": (student("ID", PYTHON), {"START_LEARNING": FIRST}),
    "a start after the week is none": (
        student("ID", PYTHON, "(ID, 1, '2026-03-16 00:00+00', NULL, 5)"),
        {"START_LEARNING": FIRST},
    ),
    "nobody should start before the cohort has": (student("ID", "'sql', '1'"), None),
    "without a level there is no cohort to wait for": (student("ID", "'sql', ''"), {"START_LEARNING": {}}),
    "practice where a student of the cohort submitted an exercise": (
        student(
            "ID",
            PYTHON,
            *(f"(ID, {n}, '2026-03-0{n} 08:00+00', '2026-03-0{n} 09:00+00', 5)" for n in range(3, 8)),
        ),
        {"PRACTICE_MORE": {"lessons_done": 5, "exercises_done": 0}, **CONTINUE_1},
    ),
    "no practice in a course without exercises": (
        student(
            "ID",
            "'go', '1'",
            *(f"(ID, {n}, '2026-03-0{n} 08:00+00', '2026-03-0{n} 09:00+00', 5)" for n in range(3, 8)),
        ),
        {"CONTINUE_LEARNING": {"lesson_id": 10, "lesson_title": "Maps"}},
    ),
}

REVIEWS: dict[tuple[str, ...], dict[str, Any] | None] = {
    ("11, 59.99, '2026-03-10'",): {"lesson_ids": [1], "scores": [59.99]},
    ("11, 60, '2026-03-10'",): None,
    ("11, 59.996, '2026-03-10'",): None,
    ("11, 30, '2026-03-10'", "12, 95, '2026-03-11'"): {"lesson_ids": [1], "scores": [30]},
    ("11, 30, '2026-03-10'", "11, 95, '2026-03-11'"): None,
    ("11, 30, '2026-03-10'", "11, 'NaN', '2026-03-11'"): {"lesson_ids": [1], "scores": [30]},
    ("11, 30, '2026-03-10'", "11, NULL, '2026-03-11'"): {"lesson_ids": [1], "scores": [30]},
    ("11, -5, '2026-03-10'", "21, 110, '2026-03-10'"): {"lesson_ids": [1], "scores": [0]},
    ("31, 5, '2026-03-10'", "41, 5, '2026-03-10'"): None,
    ("11, 30, '2026-02-14 00:00'", "21, 30, '2026-02-13 23:59'"): {"lesson_ids": [1], "scores": [30]},
    ("21, 50, '2026-03-10'", "11, 20, '2026-03-10'"): {"lesson_ids": [1, 2], "scores": [20, 50]},
}
"""Quiz, score and time of attempts, and the lessons to review."""


@pytest.fixture(scope="module")
def students(server_url: URL, platform_template: URL) -> dict[object, dict[str, Any] | None]:
    """What the students of `WEEKS` and `REVIEWS` get, several of whom are on one platform."""
    started = student("ID", PYTHON, "(ID, 1, '2026-03-12 09:00+00', NULL, 5)")
    cases: dict[object, list[str]] = {name: statements for name, (statements, _) in WEEKS.items()}
    for attempts in REVIEWS:
        rows = ", ".join(f"(100 * ID + {n}, ID, {attempt})" for n, attempt in enumerate(attempts))
        cases[attempts] = [*started, f"INSERT INTO quiz_attempts VALUES {rows}"]  # noqa: S608
    gets: dict[object, dict[str, Any] | None] = {}
    for first in range(0, len(cases), 8):  # a cohort of ten would have engagement scores
        ids = {case: number for number, case in enumerate(list(cases)[first : first + 8], start=1)}
        statements = [line.replace("ID", str(user_id)) for case, user_id in ids.items() for line in cases[case]]
        with new_database(server_url, platform_template) as url, opened(url) as installation:
            found = recommended(installation, *statements)
        gets |= {case: found.get(user_id) for case, user_id in ids.items()}
    return gets


@pytest.mark.parametrize("name", WEEKS)
def test_a_student_of_a_week_gets(students: dict[object, dict[str, Any] | None], name: str):
    assert students[name] == WEEKS[name][1]


@pytest.mark.parametrize("attempts", REVIEWS)
def test_lessons_to_review_are_those_of_a_low_quiz(
    students: dict[object, dict[str, Any] | None], attempts: tuple[str, ...]
):
    assert (students[attempts] or {}).get("REVIEW_LESSON") == REVIEWS[attempts]


def test_of_two_rows_of_a_lesson_the_completed_one_counts(installation: Installation):
    statements = [
        UNIQUE,
        *student(1, PYTHON, "(1, 1, '2026-03-14 08:00+00', NULL, 300)"),
        "INSERT INTO user_lesson_progress VALUES (1, 1, '2026-03-14 09:00+00', '2026-03-14 10:00+00', 2)",
    ]
    assert recommended(installation, *statements)[1] == CONTINUE_2


def test_thresholds_and_full_marks_are_those_of_the_settings(installation: Installation):
    statements = [
        *student(1, PYTHON, "(1, 1, '2026-03-12 09:00+00', NULL, 5)"),
        "INSERT INTO quiz_attempts VALUES (1, 1, 11, 0.74, '2026-03-10'), (2, 1, 21, 0.75, '2026-03-10')",
    ]
    with opened(installation.engine.url, score_maximum=1, review_below_score=75) as fractions:
        found = recommended(fractions, *statements)
    assert found[1]["REVIEW_LESSON"] == {"lesson_ids": [1], "scores": [74]}


def test_a_cohort_begins_with_its_first_tenth(installation: Installation):
    """One of eleven has started, then one of ten; the others should start in the week of that day."""
    statements = [line for n in range(1, 12) for line in student(n, "'sql', '1'")]
    start = "INSERT INTO user_lesson_progress VALUES (1, 9, '2026-03-12 09:00+00', NULL, 5)"
    joins = {"lesson_id": 9, "lesson_title": "Joins"}
    waiting = recommended(installation, *statements, start)
    assert set(waiting) == {1, 500}
    begun = recommended(installation, "UPDATE users SET is_active = false WHERE id = 11")
    assert begun == {
        **waiting,
        **{n: {"START_LEARNING": joins} for n in range(2, 11)},
    }


@pytest.mark.parametrize(("start", "has_begun"), [("2026-02-15 23:59", True), ("2026-02-16 00:00", False)])
def test_a_cohort_begins_28_days_after_its_first_start(installation: Installation, start: str, has_begun: bool):
    statements = [line for n in range(1, 13) for line in student(n, "'sql', '1'")]
    first = f"INSERT INTO user_lesson_progress VALUES (1, 9, '{start}', NULL, 5)"  # noqa: S608
    found = recommended(installation, *statements, first)
    assert (2 in found) is has_begun


def test_students_with_a_lesson_left_are_expected_to_have_a_recommendation(installation: Installation):
    finished = [f"(3, {n}, '2026-03-10', '2026-03-11', 5)" for n in (1, 2)]
    statements = [*student(1, PYTHON), *student(2, "'sql', '1'"), *student(3, PYTHON, *finished)]
    execute(installation.engine.url, *statements)
    run_days(installation, SUNDAY, SUNDAY, "sunday")
    report = run_week(installation, MONDAY, "week")
    assert (report.recipients, report.expected, report.expected_with_recommendation) == (4, 2, 2)
    assert report.coverage == 1


def test_a_dismissed_review_keeps_its_lessons_away_for_14_days(installation: Installation):
    statements = [
        *student(1, PYTHON, "(1, 1, '2026-03-12 09:00+00', NULL, 5)"),
        "INSERT INTO quiz_attempts VALUES (1, 1, 11, 20, '2026-03-10')",
    ]
    assert recommended(installation, *statements)[1]["REVIEW_LESSON"]["lesson_ids"] == [1]
    url = installation.engine.url
    execute(
        url,
        "UPDATE adaptive_recommendations SET dismissed_at = '2026-03-17', is_active = false"
        " WHERE recommendation_type = 'REVIEW_LESSON'",
        "INSERT INTO quiz_attempts VALUES (2, 1, 21, 50, '2026-03-18')",
    )
    table = installation.store.adaptive_recommendations
    query = select(table.c["metadata"]).where(
        table.c.user_id == 1, table.c.recommendation_type == "REVIEW_LESSON", table.c.is_active
    )
    lessons = []
    for week, sunday in ((MONDAY, SUNDAY), (date(2026, 3, 16), date(2026, 3, 22)), (date(2026, 3, 30), None)):
        last = sunday or date(2026, 4, 5)
        run_days(installation, last, last, "sunday")
        run_week(installation, week, "week")
        with installation.engine.connect() as connection:
            lessons.append([metadata["lesson_ids"] for metadata in connection.execute(query).scalars()])
    assert lessons == [[], [[2]], [[1, 2]]]

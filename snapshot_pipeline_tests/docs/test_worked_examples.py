"""The worked examples of `docs/metrics.md`: each row of theirs is loaded, each figure of theirs is what comes out.

Whoever checks a figure by hand goes by that page: where it and the code differ, one of them is a defect.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from sqlalchemy import URL, Connection, create_engine, insert, select

from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.platform.ownership import replace_platform
from snapshot_pipeline.platform.tables import platform_metadata
from snapshot_pipeline.store.tables import StoreTables
from snapshot_pipeline_tests.installation import PROJECT
from snapshot_pipeline_tests.pipeline.installations import installation_on

PAGE = (PROJECT / "docs" / "metrics.md").read_text(encoding="utf-8")
EXAMPLES = PAGE.split("## Worked examples\n")[1].split("\n## ")[0]
DAY, MONDAY = date(2026, 3, 10), date(2026, 3, 9)
SUNDAY = MONDAY + timedelta(days=6)
STUDENTS, LESSONS = range(1, 8), range(1, 11)
STORE = StoreTables.of("public")
STEP = re.compile(r"^    (\w+) = (.+) = ([\d.]+)$", re.MULTILINE)


def table_after(sentence: str, section: str = EXAMPLES) -> list[list[str]]:
    """The cells of the first table after a sentence, without its head."""
    lines = section[section.index(sentence) :].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def section(title: str) -> str:
    return EXAMPLES.split(f"### {title}\n")[1].split("\n### ")[0]


def moment(cell: str) -> str | None:
    return f"{cell}+00" if cell else None


@pytest.fixture(scope="module")
def connection(module_database_url: URL) -> Iterator[Connection]:
    """The students of the page on a platform, two weeks computed, and the week."""
    url = module_database_url
    with replace_platform(url, "public"):
        pass
    engine = create_engine(url)
    with engine.begin() as connection:
        for name, rows in _platform().items():
            connection.execute(insert(platform_metadata("public").tables[f"public.{name}"]), rows)
    with installation_on(url, timezone="Europe/Budapest") as installation:
        run_days(installation, SUNDAY - timedelta(days=13), SUNDAY, "examples")
        run_week(installation, MONDAY, "examples")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def _platform() -> dict[str, list[dict[str, object]]]:
    course = {"specialization_id": "mathematics", "level_id": "first"}
    studies = {"current_specialization": "mathematics", "current_level": "first"}
    return {
        "users": [{"id": user, "role": "student", "is_active": True, **studies} for user in STUDENTS],
        "lessons": [
            {"id": one, "title": f"Lesson {one}", **course, "display_order": one, "is_published": True}
            for one in LESSONS
        ],
        "quizzes": [{"id": one, "lesson_id": one, "title": f"Quiz {one}"} for one in LESSONS],
        "user_lesson_progress": [
            {
                "user_id": int(user),
                "lesson_id": int(lesson),
                "started_at": moment(started),
                "completed_at": moment(completed),
                "time_spent_minutes": int(minutes),
            }
            for user, lesson, started, completed, minutes in table_after("`user_lesson_progress` (moments")
        ],
        "quiz_attempts": [
            {
                "id": int(number),
                "user_id": int(user),
                "quiz_id": int(quiz),
                "score": float(score) if score else None,
                "completed_at": moment(completed),
            }
            for number, user, quiz, score, completed in table_after("`quiz_attempts`:")
        ],
        "exercise_submissions": [
            {"id": int(number), "user_id": int(user), "created_at": moment(created)}
            for number, user, created in table_after("`exercise_submissions`:")
        ],
    }


@pytest.mark.parametrize("user", [1, 2])
def test_a_students_row_is_the_one_of_the_page(connection: Connection, user: int):
    snapshots = STORE.performance_snapshots
    query = select(snapshots).where(snapshots.c.user_id == user, snapshots.c.snapshot_date == DAY)
    row = connection.execute(query).mappings().one()
    said = {name.strip("`"): value for name, value, _ in table_after("| column |", section(f"Student {user} on {DAY}"))}
    key = {"user_id", "snapshot_date", "computed_at"}
    assert {name: "" if value is None else str(value) for name, value in row.items() if name not in key} == said


@pytest.mark.parametrize("user", [1, 2])
def test_each_step_of_the_arithmetic_comes_to_what_the_page_says_and_the_last_one_is_the_row(user: int):
    text = section(f"Student {user} on {DAY}")
    known = steps(text)
    assert list(known) == ["n", "lessons", "days", "quiz_average", "velocity", "consistency", "pace_score"]
    said = {name.strip("`"): value for name, value, _ in table_after("| column |", text)}
    assert f"{known['pace_score']:.2f}" == said["pace_score"]
    assert f"{known['quiz_average']:.2f}" == (said["quiz_average"] or "0.00")


def steps(text: str) -> dict[str, float]:
    """What each line `name = expression = number` comes to; the number is what it says, to its last digit."""
    known: dict[str, float] = {}
    for name, expression, number in STEP.findall(text):
        assert re.fullmatch(r"[\w\s.+*/(),-]+", expression), expression
        known[name] = float(eval(expression, {"__builtins__": {}, "min": min, "max": max}, known))  # noqa: S307
        digits = len(number.partition(".")[2])
        assert f"{known[name]:.{digits}f}" == number, f"{name} = {expression} = {known[name]}"
    return known


def test_the_formulas_of_the_examples_are_those_of_the_reference():
    reference = PAGE.split("## Worked examples")[0]
    for user in (1, 2):
        lines = {name: expression for name, expression, _ in STEP.findall(section(f"Student {user} on {DAY}"))}
        for name in ("velocity", "consistency", "pace_score"):
            assert re.search(rf"^    {name} += {re.escape(lines[name])}(\s|$)", reference, re.MULTILINE)


def test_who_fails_fails_with_the_row_of_the_page(connection: Connection):
    failures = STORE.snapshot_failures
    query = select(failures.c.user_id, failures.c.reason, failures.c.detail).where(failures.c.snapshot_date == DAY)
    found = [
        [str(user), f"`{reason}`", detail] for user, reason, detail in connection.execute(query.order_by("user_id"))
    ]
    assert found == table_after("| user |", section(f"Who fails on {DAY}"))


def test_the_success_rate_is_that_of_the_day(connection: Connection):
    days = STORE.snapshot_days
    counts = connection.execute(select(days.c.published, days.c.failed).where(days.c.snapshot_date == DAY)).one()
    assert counts == (2, 3)
    assert steps(section(f"Who fails on {DAY}")) == {"success_rate": 0.4}


def test_the_recommendations_are_those_of_the_page(connection: Connection):
    found = STORE.adaptive_recommendations
    query = select(found.c.user_id, found.c.recommendation_type, found.c.metadata).where(found.c.is_active)
    rows = connection.execute(query.order_by(found.c.user_id, found.c.priority.desc())).all()
    said = table_after("| user |", section(f"The week of {MONDAY}"))
    assert [(user, kind, metadata) for user, kind, metadata in rows] == [
        (int(user), kind.strip("`"), json.loads(metadata.strip("`"))) for user, kind, metadata, _ in said
    ]


def test_every_type_of_recommendation_and_every_reason_that_a_row_can_give_has_an_example():
    types = {row[1].strip("`") for row in table_after("| user |", section(f"The week of {MONDAY}"))}
    known = {row[0].strip("`") for row in table_after("| `recommendation_type` | priority", PAGE)}
    assert types == known
    reasons = {row[1].strip("`") for row in table_after("| user |", section(f"Who fails on {DAY}"))}
    assert reasons == {row[0].strip("`") for row in table_after("| reason | row |", PAGE)} - {"unexpected_error"}

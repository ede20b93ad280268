"""Load the rows of the worked examples in `docs/metrics.md`, and compare every computed figure with the page.

If they differ, either the page or the code is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from sqlalchemy import URL, Connection, create_engine, insert, select

from snapshot_pipeline.metrics import corrections
from snapshot_pipeline.pipeline.at_risk import run_at_risk
from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.platform.ownership import replace_platform
from snapshot_pipeline.platform.tables import platform_metadata
from snapshot_pipeline.recommendations import at_risk
from snapshot_pipeline.store.tables import StoreTables
from snapshot_pipeline_tests.installation import PROJECT
from snapshot_pipeline_tests.pipeline.installations import installation_on

PAGE = (PROJECT / "docs" / "metrics.md").read_text(encoding="utf-8")
EXAMPLES = PAGE.split("## Worked examples\n")[1].split("\n## ")[0]
DAY, MONDAY, LATER_MONDAY, AT_RISK_MONDAY = date(2026, 3, 10), date(2026, 3, 9), date(2026, 3, 23), date(2026, 4, 6)
SUNDAY = MONDAY + timedelta(days=6)
STUDENTS, LESSONS = range(1, 8), range(1, 11)
STORE = StoreTables.of("public")
STEP = re.compile(r"^    (\w+) = (.+) = ([\d.]+)$", re.MULTILINE)


def table_after(sentence: str, section: str = EXAMPLES) -> list[list[str]]:
    """The cells of the first table after a sentence, without its header."""
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


def timestamp(cell: str) -> str | None:
    return f"{cell}+00" if cell else None


@pytest.fixture(scope="module")
def connection(module_database_url: URL) -> Iterator[Connection]:
    """A database with the students of the page, two weeks of snapshots, and the week's recommendations."""
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
        run_days(installation, LATER_MONDAY + timedelta(days=6), LATER_MONDAY + timedelta(days=6), "examples")
        run_week(installation, LATER_MONDAY, "examples")
        run_days(installation, AT_RISK_MONDAY + timedelta(days=6), AT_RISK_MONDAY + timedelta(days=6), "examples")
        run_at_risk(installation, AT_RISK_MONDAY, "examples")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def _platform() -> dict[str, list[dict[str, object]]]:
    course = {"specialization_id": "mathematics", "level_id": "first"}
    studies = {"current_specialization": "mathematics", "current_level": "first"}
    return {
        "users": [{"id": user, "role": "student", "is_active": True, **studies} for user in STUDENTS],
        "lessons": [
            {"id": lesson, "title": f"Lesson {lesson}", **course, "display_order": lesson, "is_published": True}
            for lesson in LESSONS
        ],
        "quizzes": [{"id": lesson, "lesson_id": lesson, "title": f"Quiz {lesson}"} for lesson in LESSONS],
        "user_lesson_progress": [
            {
                "user_id": int(user),
                "lesson_id": int(lesson),
                "started_at": timestamp(started),
                "completed_at": timestamp(completed),
                "time_spent_minutes": int(minutes),
            }
            for user, lesson, started, completed, minutes in table_after("`user_lesson_progress` (times")
        ],
        "quiz_attempts": [
            {
                "id": int(number),
                "user_id": int(user),
                "quiz_id": int(quiz),
                "score": float(score) if score else None,
                "completed_at": timestamp(completed),
            }
            for number, user, quiz, score, completed in table_after("`quiz_attempts`:")
        ],
        "exercise_submissions": [
            {"id": int(number), "user_id": int(user), "created_at": timestamp(created)}
            for number, user, created in table_after("`exercise_submissions`:")
        ],
    }


@pytest.mark.parametrize("user", [1, 2])
def test_a_students_snapshot_matches_the_page(connection: Connection, user: int):
    snapshots = STORE.performance_snapshots
    query = select(snapshots).where(snapshots.c.user_id == user, snapshots.c.snapshot_date == DAY)
    row = connection.execute(query).mappings().one()
    expected = {
        name.strip("`"): value for name, value, _ in table_after("| column |", section(f"Student {user} on {DAY}"))
    }
    key = {"user_id", "snapshot_date", "computed_at"}
    assert {name: "" if value is None else str(value) for name, value in row.items() if name not in key} == expected


@pytest.mark.parametrize("user", [1, 2])
def test_each_step_of_the_arithmetic_is_right_and_ends_in_the_row(user: int):
    text = section(f"Student {user} on {DAY}")
    known = steps(text)
    assert list(known) == ["n", "lessons", "days", "quiz_average", "velocity", "consistency", "pace_score"]
    expected = {name.strip("`"): value for name, value, _ in table_after("| column |", text)}
    assert f"{known['pace_score']:.2f}" == expected["pace_score"]
    assert f"{known['quiz_average']:.2f}" == (expected["quiz_average"] or "0.00")


def steps(text: str) -> dict[str, float]:
    """The value of each line `name = expression = number`, checked against the number to its last digit."""
    known: dict[str, float] = {}
    for name, expression, number in STEP.findall(text):
        assert re.fullmatch(r"[\w\s.+*/(),-]+", expression), expression
        known[name] = float(eval(expression, {"__builtins__": {}, "min": min, "max": max}, known))  # noqa: S307
        digits = len(number.partition(".")[2])
        assert f"{known[name]:.{digits}f}" == number, f"{name} = {expression} = {known[name]}"
    return known


def test_the_formulas_of_the_examples_equal_the_definitions():
    reference = PAGE.split("## Worked examples")[0]
    for user in (1, 2):
        lines = {name: expression for name, expression, _ in STEP.findall(section(f"Student {user} on {DAY}"))}
        for name in ("velocity", "consistency", "pace_score"):
            assert re.search(rf"^    {name} += {re.escape(lines[name])}(\s|$)", reference, re.MULTILINE)


INVALID_ROWS = f"Invalid rows of {DAY}"


def test_snapshots_of_students_with_invalid_rows_match_the_page(connection: Connection):
    snapshots = STORE.performance_snapshots.c
    figures = (snapshots.pace_score, snapshots.quiz_average, snapshots.time_spent_minutes_today)
    query = select(snapshots.user_id, *figures).where(snapshots.snapshot_date == DAY, snapshots.user_id.in_([3, 4, 5]))
    actual = [
        [str(user), f"{pace:.2f}", "" if average is None else f"{average:.2f}", str(minutes)]
        for user, pace, average, minutes in connection.execute(query.order_by(snapshots.user_id))
    ]
    assert actual == [row[:4] for row in table_after("| user | `pace_score`", section(INVALID_ROWS))]


def test_issues_match_the_page(connection: Connection):
    issues = STORE.data_issues.c
    query = select(issues.user_id, issues.issue, issues.source_table, issues.source_key, issues.detail)
    actual = [
        [str(user), f"`{issue}`", f"`{table}`", key, detail]
        for user, issue, table, key, detail in connection.execute(query.where(issues.day == DAY).order_by("user_id"))
    ]
    assert actual == table_after("| user | `issue`", section(INVALID_ROWS))


def test_the_counts_and_rates_match_the_page(connection: Connection):
    days, failures = STORE.snapshot_days.c, STORE.snapshot_failures
    counts = connection.execute(
        select(days.published, days.failed, days.students_with_issues).where(days.snapshot_date == DAY)
    ).one()
    assert counts == (5, 0, 2)
    assert connection.execute(select(failures)).all() == []
    assert steps(section(INVALID_ROWS)) == {"success_rate": 1, "issue_rate": 0.4}


@pytest.mark.parametrize("monday", [MONDAY, LATER_MONDAY])
def test_the_recommendations_match_the_page(connection: Connection, monday: date):
    recommendations = STORE.adaptive_recommendations
    query = select(recommendations.c.user_id, recommendations.c.recommendation_type, recommendations.c.metadata).where(
        recommendations.c.week_start == monday
    )
    rows = connection.execute(query.order_by(recommendations.c.user_id, recommendations.c.priority.desc())).all()
    expected = table_after("| user |", section(f"The week of {monday}"))
    assert [(user, kind, metadata) for user, kind, metadata in rows] == [
        (int(user), kind.strip("`"), json.loads(metadata.strip("`"))) for user, kind, metadata, _ in expected
    ]


def test_the_students_at_risk_match_the_page(connection: Connection):
    table = STORE.at_risk_students.c
    query = select(table.user_id, table.state, table.reasons, table.peers).where(table.week_start == AT_RISK_MONDAY)
    actual = [
        [str(user), f"`{state}`", " ".join(reason["text"] for reason in reasons), "" if peers is None else str(peers)]
        for user, state, reasons, peers in connection.execute(query.order_by(table.user_id))
    ]
    assert actual == table_after("| user |", section(f"The students at risk of the week of {AT_RISK_MONDAY}"))


def test_the_page_lists_every_state_and_reason():
    states = {row[0].strip("`") for row in table_after("| `state` |", PAGE)}
    codes = [row[0].strip("`") for row in table_after("| code | component |", PAGE)]
    assert states == set(at_risk.STATES)
    assert tuple(codes) == at_risk.REASON_CODES


def test_every_recommendation_type_has_an_example():
    weeks = (section(f"The week of {monday}") for monday in (MONDAY, LATER_MONDAY))
    types = {row[1].strip("`") for week in weeks for row in table_after("| user |", week)}
    known = {row[0].strip("`") for row in table_after("| `recommendation_type` | priority", PAGE)}
    assert types == known


def test_the_page_lists_every_kind_of_issue():
    listed = {row[2].split(",")[0].strip("`") for row in table_after("| row | treatment |", PAGE)} - {"no"}
    assert listed == {
        corrections.COMPLETED_BEFORE_STARTED,
        corrections.DUPLICATE_PROGRESS,
        corrections.FUTURE_TIMESTAMP,
        corrections.IMPLAUSIBLE_MINUTES,
        corrections.IMPLAUSIBLE_TIMESTAMP,
        corrections.NEGATIVE_MINUTES,
        corrections.NEGATIVE_SCORE,
        corrections.NON_FINITE_SCORE,
    }

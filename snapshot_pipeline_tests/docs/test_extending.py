"""Follow `docs/extending.md` to the letter, on a copy of the tree, and check what it promises."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import URL, Connection, create_engine, text

from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.platform.sample import SampleOptions, load_sample
from snapshot_pipeline_tests.installation import PROJECT
from snapshot_pipeline_tests.pipeline.installations import installation_on

PAGE = (PROJECT / "docs" / "extending.md").read_text(encoding="utf-8")
DIFFS = re.findall(r"^```diff\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SQL = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
NAMED_TESTS = [
    path
    for command in re.findall(r"^    pytest ((?:.*\\\n)*.*)$", PAGE, re.MULTILINE)
    for path in re.findall(r"\S+\.py\S*", command)
]
SUNDAY, UNTIL = date(2026, 2, 22), date(2026, 3, 1)
WEEK = "2026-02-16"
ONE_WEEK = """
import sys
from datetime import date
import snapshot_pipeline
from snapshot_pipeline.pipeline.installation import open_installation
from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.settings import load_settings

with open_installation(load_settings(start_date=date(2026, 1, 1))) as installation:
    run_days(installation, date(2026, 2, 16), date(2026, 2, 22), "extended")
    run_week(installation, date(2026, 2, 16), "extended")
print(snapshot_pipeline.__file__)
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree with all diffs of the page applied."""
    copy = tmp_path_factory.mktemp("extended")
    for name in ("snapshot_pipeline", "snapshot_pipeline_tests", "docs"):
        shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", copy)
    for diff in DIFFS:
        applied = subprocess.run(
            ["git", "apply", "-"], input=diff, cwd=copy, capture_output=True, text=True, check=False
        )
        assert applied.returncode == 0, f"{applied.stderr}\n{diff}"
    _run_python(copy, {}, "docs/make_tables.py")
    return copy


def _run_python(copy: Path, variables: dict[str, str], *arguments: str) -> str:
    """Run Python with the modules of the copy; returns its output."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSHOT_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env={**inherited, "PYTHONPATH": str(copy), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def connection(extended: Path, module_database_url: URL) -> Iterator[Connection]:
    """A database whose Sunday was computed before the recipes were followed, and its whole week afterwards."""
    url = module_database_url
    load_sample(SampleOptions(150, 60, 5, UNTIL, 0.02, ZoneInfo("UTC")), url, "public")
    with installation_on(url, timezone="UTC") as before:
        run_days(before, SUNDAY, SUNDAY, "before")
    engine = create_engine(url)
    with engine.begin() as owner:
        for statement in SQL:
            owner.execute(text(statement))
    variables = {
        "SNAPSHOT_DATABASE_URL": url.render_as_string(hide_password=False),
        "SNAPSHOT_HOME": str(extended),
        "SNAPSHOT_STORE_SCHEMA": "public",
    }
    assert str(extended) in _run_python(extended, variables, "-c", ONE_WEEK)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_every_step_has_a_diff_and_the_page_names_three_tests():
    steps = PAGE.split("\n**")[1:]
    assert all("```diff\n" in step for step in steps)
    assert PAGE.count("```diff") == len(DIFFS) >= len(steps)
    assert len(NAMED_TESTS) == 3


def test_the_new_metric_is_published_for_every_student(connection: Connection):
    expected = text(
        """
        SELECT s.user_id, s.lessons_in_recent_days, count(p.lesson_id)
          FROM performance_snapshots s
          LEFT JOIN user_lesson_progress p ON p.user_id = s.user_id
           AND (p.completed_at AT TIME ZONE 'UTC')::date BETWEEN s.snapshot_date - 6 AND s.snapshot_date
         WHERE s.snapshot_date = :day GROUP BY s.user_id, s.lessons_in_recent_days
        """
    )
    rows = connection.execute(expected, {"day": SUNDAY}).all()
    assert len(rows) > 50
    assert [row for row in rows if row[1] != row[2]] == []
    assert sum(row[1] for row in rows) > 100


def test_a_day_computed_before_records_a_restatement_of_the_new_figure(connection: Connection):
    restated = text(
        "SELECT snapshot_date, column_name, old_value, count(*) FROM snapshot_restatements GROUP BY 1, 2, 3"
    )
    published = text("SELECT published FROM snapshot_days WHERE snapshot_date = :day")
    students = connection.execute(published, {"day": SUNDAY}).scalar_one()
    assert connection.execute(restated).all() == [(SUNDAY, "lessons_in_recent_days", None, students)]


def test_the_new_rule_applies_to_exactly_the_right_students(connection: Connection):
    due = text(
        """
        SELECT user_id, count(*) FROM user_lesson_progress JOIN users ON users.id = user_id
         WHERE (completed_at AT TIME ZONE 'UTC')::date BETWEEN '2026-02-09' AND '2026-02-22'
           AND upper(trim(role)) = 'STUDENT' AND is_active
         GROUP BY user_id HAVING count(*) >= 10
        """
    )
    recommended = text(
        "SELECT user_id, (metadata->>'lessons_done')::int, message FROM adaptive_recommendations "
        "WHERE recommendation_type = 'KEEP_GOING' AND is_active AND week_start = :week"
    )
    rows = connection.execute(recommended, {"week": WEEK}).all()
    assert {row[0]: row[1] for row in rows} == {row[0]: row[1] for row in connection.execute(due)} != {}
    assert all(row[2] == f"Well done: you completed {row[1]} lessons in two weeks." for row in rows)


def test_the_three_tests_that_the_page_names_pass(extended: Path, server_url: URL):
    variables = {"SNAPSHOT_TEST_SERVER_URL": server_url.render_as_string(hide_password=False)}
    variables["SNAPSHOT_TEST_EXAMPLES"] = "5"  # the same five: enough to see that the new code is compared
    options = ("-q", "-p", "no:cacheprovider", "--hypothesis-seed=0")
    output = _run_python(extended, variables, "-m", "pytest", *options, *NAMED_TESTS)
    assert " passed" in output


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_the_code_of_the_page_follows_the_style(extended: Path, command: list[str]):
    changed = sorted(set(re.findall(r"^\+\+\+ b/(\S+\.py)$", PAGE, re.MULTILINE)))
    assert len(changed) >= 10
    _run_python(extended, {}, "-m", "ruff", *command, "--no-cache", *changed)

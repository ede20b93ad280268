"""`docs/extending.md` is followed to the letter, on a copy of the tree: whoever trusts it gets what it promises."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import URL, Connection, create_engine, text

from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.platform.sample import SampleOptions, load_sample
from snapshot_pipeline_tests.installation import PROJECT
from snapshot_pipeline_tests.pipeline.installations import installation_on

DIFF = re.compile(r"^```diff\n(.*?)^```$", re.MULTILINE | re.DOTALL)
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
WHAT_MUST_STILL_HOLD = [
    "snapshot_pipeline_tests/metrics/test_against_reference.py::"
    "test_every_figure_and_every_failure_is_that_of_the_reference",
    "snapshot_pipeline_tests/recommendations/test_messages.py",
    "snapshot_pipeline_tests/recommendations/test_ranking.py",
    *(
        f"snapshot_pipeline_tests/recommendations/test_against_reference.py::{name}"
        for name in (
            "test_every_student_is_recommended_what_the_reference_says",
            "test_many_students_at_the_edges_of_every_rule_are_recommended_what_the_reference_says",
        )
    ),
    "snapshot_pipeline_tests/pipeline/test_origins.py",
    "snapshot_pipeline_tests/store/test_migrate.py",
    "snapshot_pipeline_tests/store/test_tables.py",
    "snapshot_pipeline_tests/docs/test_tables_page.py",
    "snapshot_pipeline_tests/test_architecture.py::"
    "test_the_arithmetic_and_the_rules_know_nothing_of_ours_and_no_database",
    "snapshot_pipeline_tests/test_architecture.py::test_the_platform_and_the_store_do_not_know_each_other",
    "snapshot_pipeline_tests/test_architecture.py::test_nothing_is_read_from_the_environment_at_import",
]


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, with all that the page says done to it."""
    copy = tmp_path_factory.mktemp("extended")
    for name in ("snapshot_pipeline", "snapshot_pipeline_tests", "docs"):
        shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", copy)
    page = (copy / "docs" / "extending.md").read_text(encoding="utf-8")
    for diff in DIFF.findall(page):
        applied = subprocess.run(
            ["git", "apply", "-"], input=diff, cwd=copy, capture_output=True, text=True, check=False
        )
        assert applied.returncode == 0, f"{applied.stderr}\n{diff}"
    _in(copy, {}, "docs/make_tables.py")
    return copy


def _in(copy: Path, variables: dict[str, str], *arguments: str) -> str:
    """Run Python with the modules of the copy; returns what it printed."""
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
def connection(extended: Path, module_database_url: URL):
    """A database whose week was computed before the recipe was followed, and again afterwards."""
    url = module_database_url
    load_sample(SampleOptions(150, 60, 5, UNTIL, 0.02, ZoneInfo("UTC")), url, "public")
    with installation_on(url, timezone="UTC") as before:
        run_days(before, SUNDAY, SUNDAY, "before")
    variables = {"SNAPSHOT_DATABASE_URL": url.render_as_string(hide_password=False), "SNAPSHOT_HOME": str(extended)}
    assert str(extended) in _in(extended, variables, "-c", ONE_WEEK)
    engine = create_engine(url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_the_page_has_a_diff_for_each_place_that_it_names():
    page = (PROJECT / "docs" / "extending.md").read_text(encoding="utf-8")
    steps = page.split("\n**")[1:]
    assert all(DIFF.search(f"{step}\n") for step in steps)
    assert page.count("```diff") == len(DIFF.findall(page)) >= len(steps)


def test_the_new_metric_is_in_the_table_for_everybody_who_was_published(connection: Connection):
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


def test_a_day_that_was_there_before_says_that_the_figure_is_new(connection: Connection):
    restated = text(
        "SELECT snapshot_date, column_name, old_value, count(*) FROM snapshot_restatements GROUP BY 1, 2, 3"
    )
    published = text("SELECT published FROM snapshot_days WHERE snapshot_date = :day")
    students = connection.execute(published, {"day": SUNDAY}).scalar_one()
    assert connection.execute(restated).all() == [(SUNDAY, "lessons_in_recent_days", None, students)]


def test_the_new_rule_recommends_to_whom_it_should(connection: Connection):
    due = text(
        """
        SELECT user_id, count(*) FROM performance_snapshots
         WHERE lessons_completed_count > 0 AND snapshot_date > DATE '2026-02-15' GROUP BY user_id HAVING count(*) >= 5
        """
    )
    found = text(
        "SELECT user_id, (metadata->>'steady_days')::int, message FROM adaptive_recommendations "
        "WHERE recommendation_type = 'KEEP_GOING' AND is_active AND week_start = :week"
    )
    rows = connection.execute(found, {"week": WEEK}).all()
    assert {row[0]: row[1] for row in rows} == {row[0]: row[1] for row in connection.execute(due)} != {}
    assert all(row[2] == f"Well done: you completed lessons on {row[1]} of the last seven days." for row in rows)


def test_the_tests_of_the_copy_that_concern_it_pass(extended: Path, server_url: URL):
    variables = {"SNAPSHOT_TEST_SERVER_URL": server_url.render_as_string(hide_password=False)}
    said = _in(extended, variables, "-m", "pytest", "-q", "-p", "no:cacheprovider", *WHAT_MUST_STILL_HOLD)
    assert " passed" in said


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_what_the_page_adds_is_in_the_style_of_the_rest(extended: Path, command: list[str]):
    page = (extended / "docs" / "extending.md").read_text(encoding="utf-8")
    changed = sorted(set(re.findall(r"^\+\+\+ b/(\S+\.py)$", page, re.MULTILINE)))
    assert len(changed) >= 10
    _in(extended, {}, "-m", "ruff", *command, "--no-cache", *changed)

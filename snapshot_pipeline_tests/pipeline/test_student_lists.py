"""The lists of students in SNAPSHOT_HOME/students: modes, escaping, retention, withdrawal."""

from __future__ import annotations

import csv
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import URL

from snapshot_pipeline.pipeline.at_risk import run_at_risk
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.pipeline.student_lists import write_student_lists
from snapshot_pipeline.pipeline.withdrawal import withdraw_week
from snapshot_pipeline.settings import SettingsError, load_settings
from snapshot_pipeline_tests.pipeline.installations import MONDAY, SUNDAY, execute, installation_on

WEEK = timedelta(weeks=1)


@pytest.fixture
def installation(sample_url: URL, tmp_path: Path) -> Iterator[Installation]:
    execute(sample_url, "UPDATE quizzes SET title = '<script>alert(1)</script>'")
    url = "https://lms.example.org/user/{user_id}?a=1&b=2"
    with installation_on(sample_url, home=tmp_path / "home", report_weeks=2, student_url=url) as opened:
        for weeks in (2, 1, 0):
            run_days(opened, SUNDAY - weeks * WEEK, SUNDAY - weeks * WEEK, "sunday")
            run_at_risk(opened, MONDAY - weeks * WEEK, "week")
        yield opened


def test_lists_are_private_escaped_expire_and_are_withdrawn(installation: Installation) -> None:
    students = installation.settings.home / "students"
    for weeks in (2, 1, 0):
        written = write_student_lists(installation, MONDAY - weeks * WEEK)
    kept = {f"{monday}.{suffix}" for monday in (MONDAY - WEEK, MONDAY) for suffix in ("html", "csv")}
    assert {path.name for path in students.iterdir()} == kept
    assert {path.stem for path in written.deleted} == {str(MONDAY - 2 * WEEK)}
    assert stat.S_IMODE(students.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in students.iterdir()} == {0o600}
    page, table = (path.read_text(encoding="utf-8-sig") for path in written.paths)
    rows = list(csv.DictReader(table.splitlines()))
    assert len(rows) == written.students > 10
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    for row in rows:
        assert f'href="https://lms.example.org/user/{row["user_id"]}?a=1&amp;b=2"' in page
    withdraw_week(installation, MONDAY)
    assert {path.stem for path in students.iterdir()} == {str(MONDAY - WEEK)}


@pytest.mark.parametrize(
    "url",
    [
        "https://lms.example.org/user/",
        "javascript:alert({user_id})",
        "https://lms.example.org/{user_id}/{name}",
        "https://ana:secret@lms.example.org/{user_id}",
    ],
)
def test_an_address_without_the_id_or_that_a_browser_executes_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="SNAPSHOT_STUDENT_URL is not valid"):
        load_settings(student_url=url)

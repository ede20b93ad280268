"""`snapshot-pipeline load`: what it prints and what it refuses."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, text

FILES = {
    "users": "id,role,is_active,email\n1,student,true,a@b\n2,teacher,true,c@d\n",
    "lessons": "id,title,is_published\n1,One,true\n",
    "user_lesson_progress": "user_id,lesson_id,started_at,completed_at,time_spent_minutes\n1,1,2024-07-01 12:00,,5\n",
    "quizzes": "id\n",
    "quiz_attempts": "id,user_id,quiz_id,score,completed_at\n",
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / f"{name}.csv").write_text(content)
    return tmp_path


def _load(directory: Path, url: URL, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from snapshot_pipeline.cli import main; main()", "load", str(directory)],
        env={"SNAPSHOT_DATABASE_URL": url.render_as_string(hide_password=False), **settings},
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


def test_load_prints_ignored_columns_and_row_counts(directory: Path, database_url: URL) -> None:
    run = _load(directory, database_url, SNAPSHOT_NAIVE_TIMEZONE="Europe/Budapest")
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0] == "users.csv: ignored column: email"
    assert [line.split() for line in lines[1:6]] == [
        ["users", "2", "rows"],
        ["lessons", "1", "row"],
        ["user_lesson_progress", "1", "row"],
        ["quizzes", "0", "rows"],
        ["quiz_attempts", "0", "rows"],
    ]
    assert lines[6].startswith(f"Loaded into schema public of database {database_url.database} in ")
    # Without a terminal there are plain lines instead of a bar.
    first, read, last = run.stderr.splitlines()
    assert (first, last) == ("reading files", "building keys and indexes")
    assert re.fullmatch(r"reading files: quiz_attempts, file 5/5, [\d.]+ (bytes|kB|MB)/s, 0:00:0\d elapsed", read)
    engine = create_engine(database_url)
    with engine.connect() as connection:
        started = text("SELECT started_at = '2024-07-01T10:00Z' FROM user_lesson_progress")
        assert connection.execute(started).scalar_one() is True, "without offset: SNAPSHOT_NAIVE_TIMEZONE"
    engine.dispose()


def test_a_bad_value_is_one_line_and_exit_status_1(directory: Path, database_url: URL) -> None:
    (directory / "users.csv").write_text("id,role,is_active\n1,student,perhaps\n")
    run = _load(directory, database_url)
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr == (f"error: {directory}/users.csv, line 2, column is_active: 'perhaps' is not true or false\n")


def test_a_platforms_own_tables_are_refused_with_a_remediation(directory: Path, database_url: URL) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE users (id bigint)"))
    engine.dispose()
    run = _load(directory, database_url)
    assert run.returncode == 1
    assert run.stderr.startswith("error: schema public has users, which snapshot-pipeline did not create")
    assert "Set another database (SNAPSHOT_DATABASE_URL) or schema (SNAPSHOT_PLATFORM_SCHEMA)" in run.stderr

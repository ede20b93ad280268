"""What an operator sees of `snapshot-pipeline sample`, run as the real command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, text


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A working directory without a .env file."""
    return tmp_path


def run(directory: Path, database: URL, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SNAPSHOT_")}
    environment |= {"SNAPSHOT_DATABASE_URL": database.render_as_string(hide_password=False), **variables}
    return subprocess.run(
        [sys.executable, "-c", "from snapshot_pipeline.cli import main; main()", "sample", *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_it_fills_the_database_and_says_what_is_in_it(directory: Path, database_url: URL):
    done = run(
        directory, database_url, "--students", "1000", "--days", "30", "--until", "2025-11-24", "--bad-rate", "0.1",
        SNAPSHOT_TIMEZONE="Europe/Budapest", SNAPSHOT_PLATFORM_SCHEMA="learning",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1,000 students from 2025-10-25 to 2025-11-23 (Europe/Budapest), seed 1; 0.1 of them" in done.stdout
    assert "1,000 of 1,000 students written; building keys and indexes" in done.stderr
    engine = create_engine(database_url)
    with engine.connect() as connection:
        for name in ("users", "lessons", "user_lesson_progress", "quizzes", "quiz_attempts", "exercise_submissions"):
            count = connection.execute(text(f"SELECT count(*) FROM learning.{name}")).scalar_one()  # noqa: S608
            assert f"{count:,}" in next(line for line in done.stdout.splitlines() if line.split()[0] == name)
        newest = connection.execute(text("SELECT max(started_at) FROM learning.user_lesson_progress")).scalar_one()
    engine.dispose()
    assert newest.date() == date(2025, 11, 23)


def test_the_same_command_twice_gives_the_same_students(directory: Path, database_url: URL):
    arguments = ("--students", "200", "--days", "20", "--seed", "4", "--until", "2025-11-24")
    engine = create_engine(database_url)
    sums = []
    for _ in range(2):
        assert run(directory, database_url, *arguments).returncode == 0
        with engine.connect() as connection:
            sums.append(connection.execute(text("SELECT md5(string_agg(p::text, '' ORDER BY p)) FROM "
                                                "user_lesson_progress p")).scalar_one())  # fmt: skip
    engine.dispose()
    assert sums[0] == sums[1]


def test_without_a_date_it_ends_with_yesterday(directory: Path, database_url: URL):
    done = run(directory, database_url, "--students", "300", "--days", "10")
    assert done.returncode == 0, done.stderr
    engine = create_engine(database_url)
    with engine.connect() as connection:
        days_ago = connection.execute(
            text("SELECT (now() AT TIME ZONE 'UTC')::date - max(started_at AT TIME ZONE 'UTC')::date "
                 "FROM user_lesson_progress")
        ).scalar_one()  # fmt: skip
    engine.dispose()
    assert days_ago == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--students", "0"), "error: students=0: expected 1 to 10,000,000 students"),
        (("--days", "99999"), "error: days=99999: expected 1 to 3,650 days"),
        (("--bad-rate", "5"), "error: bad rate=5.0: expected a share between 0 and 1, such as 0.05 for 5 %"),
        (("--until", "2199-01-01"), "error: until=2199-01-01 is after today"),
    ],
)
def test_a_wrong_option_is_answered_with_one_line(directory: Path, database_url: URL, arguments, message):
    refused = run(directory, database_url, *arguments)
    assert refused.returncode == 1
    assert refused.stderr.startswith(message)
    assert len(refused.stderr.splitlines()) == 1


def test_the_database_of_a_real_platform_is_refused_and_left_alone(directory: Path, database_url: URL):
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE lessons (id bigint PRIMARY KEY)"))
    refused = run(directory, database_url, "--students", "10", "--days", "5")
    with engine.connect() as connection:
        tables = connection.execute(text("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
                                         "AND relkind = 'r'")).scalars().all()  # fmt: skip
    engine.dispose()
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: schema public holds lessons, not made by snapshot-pipeline")
    assert tables == ["lessons"]

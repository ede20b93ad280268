"""`snapshot-pipeline sample`, the whole command line on a real database."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, text

from snapshot_pipeline.cli import main


@dataclass(frozen=True)
class Finished:
    """The exit status and the output of a command."""

    status: int
    output: str
    errors: str


Run = Callable[..., Finished]


@pytest.fixture
def run(database_url: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in an empty directory, with no setting but the database."""
    for name in [name for name in os.environ if name.startswith("SNAPSHOT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SNAPSHOT_DATABASE_URL", database_url.render_as_string(hide_password=False))
    monkeypatch.chdir(tmp_path)

    def run_here(*arguments: str, **variables: str) -> Finished:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["snapshot-pipeline", "sample", *arguments])
        with pytest.raises(SystemExit) as finished:
            main()
        captured = capsys.readouterr()
        return Finished(int(finished.value.code or 0), captured.out, captured.err)

    return run_here


def test_sample_fills_the_database_and_prints_row_counts(run: Run, database_url: URL):
    done = run(
        "--students", "1000", "--days", "30", "--until", "2025-11-24", "--bad-rate", "0.1",
        SNAPSHOT_TIMEZONE="Europe/Budapest", SNAPSHOT_PLATFORM_SCHEMA="learning",
    )  # fmt: skip
    assert done.status == 0, done.errors
    head = "1,000 students, 2025-10-25 to 2025-11-23 (Europe/Budapest), seed 1;\n10 % have an invalid or unusual row:\n"
    assert head in done.output
    first, written, last = done.errors.splitlines()
    assert (first, last) == ("writing students", "building keys and indexes")
    assert written.startswith("writing students: 1,000/1,000, ")
    engine = create_engine(database_url)
    with engine.connect() as connection:
        for name in ("users", "lessons", "user_lesson_progress", "quizzes", "quiz_attempts", "exercise_submissions"):
            count = connection.execute(text(f"SELECT count(*) FROM learning.{name}")).scalar_one()  # noqa: S608
            assert f"{count:,}" in next(line for line in done.output.splitlines() if line.split()[0] == name)
        newest = connection.execute(text("SELECT max(started_at) FROM learning.user_lesson_progress")).scalar_one()
    engine.dispose()
    assert newest.date() == date(2025, 11, 23)


def test_the_same_seed_generates_the_same_students(run: Run, database_url: URL):
    arguments = ("--students", "200", "--days", "20", "--seed", "4", "--until", "2025-11-24")
    engine = create_engine(database_url)
    sums = []
    for _ in range(2):
        assert run(*arguments).status == 0
        with engine.connect() as connection:
            sums.append(connection.execute(text("SELECT md5(string_agg(p::text, '' ORDER BY p)) FROM "
                                                "user_lesson_progress p")).scalar_one())  # fmt: skip
    engine.dispose()
    assert sums[0] == sums[1]


@pytest.mark.clock
def test_the_last_day_is_yesterday_by_default(run: Run, database_url: URL):
    today = datetime.now(timezone.utc).date()
    done = run("--students", "300", "--days", "10")
    assert done.status == 0, done.errors
    engine = create_engine(database_url)
    last_day = text("SELECT max(started_at AT TIME ZONE 'UTC')::date FROM user_lesson_progress")
    with engine.connect() as connection:
        newest = connection.execute(last_day).scalar_one()
    engine.dispose()
    assert newest in (today - timedelta(days=1), datetime.now(timezone.utc).date() - timedelta(days=1))  # over midnight


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--students", "0"), "error: students=0: expected 1 to 10,000,000 students"),
        (("--days", "99999"), "error: days=99999: expected 1 to 3,650 days"),
        (("--bad-rate", "5"), "error: bad rate=5.0: expected a share between 0 and 1, such as 0.05 for 5 %"),
        (("--until", "2199-01-01"), "error: --until 2199-01-01 is after today"),
    ],
)
def test_an_invalid_option_is_refused_with_one_line(run: Run, arguments, message):
    refused = run(*arguments)
    assert refused.status == 1
    assert refused.errors.startswith(message)
    assert len(refused.errors.splitlines()) == 1


def test_a_real_platforms_database_is_refused_and_not_changed(run: Run, database_url: URL):
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE lessons (id bigint PRIMARY KEY)"))
    refused = run("--students", "10", "--days", "5")
    with engine.connect() as connection:
        tables = connection.execute(text("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
                                         "AND relkind = 'r'")).scalars().all()  # fmt: skip
    engine.dispose()
    assert refused.status == 1
    assert refused.errors.startswith("error: schema public has lessons, which snapshot-pipeline did not create")
    assert tables == ["lessons"]

"""Days that are not 24 hours long: every figure equals the reference, in every time zone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.metrics.days import start_of_day
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.platform.tables import platform_metadata
from snapshot_pipeline_tests.pipeline.comparison import compare_day
from snapshot_pipeline_tests.pipeline.installations import installation_on, new_database
from snapshot_pipeline_tests.reference.reading import read_rows
from snapshot_pipeline_tests.reference.snapshots import reference_day

STUDENTS = 12

CHANGES = [
    ("Europe/Budapest", date(2026, 3, 29), 23),
    ("Europe/Budapest", date(2025, 10, 26), 25),
    ("Asia/Kolkata", date(2026, 1, 1), 24),  # UTC+5:30, and the turn of a year
    ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
    ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
    ("America/Sao_Paulo", date(2018, 11, 4), 23),  # midnight does not exist
    ("Africa/Cairo", date(2025, 4, 25), 23),  # midnight does not exist
    ("America/Santiago", date(2025, 9, 7), 23),  # midnight does not exist
    ("America/Havana", date(2025, 11, 2), 25),  # midnight occurs twice
    ("Asia/Kathmandu", date(2024, 2, 29), 24),  # UTC+5:45, and a leap day
    ("Pacific/Apia", date(2011, 12, 31), 24),  # the day before was skipped
]


@pytest.fixture(scope="module")
def empty(server_url: URL) -> Iterator[URL]:
    """A platform with empty tables."""
    with new_database(server_url) as url:
        platform_metadata("public").create_all(create_engine(url, poolclass=NullPool))
        yield url


def instants_around_midnight(day: date, zone: ZoneInfo) -> list[datetime]:
    """Return instants shortly before and after the midnights of a few days."""
    midnights = [start_of_day(day + timedelta(days=n), zone) for n in (-1, 0, 1, 2)]
    offsets = [timedelta(microseconds=-1), timedelta(), timedelta(minutes=29), timedelta(minutes=61)]
    return sorted(midnight + offset for midnight in midnights for offset in offsets)


@pytest.mark.parametrize(("name", "day", "hours"), CHANGES, ids=[f"{name} {day}" for name, day, _ in CHANGES])
def test_days_around_a_clock_change_equal_the_reference(empty: URL, name: str, day: date, hours: float):
    zone = ZoneInfo(name)
    assert start_of_day(day + timedelta(days=1), zone) - start_of_day(day, zone) == timedelta(hours=hours)
    instants = instants_around_midnight(day, zone)
    engine = create_engine(empty, poolclass=NullPool)
    with engine.begin() as connection:
        for table in ("users", "user_lesson_progress", "quiz_attempts", "exercise_submissions"):
            connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608
        for student in range(1, STUDENTS + 1):
            connection.execute(text("INSERT INTO users VALUES (:id, 'STUDENT', true)"), {"id": student})
            for number, instant in enumerate(instants[student % 4 :: 1 + student % 3]):
                row = {
                    "user": student,
                    "number": number,
                    "attempt": student * 1000 + number,
                    "instant": instant,
                    "later": instant + timedelta(minutes=student * 7),
                }
                connection.execute(
                    text("INSERT INTO user_lesson_progress VALUES (:user, :number, :instant, :later, :number)"), row
                )
                connection.execute(
                    text("INSERT INTO quiz_attempts VALUES (:attempt, :user, 1, 10 * (:number % 10), :instant)"), row
                )
                connection.execute(text("INSERT INTO exercise_submissions VALUES (:attempt, :user, :later)"), row)
    days = [day + timedelta(days=n) for n in (-1, 0, 1)]
    with installation_on(empty, timezone=name, start_date=date(2010, 1, 1)) as installation:
        run_days(installation, days[0], days[-1], "zone")
        rows = read_rows(installation.engine, "public")
        for computed_day in days:
            compared = compare_day(installation, reference_day(rows, computed_day, zone), computed_day)
            assert compared.differences == []
            assert compared.rows
    assert instants[0].tzinfo == timezone.utc

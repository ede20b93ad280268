"""Days of other lengths than 24 hours: every figure of every day is the reference's, wherever the platform is."""

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
    ("Asia/Kolkata", date(2026, 1, 1), 24),  # five and a half hours from UTC, and the end of a year
    ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
    ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
    ("America/Sao_Paulo", date(2018, 11, 4), 23),  # its midnight does not exist
    ("Africa/Cairo", date(2025, 4, 25), 23),  # nor does this one
    ("America/Santiago", date(2025, 9, 7), 23),  # nor this one
    ("America/Havana", date(2025, 11, 2), 25),  # its midnight comes twice
    ("Asia/Kathmandu", date(2024, 2, 29), 24),  # three quarters of an hour, and a leap day
    ("Pacific/Apia", date(2011, 12, 31), 24),  # the day before was left out
]


@pytest.fixture(scope="module")
def empty(server_url: URL) -> Iterator[URL]:
    """A platform with students and lessons, and nothing done yet."""
    with new_database(server_url) as url:
        platform_metadata("public").create_all(create_engine(url, poolclass=NullPool))
        yield url


def edges(day: date, zone: ZoneInfo) -> list[datetime]:
    """The instants around the midnights of a few days, where a minute decides about the day."""
    midnights = [start_of_day(day + timedelta(days=n), zone) for n in (-1, 0, 1, 2)]
    around = [timedelta(microseconds=-1), timedelta(), timedelta(minutes=29), timedelta(minutes=61)]
    return sorted(midnight + step for midnight in midnights for step in around)


@pytest.mark.parametrize(("name", "day", "hours"), CHANGES, ids=[f"{name} {day}" for name, day, _ in CHANGES])
def test_days_around_a_clock_change_equal_the_reference(empty: URL, name: str, day: date, hours: float):
    zone = ZoneInfo(name)
    assert start_of_day(day + timedelta(days=1), zone) - start_of_day(day, zone) == timedelta(hours=hours)
    moments = edges(day, zone)
    engine = create_engine(empty, poolclass=NullPool)
    with engine.begin() as connection:
        for table in ("users", "user_lesson_progress", "quiz_attempts", "exercise_submissions"):
            connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608
        for student in range(1, STUDENTS + 1):
            connection.execute(text("INSERT INTO users VALUES (:id, 'STUDENT', true)"), {"id": student})
            for number, moment in enumerate(moments[student % 4 :: 1 + student % 3]):
                row = {
                    "user": student,
                    "number": number,
                    "attempt": student * 1000 + number,
                    "moment": moment,
                    "later": moment + timedelta(minutes=student * 7),
                }
                connection.execute(
                    text("INSERT INTO user_lesson_progress VALUES (:user, :number, :moment, :later, :number)"), row
                )
                connection.execute(
                    text("INSERT INTO quiz_attempts VALUES (:attempt, :user, 1, 10 * (:number % 10), :moment)"), row
                )
                connection.execute(text("INSERT INTO exercise_submissions VALUES (:attempt, :user, :later)"), row)
    days = [day + timedelta(days=n) for n in (-1, 0, 1)]
    with installation_on(empty, timezone=name, start_date=date(2010, 1, 1)) as installation:
        run_days(installation, days[0], days[-1], "zone")
        rows = read_rows(installation.engine, "public")
        for each in days:
            compared = compare_day(installation, reference_day(rows, each, zone), each)
            assert compared.differences == []
            assert compared.rows
    assert moments[0].tzinfo == timezone.utc

"""A fingerprint changes with every change of a figure's source, and with nothing else."""

# ruff: noqa: S608  # statements of constants only

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import URL, DateTime, Engine, create_engine, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.metrics.days import LEAD_DAYS, LocalDays, start_of_day
from snapshot_pipeline.platform.fingerprints import DayRows, blocks_of, read_fingerprints, read_rows
from snapshot_pipeline.platform.reads import PlatformTables, ReadRules, UserRange, read_session
from snapshot_pipeline.platform.tables import platform_metadata
from snapshot_pipeline.postgres.urls import adbc_uri

MOMENT = datetime(2027, 1, 1, tzinfo=timezone.utc)
"""When the run began: after all rows."""
BUDAPEST = ZoneInfo("Europe/Budapest")
FIRST, LAST = date(2025, 10, 20), date(2025, 10, 30)  # with the day of 25 hours, 2025-10-26
PLATFORMS: dict[str, PlatformTables] = {}
"""By schema; reflected once."""

DAY, NEXT = date(2025, 10, 22), date(2025, 10, 23)


@pytest.fixture(scope="module", params=["timestamptz", "timestamp", "timestamptz and updated_at"])
def engine(request: pytest.FixtureRequest, server_url: URL, module_database_url: URL) -> Iterator[Engine]:
    """A platform of a handful of rows, in a schema of its own for each kind."""
    kind, _, updated = request.param.partition(" and ")
    schema = f"platform {request.param}"
    engine = create_engine(module_database_url, poolclass=NullPool)
    metadata = platform_metadata(schema)
    for table in metadata.tables.values():
        for column in table.columns:
            if isinstance(column.type, DateTime):
                column.type = DateTime(timezone=kind == "timestamptz")
    with engine.begin() as connection:
        connection.execute(text(f'CREATE SCHEMA "{schema}"'))
        metadata.create_all(connection)
        if updated:
            for table in ("user_lesson_progress", "quiz_attempts", "exercise_submissions"):
                connection.execute(text(f'ALTER TABLE "{schema}".{table} ADD updated_at timestamptz DEFAULT now()'))
        connection.execute(text(f'ALTER TABLE "{schema}".user_lesson_progress ADD note text'))
    PLATFORMS[schema] = PlatformTables.of(engine, schema)
    yield engine.execution_options(schema=schema)
    engine.dispose()


@pytest.fixture
def platform(engine: Engine) -> Iterator[Engine]:
    """With rows, which are deleted after the test."""
    execute(
        engine,
        "INSERT INTO user_lesson_progress (user_id, lesson_id, started_at, completed_at, time_spent_minutes) VALUES "
        "(1, 1, '2025-10-22 10:00', '2025-10-23 10:00', 5), (1, 2, '2025-10-22 11:00', NULL, NULL), "
        "(2, 1, '2025-10-22 12:00', NULL, 7)",
        "INSERT INTO quiz_attempts (id, user_id, quiz_id, score, completed_at) VALUES "
        "(1, 1, 1, 80, '2025-10-22 10:00'), (2, 1, 1, NULL, '2025-10-22 11:00'), (3, 2, 1, 60, '2025-10-22 11:00')",
        "INSERT INTO exercise_submissions (id, user_id, created_at) VALUES (1, 1, '2025-10-22 10:00')",
    )
    yield engine
    execute(engine, "TRUNCATE user_lesson_progress, quiz_attempts, exercise_submissions")


def execute(engine: Engine, *statements: str) -> None:
    schema = engine.get_execution_options()["schema"]
    with engine.begin() as connection:
        connection.execute(text(f"SET search_path TO \"{schema}\"; SET TIME ZONE 'UTC'"))
        for statement in statements:
            connection.execute(text(statement))


def fingerprints(
    engine: Engine,
    first: date = FIRST,
    last: date = LAST,
    zone: ZoneInfo = BUDAPEST,
    naive: str = "UTC",
    tables: PlatformTables | None = None,
) -> dict[date, str]:
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    starts = [start_of_day(day, zone) for day in [*days, last + timedelta(days=1)]]
    tables = tables or PLATFORMS[engine.get_execution_options()["schema"]]
    with read_session(adbc_uri(engine.url), tables, ReadRules(MOMENT, ZoneInfo(naive))) as reader:
        return dict(zip(days, read_fingerprints(reader, starts), strict=True))


def changed(engine: Engine, *statements: str) -> set[date]:
    """The days whose fingerprint the statements change."""
    before = fingerprints(engine)
    execute(engine, *statements)
    after = fingerprints(engine)
    return {day for day in before if before[day] != after[day]}


def test_fingerprint_counts_the_rows_of_each_day(platform: Engine):
    digests = fingerprints(platform)
    counts = [part.split(":")[0] for part in digests[DAY].split()]
    assert counts == ["1", "started=3", "completed=0", "attempts=3", "exercises=1"]
    assert digests[NEXT].startswith("1 started=0:0 completed=1:")
    assert digests[LAST] == "1 started=0:0 completed=0:0 attempts=0:0 exercises=0:0"
    assert fingerprints(platform) == digests


P, A, E = "user_lesson_progress", "quiz_attempts", "exercise_submissions"


@pytest.mark.parametrize(
    ("statement", "days"),
    [
        (f"UPDATE {P} SET time_spent_minutes = 6 WHERE lesson_id = 1 AND user_id = 1", {DAY, NEXT}),
        (f"UPDATE {P} SET completed_at = '2025-10-23 10:00:00.000001' WHERE completed_at IS NOT NULL", {DAY, NEXT}),
        (f"UPDATE {P} SET completed_at = '2025-10-25 10:00' WHERE user_id = 2", {DAY, date(2025, 10, 25)}),
        (f"UPDATE {P} SET started_at = '2025-10-21 12:00' WHERE user_id = 2", {date(2025, 10, 21), DAY}),
        (f"UPDATE {P} SET lesson_id = 9 WHERE user_id = 2", {DAY}),
        (f"UPDATE {P} SET user_id = 3 WHERE user_id = 2", {DAY}),
        (f"DELETE FROM {P} WHERE user_id = 2", {DAY}),
        (f"UPDATE {A} SET score = 80.5 WHERE id = 1", {DAY}),
        (f"UPDATE {A} SET score = 0 WHERE id = 2", {DAY}),
        (f"UPDATE {A} SET score = 'NaN' WHERE id = 1", {DAY}),
        (f"UPDATE {A} SET user_id = 3 WHERE id = 1", {DAY}),
        (f"UPDATE {A} SET id = 9 WHERE id = 1", {DAY}),
        (f"UPDATE {A} SET score = 140 - score WHERE score IS NOT NULL", {DAY}),  # 80 and 60 become 60 and 80
        (f"DELETE FROM {A} WHERE id = 3", {DAY}),
        (f"UPDATE {E} SET created_at = '2025-10-23 10:00'", {DAY, NEXT}),
        (f"INSERT INTO {E} (id, user_id, created_at) VALUES (2, 1, '2025-10-29 10:00')", {date(2025, 10, 29)}),
        (f"UPDATE {E} SET user_id = 2", {DAY}),
        (f"DELETE FROM {E}", {DAY}),
    ],
)
def test_change_of_a_row_changes_only_the_fingerprints_of_its_days(platform: Engine, statement: str, days: set[date]):
    """In the table with `updated_at` as well, which none of these statements sets."""
    assert changed(platform, statement) == days


def rows(engine: Engine) -> list[DayRows]:
    starts = [start_of_day(FIRST + timedelta(days=n), BUDAPEST) for n in range((LAST - FIRST).days + 2)]
    tables = PLATFORMS[engine.get_execution_options()["schema"]]
    with read_session(adbc_uri(engine.url), tables, ReadRules(MOMENT, ZoneInfo("UTC"))) as reader:
        return read_rows(reader, starts)


def test_digests_of_blocks_have_the_fingerprint_of_the_day(platform: Engine):
    assert [of_day.fingerprint for of_day in rows(platform)] == list(fingerprints(platform).values())


@pytest.mark.parametrize("user_id", [1, 2, -5, 10**12 + 7])
def test_changed_row_changes_the_digest_of_its_student_only(platform: Engine, user_id: int):
    execute(platform, f"INSERT INTO {E} (id, user_id, created_at) VALUES (2, {user_id}, '2025-10-22 10:00')")
    before = rows(platform)
    execute(platform, f"UPDATE {E} SET created_at = '2025-10-22 10:01' WHERE id = 2")
    after = rows(platform)
    differing = [np.flatnonzero(old.digests != new.digests).tolist() for old, new in zip(before, after, strict=True)]
    block = blocks_of(np.array([user_id])).item()
    assert differing == [[block] if FIRST + timedelta(days=n) == DAY else [] for n in range(len(before))]


def test_column_that_is_not_read_changes_nothing(platform: Engine):
    unread = [f"UPDATE {P} SET note = 'seen'", f"UPDATE {A} SET quiz_id = 7"]
    if "updated_at" in platform.get_execution_options()["schema"]:
        unread.append(f"UPDATE {P} SET updated_at = now() + interval '1 day'")
    assert changed(platform, *unread) == set()


def test_impossible_values_have_fingerprints(platform: Engine):
    huge = f"ALTER TABLE {P} ALTER time_spent_minutes TYPE numeric"
    execute(platform, huge, f"UPDATE {P} SET time_spent_minutes = 1e30 WHERE user_id = 2")
    try:
        assert changed(platform, f"UPDATE {P} SET time_spent_minutes = 1e31 WHERE user_id = 2") == {DAY}
    finally:
        execute(platform, f"DELETE FROM {P}", f"ALTER TABLE {P} ALTER time_spent_minutes TYPE integer")


def test_rows_outside_the_days_are_ignored(platform: Engine):
    outside = (
        f"INSERT INTO {E} (id, user_id, created_at) VALUES (8, 1, '2025-10-19 21:59:59'), (9, 1, '2025-10-30 23:00')"
    )
    assert changed(platform, outside) == set()


@pytest.mark.parametrize(
    ("zone", "first", "last"),
    [
        ("Europe/Budapest", date(2025, 10, 25), date(2025, 10, 27)),
        ("Europe/Budapest", date(2026, 3, 28), date(2026, 3, 30)),
        ("America/Sao_Paulo", date(2018, 11, 3), date(2018, 11, 5)),  # its midnight of the 4th does not exist
        ("Australia/Lord_Howe", date(2026, 4, 4), date(2026, 4, 6)),  # half an hour
        ("Asia/Kathmandu", date(2026, 1, 1), date(2026, 1, 3)),
    ],
)
def test_row_belongs_to_the_same_day_as_in_the_metrics(engine: Engine, zone: str, first: date, last: date):
    """A row every ten minutes around the days: each day counts as many as `metrics.days` says."""
    days = LocalDays(first, last, ZoneInfo(zone))
    moments = pd.date_range(days.start - timedelta(days=2), days.end + timedelta(days=2), freq="10min", tz="UTC")
    schema = engine.get_execution_options()["schema"]
    execute(
        engine,
        f"TRUNCATE {E}",
        f"INSERT INTO {E} (id, user_id, created_at) SELECT n, 1, '{moments[0]:%Y-%m-%d %H:%M}'::timestamp + "
        f"n * interval '10 minutes' FROM generate_series(0, {len(moments) - 1}) n",
    )
    naive_zones = ["UTC"] if "timestamptz" in schema else ["UTC", zone, "Europe/Budapest", "America/Sao_Paulo"]
    for naive in naive_zones:
        with read_session(adbc_uri(engine.url), PLATFORMS[schema], ReadRules(MOMENT, ZoneInfo(naive))) as reader:
            read = reader.exercises(UserRange(1, 1), days.window_start, days.end + timedelta(days=5))["created_at"]
        indices = days.index_of(read.to_numpy("datetime64[us]").view(np.int64))
        expected = [int((indices == LEAD_DAYS + n).sum()) for n in range(days.count)]
        digests = fingerprints(engine, first, last, ZoneInfo(zone), naive)
        assert [int(line.split("exercises=")[1].split(":")[0]) for line in digests.values()] == expected, naive
        assert sum(expected) > 300
    execute(engine, f"TRUNCATE {E}")


def test_platform_without_exercises_equals_one_with_no_submissions(platform: Engine):
    execute(platform, f"DELETE FROM {E}")
    with_none = fingerprints(platform)
    execute(platform, f"ALTER TABLE {E} RENAME TO away")
    try:
        without = PlatformTables.of(platform, platform.get_execution_options()["schema"])
        assert without.exercise_submissions is None
        assert fingerprints(platform, tables=without) == with_none
    finally:
        execute(platform, f"ALTER TABLE away RENAME TO {E}")

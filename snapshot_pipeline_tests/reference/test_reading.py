"""`read_rows` returns every row of the database unchanged."""

from __future__ import annotations

from datetime import datetime, timezone
from zoneinfo import ZoneInfo

from sqlalchemy import URL, create_engine, text

from snapshot_pipeline.platform.tables import platform_metadata
from snapshot_pipeline_tests.reference.reading import read_rows
from snapshot_pipeline_tests.reference.rows import Attempt, Exercise, Lesson, PlatformRows, Progress, Quiz, User

NOON = datetime(2026, 7, 1, 12, tzinfo=timezone.utc)


def test_every_column_is_read_unchanged(database_url: URL):
    engine = create_engine(database_url)
    metadata = platform_metadata("public")
    metadata.create_all(engine)
    rows = PlatformRows(
        users=[User(1, "STUDENT", True, "python", None)],
        lessons=[Lesson(3, "first", "python", "1", None, False)],
        user_lesson_progress=[Progress(1, 3, NOON, None, None)],
        quizzes=[Quiz(4, None, "first")],
        quiz_attempts=[Attempt(5, 1, 4, None, NOON), Attempt(6, 1, 4, 66.67, None)],
        exercise_submissions=[Exercise(7, 1, NOON)],
    )
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            connection.execute(table.insert(), [vars(row) for row in getattr(rows, table.name)])
    assert read_rows(engine, "public") == rows
    engine.dispose()


def test_naive_timestamps_use_the_given_zone_and_exercises_may_be_missing(database_url: URL):
    engine = create_engine(database_url)
    with engine.begin() as connection:
        metadata = platform_metadata("public")
        metadata.create_all(connection)
        connection.execute(text("DROP TABLE exercise_submissions"))
        connection.execute(text("ALTER TABLE user_lesson_progress ALTER started_at TYPE timestamp"))
        connection.execute(text("INSERT INTO user_lesson_progress VALUES (1, 2, '2026-07-01 14:00', NULL, 5)"))
        rows = read_rows(connection, "public", ZoneInfo("Europe/Budapest"))
    assert rows.user_lesson_progress == [Progress(1, 2, NOON, None, 5)]
    assert rows.exercise_submissions == []
    engine.dispose()

"""A read session returns the right rows, as UTC instants, of one state, and writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import adbc_driver_manager
import pandas as pd
import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.platform.reads import PlatformReader, PlatformTables, ReadRules, UserRange, read_session
from snapshot_pipeline.platform.tables import platform_metadata
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.postgres.urls import adbc_uri
from snapshot_pipeline_tests.pipeline.installations import execute, new_database

ALL_USERS = UserRange(1, 1_000)
START = datetime(2026, 3, 10, tzinfo=timezone.utc)
END = datetime(2026, 3, 11, tzinfo=timezone.utc)

ROWS = (
    """INSERT INTO users VALUES (1, 'student', true, 'python', '1'), (2, 'STUDENT', true, NULL, NULL),
       (3, 'Student', false, 'python', '1'), (4, 'teacher', true, 'python', '1'), (9, 'STUDENT', true, 'sql', '2')""",
    """INSERT INTO lessons VALUES (7, 'Loops', 'python', '1', 2, true), (8, 'Lists', 'python', '1', NULL, true),
       (5, 'Draft', 'python', '1', 1, false)""",
    """INSERT INTO user_lesson_progress VALUES
       (1, 7, '2026-03-10 00:00+00', NULL, NULL), (1, 8, '2026-03-01 00:00+00', '2026-03-10 23:59:59.999999+00', 30),
       (2, 7, '2026-03-11 00:00+00', '2026-03-11 00:00+00', 5), (9, 7, '2026-02-01 00:00+00', '2026-02-02 00:00+00', 5),
       (4, 7, '2026-03-10 12:00+00', NULL, 1)""",
    "INSERT INTO quizzes VALUES (1, 7, 'Loops'), (2, NULL, 'Entry test')",
    """INSERT INTO quiz_attempts VALUES (1, 1, 1, 80, '2026-03-10 12:00+00'), (2, 1, 1, NULL, '2026-03-10 13:00+00'),
       (3, 1, 2, 'NaN', '2026-03-10 14:00+00'), (4, 1, 1, 50, NULL), (5, 9, 1, 20, '2026-03-09 23:59:59.999999+00')""",
    """INSERT INTO quiz_attempts SELECT 100 + n, 2, 1, n, '2026-01-01 00:00+00'::timestamptz + n / 2 * interval '1 day'
       FROM generate_series(1, 30) AS n""",
    "INSERT INTO exercise_submissions VALUES (1, 1, '2026-03-10 12:00+00'), (2, 9, '2026-01-05 00:00+00')",
)


def rules(naive_zone: str = "UTC") -> ReadRules:
    """The rules of a run that began after all rows."""
    return ReadRules(datetime(2027, 1, 1, tzinfo=timezone.utc), ZoneInfo(naive_zone))


@pytest.fixture(scope="module")
def platform_url(server_url: URL) -> Iterator[URL]:
    with new_database(server_url) as url:
        platform_metadata("public").create_all(create_engine(url, poolclass=NullPool))
        execute(url, *ROWS)
        yield url


@pytest.fixture(scope="module")
def reader(platform_url: URL) -> Iterator[PlatformReader]:
    tables = PlatformTables.of(create_engine(platform_url, poolclass=NullPool), "public")
    with read_session(adbc_uri(platform_url), tables, rules()) as session:
        yield session


def test_active_students_are_found_in_any_spelling_of_their_role(reader: PlatformReader):
    assert reader.active_student_ids().tolist() == [1, 2, 9]


def test_students_have_the_first_start_of_all_time(reader: PlatformReader):
    students = reader.students(ALL_USERS, START).set_index("user_id")
    assert sorted(students.index) == [1, 2, 9]
    assert students.loc[1, "first_started_at"] == pd.Timestamp("2026-03-01", tz="UTC")
    assert str(students["first_started_at"].dtype) == "datetime64[us, UTC]"


def test_a_window_begins_with_its_first_instant_and_ends_before_its_last(reader: PlatformReader):
    progress = reader.progress(ALL_USERS, START, END)
    assert sorted(zip(progress["user_id"], progress["lesson_id"], strict=True)) == [(1, 7), (1, 8), (4, 7)]
    assert progress.set_index(["user_id", "lesson_id"])["time_spent_minutes"].to_dict() == {
        (1, 7): 0,
        (1, 8): 30,
        (4, 7): 1,
    }
    assert sorted(reader.attempts(ALL_USERS, START, END)["attempt_id"]) == [1, 2, 3]
    assert reader.exercises(ALL_USERS, START, END)["user_id"].tolist() == [1]


def test_batch_reads_no_rows_of_other_students(reader: PlatformReader):
    assert reader.progress(UserRange(2, 3), START, END).empty
    assert reader.students(UserRange(2, 8), START)["user_id"].tolist() == [2]
    assert reader.attempts(UserRange(9, 9), datetime(2026, 1, 1, tzinfo=timezone.utc), END)["attempt_id"].tolist() == [
        5
    ]


def test_nan_score_differs_from_missing_score(reader: PlatformReader):
    attempts = reader.attempts(ALL_USERS, START, END).set_index("attempt_id")
    assert attempts["is_scored"].to_dict() == {1: True, 2: False, 3: True}
    assert attempts["score"].isna().to_dict() == {1: False, 2: True, 3: True}


def test_last_ten_attempts_are_newest_and_ties_prefer_the_higher_id(reader: PlatformReader):
    before = datetime(2026, 1, 16, tzinfo=timezone.utc)  # attempts 1 to 29 of the thirty; two a day but the first
    last = reader.last_scored_attempts([2], [10], before)
    assert sorted(last["attempt_id"]) == list(range(120, 130))
    three = reader.last_scored_attempts([2], [3], before)
    assert sorted(three["attempt_id"]) == [127, 128, 129]
    assert reader.last_scored_attempts([1], [10], START).empty
    assert reader.last_scored_attempts([], [], before).empty


def test_the_last_activity_is_the_latest_of_all_kinds_before_the_window(reader: PlatformReader):
    activity = reader.last_activity([1, 2, 9], START).set_index("user_id")["last_activity_at"]
    assert activity[9] == pd.Timestamp("2026-03-09 23:59:59.999999", tz="UTC")
    assert activity[1] == pd.Timestamp("2026-03-01", tz="UTC")
    assert activity[2] == pd.Timestamp("2026-01-16", tz="UTC")


def test_last_activity_of_no_students_is_empty(reader: PlatformReader):
    assert reader.last_activity([], START).empty


def test_lesson_scores_need_a_lesson(reader: PlatformReader):
    scores = reader.lesson_scores(ALL_USERS, START, END)
    found = scores.sort_values("attempt_id")[["user_id", "attempt_id", "quiz_id", "lesson_id", "is_scored"]]
    assert found.to_numpy().tolist() == [[1, 1, 1, 7, True], [1, 2, 1, 7, False]]


def test_cohorts_count_students_starts_and_recent_exercises(reader: PlatformReader):
    cohorts = reader.cohort_starts(END, START).set_index("specialization").sort_index(na_position="last")
    assert cohorts["students"].tolist() == [1, 1, 1]  # python, sql, none; neither inactive students nor teachers
    assert cohorts["started"].tolist() == [1, 1, 0]
    assert cohorts["has_exercises"].tolist() == [True, False, False]
    assert cohorts.loc["sql", "first_started_at"] == pd.Timestamp("2026-02-01", tz="UTC")


def test_completions_of_all_time_and_published_lessons_only(reader: PlatformReader):
    completions = reader.completions(ALL_USERS, END)
    assert sorted(zip(completions["user_id"], completions["lesson_id"], strict=True)) == [(1, 8), (9, 7)]
    lessons = reader.published_lessons().set_index("lesson_id")
    assert sorted(lessons.index) == [7, 8]
    assert lessons.loc[7, "display_order"] == 2
    assert lessons["display_order"].isna().to_dict() == {7: False, 8: True}


@pytest.mark.parametrize(
    "statement", ["DELETE FROM lessons", "CREATE TABLE own (id int)", "UPDATE users SET is_active = false"]
)
def test_read_session_cannot_write(platform_url: URL, statement: str):
    tables = PlatformTables.of(create_engine(platform_url, poolclass=NullPool), "public")
    with (
        pytest.raises(adbc_driver_manager.Error, match="read-only transaction"),
        read_session(adbc_uri(platform_url), tables, rules()) as session,
    ):
        bulk.execute(session.connection, text(statement))


def test_reads_of_a_session_see_the_same_state(platform_url: URL):
    tables = PlatformTables.of(create_engine(platform_url, poolclass=NullPool), "public")
    with read_session(adbc_uri(platform_url), tables, rules()) as session:
        before = session.active_student_ids().tolist()
        execute(platform_url, "INSERT INTO users VALUES (500, 'student', true, NULL, NULL)")
        assert session.active_student_ids().tolist() == before
        assert sorted(session.students(ALL_USERS, START)["user_id"]) == before
        execute(platform_url, "DELETE FROM users WHERE id = 500")


@pytest.mark.parametrize(
    ("clock", "zone", "instant"),
    [
        ("2026-03-10 12:00", "UTC", "2026-03-10 12:00"),
        ("2026-03-10 12:00", "Europe/Budapest", "2026-03-10 11:00"),
        ("2026-07-10 12:00", "Europe/Budapest", "2026-07-10 10:00"),
        ("2026-10-25 02:30", "Europe/Budapest", "2026-10-25 00:30"),  # comes twice: the first
        ("2026-03-29 02:30", "Europe/Budapest", "2026-03-29 01:00"),  # is skipped: its end
        ("2026-03-10 12:00", "Asia/Kolkata", "2026-03-10 06:30"),
    ],
)
def test_plain_timestamps_are_read_in_the_configured_zone(server_url: URL, clock: str, zone: str, instant: str):
    with new_database(server_url) as url:
        platform_metadata("public").create_all(create_engine(url, poolclass=NullPool))
        execute(
            url,
            "ALTER TABLE exercise_submissions ALTER created_at TYPE timestamp",
            f"INSERT INTO exercise_submissions VALUES (1, 1, '{clock}')",  # noqa: S608
        )
        tables = PlatformTables.of(create_engine(url, poolclass=NullPool), "public")
        expected = pd.Timestamp(instant, tz="UTC")
        start, end = expected.to_pydatetime(), (expected + pd.Timedelta(hours=1)).to_pydatetime()
        with read_session(adbc_uri(url), tables, rules(zone)) as session:
            assert session.exercises(ALL_USERS, start, end)["created_at"].tolist() == [expected]


def test_infinity_is_far_in_the_future_and_minus_infinity_far_in_the_past(server_url: URL):
    """Arrow counts from another year than PostgreSQL does: infinity used to arrive as the year -290278."""
    with new_database(server_url) as url:
        platform_metadata("public").create_all(create_engine(url, poolclass=NullPool))
        execute(
            url,
            """INSERT INTO user_lesson_progress VALUES (1, 1, '2026-03-10', 'infinity', 1),
               (1, 2, '-infinity', '2026-03-10', 1), (1, 3, '2026-03-10', '294276-12-31', 1),
               (1, 4, '2026-03-10', NULL, 1)""",
        )
        tables = PlatformTables.of(create_engine(url, poolclass=NullPool), "public")
        with read_session(adbc_uri(url), tables, rules()) as session:
            progress = session.progress(ALL_USERS, START, END).set_index("lesson_id")
    far = pd.Timestamp(START)
    assert (progress.loc[[1, 3], "completed_at"] > far).all()
    assert progress.loc[2, "started_at"] < far
    assert pd.isna(progress.loc[4, "completed_at"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("ALTER TABLE quiz_attempts ALTER score TYPE text", "quiz_attempts: the column score is text; expected a num"),
        ("ALTER TABLE user_lesson_progress DROP started_at", "user_lesson_progress: has no column started_at"),
    ],
)
def test_unreadable_column_is_reported_before_any_student_fails(server_url: URL, change: str, message: str):
    """Each score of a text column would fail its student: a million failures instead of one line."""
    with new_database(server_url) as url:
        engine = create_engine(url, poolclass=NullPool)
        platform_metadata("public").create_all(engine)
        execute(url, change)
        with pytest.raises(SnapshotPipelineError) as error:
            PlatformTables.of(engine, "public")
    assert message in str(error.value)
    assert "`snapshot-pipeline check` lists everything" in str(error.value)

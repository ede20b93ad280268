"""What `check_platform` finds in the rows: each finding with rows that cause it, and rows just below a threshold."""

from __future__ import annotations

from datetime import date, datetime, timezone
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import URL, Engine, create_engine

from snapshot_pipeline.platform.contract import RowRules, TableState, check_platform, read_table_states
from snapshot_pipeline.platform.contract import states as table_states
from snapshot_pipeline.platform.sample import SampleOptions, load_sample
from snapshot_pipeline.platform.tables import ADVISED_INDEXES
from snapshot_pipeline_tests.platform.odd_platforms import Platform, quoted

LESSONS = "INSERT INTO lessons SELECT id, '', 'python', 'L', 1, true FROM generate_series(1, 200) AS id"


def attempts(scores: str, count: int = 30, days_ago: int = 1) -> str:
    """SQL of attempts of student 1; `scores` is an expression of `n`, from 1."""
    return (
        f"INSERT INTO quiz_attempts SELECT n, 1, 1, {scores}, now() - interval '{days_ago} days'"  # noqa: S608
        f" FROM generate_series(1, {count}) AS n"
    )


def progress(minutes: str = "30", started: str = "now() - interval '1 day'", took: str = "40 minutes") -> str:
    """SQL of 30 completed lessons of student 1; `minutes` is an expression of `n`, from 1."""
    return (
        f"INSERT INTO user_lesson_progress SELECT 1, n, {started}, {started} + interval '{took}', {minutes}"  # noqa: S608
        " FROM generate_series(1, 30) AS n"
    )


# ---- Scores ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "maximum", "severity", "words"),
    [
        ("n / 30.0", 100, "error", "they look like fractions; set SNAPSHOT_SCORE_MAXIMUM to the score of full marks"),
        ("n * 20 / 30.0", 100, "error", "(now 100; 20 would fit)"),
        ("n * 50 / 30.0", 100, "advice", "they look like points of another scale"),
        ("n * 3", 1, "error", "30 of 30 scores are above full marks and count as 100 %: they look like percent"),
        ("CASE WHEN n > 15 THEN 150 ELSE 90 END", 100, "error", "15 of 30 scores are above full marks"),
        ("CASE WHEN n > 27 THEN 110 ELSE 90 END", 100, "advice", "3 of 30 scores are above full marks"),
    ],
)
def test_scores_of_another_unit(platform: Platform, scores: str, maximum: float, severity: str, words: str) -> None:
    platform.run(attempts(scores))
    finding = platform.only(severity, "quiz_attempts", RowRules(score_maximum=maximum))
    assert words in finding.message
    assert str(finding.detail).startswith("the highest is ")


@pytest.mark.parametrize(
    ("scores", "maximum"),
    [
        ("n / 30.0", 1),
        ("n * 20 / 30.0", 20),
        ("CASE WHEN n > 28 THEN 60 ELSE 20 END", 100),  # a hard quiz
        ("CASE WHEN n > 28 THEN 110 ELSE 90 END", 100),  # extra credit
        ("100.00000000000001", 100),
        ("CASE WHEN n % 2 = 0 THEN 0 ELSE 80 END", 100),
        ("0", 100),
        (
            "(CASE WHEN n = 1 THEN NULL WHEN n = 2 THEN 'NaN' WHEN n = 3 THEN 'inf' ELSE '70' END)::double precision",
            100,
        ),
    ],
)
def test_plausible_scores(platform: Platform, scores: str, maximum: float) -> None:
    platform.run(attempts(scores))
    assert platform.check(rules=RowRules(score_maximum=maximum)) == []


def test_few_scores_say_nothing(platform: Platform) -> None:
    platform.run(attempts("0.5", count=29))
    assert platform.check() == []


# ---- Minutes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minutes", "took", "severity", "words"),
    [
        ("1800", "40 minutes", "error", "they look like seconds, so whole days count as study"),
        ("1800 * 1000", "40 minutes", "error", "through a view with time_spent_minutes / 60000"),
        ("300", "9 days", "advice", "the median time_spent_minutes of 30 lessons is 300: they look like seconds"),
    ],
)
def test_minutes_of_another_unit(platform: Platform, minutes: str, took: str, severity: str, words: str) -> None:
    platform.run(LESSONS, progress(minutes, "now() - interval '20 days'", took))
    assert words in platform.only(severity, "user_lesson_progress").message


@pytest.mark.parametrize("minutes", ["299", "CASE WHEN n > 16 THEN 9000 ELSE 20 END", "0", "-5", "NULL"])
def test_plausible_minutes(platform: Platform, minutes: str) -> None:
    platform.run(LESSONS, progress(minutes))
    assert platform.check() == []


# ---- Students ----------------------------------------------------------------------------------------------------


def test_roles_that_match_nobody_are_listed(platform: Platform) -> None:
    platform.run(
        "UPDATE users SET role = 'Learner'",
        "INSERT INTO users VALUES (2, 'Learner', true), (3, 'ADMIN', true)",
    )
    message = platform.only("error", "users").message
    assert "no user has a role of SNAPSHOT_STUDENT_ROLES=student" in message
    assert "the roles there are: Learner (2), ADMIN (1); name those of students in SNAPSHOT_STUDENT_ROLES" in message
    assert platform.check(rules=RowRules(student_roles=("learner ", "pupil"))) == []


@pytest.mark.parametrize("role", ["STUDENT", "Student", " student "])
def test_roles_are_compared_trimmed_and_in_any_case(platform: Platform, role: str) -> None:
    platform.run("DELETE FROM users", f"INSERT INTO users VALUES (1, '{role}', true)")  # noqa: S608
    assert platform.check() == []


def test_platform_without_users_or_active_students_is_advice(platform: Platform) -> None:
    platform.run("UPDATE users SET is_active = false")
    assert "there are students (SNAPSHOT_STUDENT_ROLES=student), but none is active" in (
        platform.only("advice", "users").message
    )
    platform.run("DELETE FROM users")
    assert "there are no users yet" in platform.only("advice", "users").message


def students(level: str, first: int, last: int) -> str:
    return f"INSERT INTO users SELECT n, 'student', true, 'python', '{level}' FROM generate_series({first}, {last}) n"  # noqa: S608


def test_cohorts_that_match_no_lesson(platform: Platform) -> None:
    platform.run(LESSONS, students("L", 2, 10), students("l ", 11, 12), students("M", 13, 18))
    message = platform.only("advice", "users").message
    assert message.startswith("8 active students have a current_specialization and current_level that no published")
    assert "2 of them would match after trimming and in lower case ('python' / 'l ' against 'python / L')" in message
    platform.run(students("M", 19, 19))
    platform.only("error", "users")
    platform.run("DELETE FROM users WHERE id BETWEEN 11 AND 12")
    assert "the most frequent is 'python' / 'M': correct the values" in platform.only("advice", "users").message


def test_matching_cohorts_and_students_of_none_are_no_findings(platform: Platform) -> None:
    platform.run(LESSONS, students("L", 2, 17), "INSERT INTO users VALUES (40, 'teacher', true, 'x', 'y')")
    platform.run("INSERT INTO users SELECT n, 'student', true, 'python', '' FROM generate_series(18, 30) n")
    assert platform.check() == []
    platform.run("UPDATE users SET current_level = NULL WHERE id = 16")
    assert "15 of 30 active students have no current_specialization" in platform.only("advice", "users").message


# ---- Times -------------------------------------------------------------------------------------------------------


def test_completed_lessons_without_a_start_are_a_note_unless_they_are_the_rule(platform: Platform) -> None:
    platform.run(LESSONS, progress(), "UPDATE user_lesson_progress SET started_at = NULL WHERE lesson_id <= 14")
    finding = platform.only("note", "user_lesson_progress")
    assert finding.message.startswith("14 of 30 completed lessons were never started")
    assert str(finding.detail).startswith("e.g. user_id 1, lesson_id 1, completed_at ")
    platform.run("UPDATE user_lesson_progress SET started_at = NULL WHERE lesson_id <= 15")
    platform.only("advice", "user_lesson_progress")


def test_times_before_2000_are_a_note(platform: Platform) -> None:
    platform.run(LESSONS, progress())
    platform.run("UPDATE user_lesson_progress SET completed_at = to_timestamp(0) WHERE lesson_id = 7")
    finding = platform.only("note", "user_lesson_progress")
    assert finding.message.startswith("1 row has a started_at or completed_at before 2000")
    assert "completed_at 1970-01-01" in str(finding.detail)
    platform.run("UPDATE user_lesson_progress SET completed_at = '2000-01-01 00:00Z' WHERE lesson_id = 7")
    assert platform.check() == []


def test_times_in_the_future_are_a_note(platform: Platform) -> None:
    platform.run("INSERT INTO quiz_attempts VALUES (1, 1, 1, 50, now() + interval '1 hour'), (2, 1, 1, 50, now())")
    future, timeless = platform.check()
    assert (future.severity, timeless.severity) == ("note", "note")
    assert future.message.startswith("1 row has a completed_at in the future, which counts as null until then")
    assert timeless.message.startswith("1 row has no valid completed_at and is ignored (0 null)")


@pytest.mark.parametrize(("hours", "severity"), [(13, "advice"), (15, "note")])
def test_times_without_zone_slightly_in_the_future_ask_for_the_zone(
    platform: Platform, hours: int, severity: str
) -> None:
    platform.run(
        "ALTER TABLE exercise_submissions ALTER created_at TYPE timestamp",
        f"INSERT INTO exercise_submissions SELECT 1, 1, now() AT TIME ZONE 'UTC' + interval '{hours} hours'",
    )
    finding = platform.check()[0]
    assert finding.severity == severity
    assert ("set SNAPSHOT_NAIVE_TIMEZONE" in finding.message) is (severity == "advice")
    found = platform.check(rules=RowRules(naive_zone=ZoneInfo("Etc/GMT-14")))  # 14 hours ahead of UTC
    assert bool(found) is (hours > 14)


def test_rows_without_any_valid_time_are_counted(platform: Platform) -> None:
    platform.run(LESSONS, "INSERT INTO user_lesson_progress VALUES (1, 1, NULL), (1, 2, NULL), (1, 3, to_timestamp(0))")
    early, timeless = platform.check()
    assert "before 2000" in early.message
    assert timeless.message.startswith("3 rows have no valid started_at or completed_at and are ignored (2 null)")
    assert timeless.severity == "note"


def test_infinite_and_ancient_times_are_read(platform: Platform) -> None:
    platform.run(
        LESSONS,
        "INSERT INTO user_lesson_progress VALUES (1, 1, '-infinity', 'infinity'), (1, 2, '0100-01-01 BC', now())",
    )
    assert {finding.severity for finding in platform.check()} == {"note"}


# ---- Ids, window, all together -----------------------------------------------------------------------------------


def test_a_null_id_is_an_error(platform: Platform) -> None:
    platform.run(
        "ALTER TABLE lessons DROP CONSTRAINT lessons_pkey",
        "ALTER TABLE lessons ALTER id DROP NOT NULL",
        "CREATE UNIQUE INDEX ON lessons (id)",
    )
    assert platform.check() == []
    platform.run("INSERT INTO lessons VALUES (NULL, 'a title', 'python', 'L', 1, true)")
    assert platform.only("error", "lessons").message.startswith("1 row has no id (NULL)")


@pytest.mark.parametrize("type_name", ["text", "jsonb", "bytea"])
def test_columns_of_odd_types_are_findings_and_never_raise(platform: Platform, type_name: str) -> None:
    platform.run(LESSONS, progress(), attempts("50"), "ALTER TABLE users DROP CONSTRAINT users_pkey")
    times = ("user_lesson_progress", "started_at"), ("quiz_attempts", "completed_at")
    others = ("quiz_attempts", "score"), ("users", "role"), ("users", "is_active"), ("users", "current_level")
    for table, column in (*times, *others, ("user_lesson_progress", "time_spent_minutes"), ("lessons", "level_id")):
        platform.run(f"ALTER TABLE {table} ALTER {column} DROP NOT NULL, ALTER {column} TYPE {type_name} USING NULL")
        assert all("cannot be read" not in finding.message for finding in platform.check(rules=RowRules(recent_days=9)))


def test_only_recent_rows_are_checked_unless_all_are(platform: Platform) -> None:
    platform.run(attempts("n / 30.0", days_ago=61))
    assert platform.check(rules=RowRules(recent_days=60)) == []
    assert "30 scores above 0 of the last 61 days" in platform.only(
        "error", "quiz_attempts", RowRules(recent_days=62)
    ).message.replace("62", "61")
    platform.only("error", "quiz_attempts")


@pytest.fixture(scope="module")
def sample_engine(module_database_url: URL) -> Engine:
    engine = create_engine(module_database_url)
    options = SampleOptions(300, 60, 4, _today(), 0, ZoneInfo("UTC"))
    load_sample(options, engine.url, "public")
    return engine


def _today() -> date:
    return datetime.now(timezone.utc).date()


@pytest.mark.parametrize("recent_days", [None, 60])
def test_sample_without_invalid_rows_has_no_findings(sample_engine: Engine, recent_days: int | None) -> None:
    assert check_platform(sample_engine, "public", rules=RowRules(recent_days=recent_days)) == []


def test_state_has_the_estimate_and_the_newest_valid_time(platform: Platform) -> None:
    platform.run(attempts("50"), "INSERT INTO quiz_attempts VALUES (99, 1, 1, 50, now() + interval '2 days')")
    platform.run("ANALYZE quiz_attempts", "DROP TABLE exercise_submissions")
    states = read_table_states(platform.engine, platform.schema, RowRules())
    assert set(states) == {"users", "lessons", "user_lesson_progress", "quizzes", "quiz_attempts"}
    assert states["quiz_attempts"].row_estimate == 31
    newest = states["quiz_attempts"].newest
    assert newest is not None
    assert newest.date() < _today()
    assert (states["user_lesson_progress"].newest, states["users"].row_estimate) == (None, None)


def test_the_newest_time_is_read_by_an_index_or_not_at_all(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    platform.run(attempts("50"), "ANALYZE quiz_attempts")
    monkeypatch.setattr(table_states, "MOST_COST", 1.0)  # as if a page were a large table

    def attempts_state() -> TableState:
        return read_table_states(platform.engine, platform.schema, RowRules())["quiz_attempts"]

    assert attempts_state().newest is not None
    assert not attempts_state().is_newest_unread
    platform.run(*(f"DROP INDEX {quoted(index.name)}" for index in ADVISED_INDEXES if index.table == "quiz_attempts"))
    assert attempts_state() == TableState(30, None, is_newest_unread=True)

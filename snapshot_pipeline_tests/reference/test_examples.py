"""The reference against the worked examples of `metrics.md`, so that it cannot share an error with the tested code."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest

from snapshot_pipeline_tests.reference.days import end_of_day, local_day, start_of_day
from snapshot_pipeline_tests.reference.recommendations import Recommendation, WeekRules, reference_week
from snapshot_pipeline_tests.reference.rows import Attempt, Exercise, Lesson, PlatformRows, Progress, Quiz, User
from snapshot_pipeline_tests.reference.snapshots import (
    Snapshot,
    learning_pace,
    pace,
    quiz_average,
    reference_day,
    rounded,
    window_of,
)

UTC = ZoneInfo("UTC")
DAY = date(2026, 3, 10)
STUDENT = User(1, "Student", True, "python", "1")


def noon(days_ago: int, hours: int = 0) -> datetime:
    return datetime(2026, 3, 10, 12, tzinfo=timezone.utc) - timedelta(days=days_ago) + timedelta(hours=hours)


def only_snapshot(rows: PlatformRows, day: date = DAY) -> Snapshot:
    result = reference_day(rows, day, UTC)
    assert result.failures == []
    return result.published[0]


def test_pace_of_the_first_example_after_a_hundred_days():
    assert window_of(DAY - timedelta(days=100), DAY).n == 30
    score = rounded(pace(lessons=20, days=12, n=30, average=Fraction(80)))
    assert (score, learning_pace(score)) == (Decimal("68.67"), "FAST")


def test_pace_of_the_second_example_after_four_days():
    assert window_of(DAY - timedelta(days=4), DAY).n == 7
    score = rounded(pace(lessons=5, days=3, n=7, average=None))
    assert (score, learning_pace(score)) == (Decimal("47.86"), "MEDIUM")


def test_the_second_example_computed_from_rows():
    started = [Progress(1, lesson, noon(4), noon(days_ago), 10) for lesson, days_ago in enumerate([4, 4, 3, 3, 0])]
    snapshot = only_snapshot(PlatformRows(users=[STUDENT], user_lesson_progress=started))
    assert snapshot == Snapshot(1, DAY, 47.86, "MEDIUM", None, 1, 0, 0, 0, DAY, 0)


def test_quiz_average_of_the_example_from_three_scores():
    average = quiz_average([Fraction(90), Fraction(60), Fraction(30)])
    assert average is not None
    assert rounded(average) == Decimal("67.06")


def test_the_average_ignores_the_eleventh_and_ungraded_attempts():
    attempts = [Attempt(id_, 1, 1, 50.0, noon(3)) for id_ in range(10)]
    attempts += [Attempt(99, 1, 1, 0.0, noon(4)), Attempt(100, 1, 1, None, noon(0))]
    rows = PlatformRows(
        users=[STUDENT], user_lesson_progress=[Progress(1, 1, noon(9), None, 1)], quiz_attempts=attempts
    )
    snapshot = only_snapshot(rows)
    assert (snapshot.quiz_average, snapshot.quizzes_completed_count) == (50.0, 1)


def test_the_higher_id_is_newer_among_attempts_at_the_same_time():
    attempts = [Attempt(2, 1, 1, 100.0, noon(1)), Attempt(1, 1, 1, 0.0, noon(1))]
    rows = PlatformRows(
        users=[STUDENT], user_lesson_progress=[Progress(1, 1, noon(9), None, 1)], quiz_attempts=attempts
    )
    assert only_snapshot(rows).quiz_average == float(rounded(Fraction("40") / Fraction("0.65")))


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0.005", "0.01"), ("39.995", "40.00"), ("39.99499999", "39.99"), ("100", "100.00"), ("2.675", "2.68")],
)
def test_half_a_cent_is_rounded_away_from_zero(value, expected):
    assert rounded(Fraction(value)) == Decimal(expected)


@pytest.mark.parametrize(
    ("score", "label"), [("80", "ACCELERATED"), ("79.99", "FAST"), ("60", "FAST"), ("40", "MEDIUM"), ("39.99", "SLOW")]
)
def test_each_label_begins_at_its_threshold(score, label):
    assert learning_pace(Decimal(score)) == label


def test_minutes_count_on_the_day_the_lesson_was_started():
    rows = PlatformRows(
        users=[STUDENT],
        user_lesson_progress=[Progress(1, 1, noon(0), None, 7), Progress(1, 2, noon(0), noon(0, 1), None)],
        exercise_submissions=[Exercise(5, 1, noon(0)), Exercise(6, 1, noon(-1))],
    )
    snapshot = only_snapshot(rows)
    assert (snapshot.time_spent_minutes_today, snapshot.lessons_completed_count) == (7, 1)
    assert (snapshot.exercises_submitted_count, snapshot.last_activity_date) == (1, DAY)


@pytest.mark.parametrize(
    "user", [User(1, "student", False, None, None), User(1, "teacher", True, None, None)], ids=["inactive", "teacher"]
)
def test_inactive_students_and_teachers_have_no_snapshot(user):
    rows = PlatformRows(users=[user], user_lesson_progress=[Progress(1, 1, noon(0), None, 1)])
    assert reference_day(rows, DAY, UTC).published == []


def test_a_start_at_the_next_midnight_gives_no_snapshot_yet():
    rows = PlatformRows(users=[STUDENT], user_lesson_progress=[Progress(1, 1, end_of_day(DAY, UTC), None, 1)])
    assert reference_day(rows, DAY, UTC).published == []
    assert len(reference_day(rows, DAY + timedelta(days=1), UTC).published) == 1


def issues(rows: PlatformRows) -> list[tuple[str, str, date]]:
    (student,) = rows.active_students(UTC)
    return [(issue.source_key, issue.issue, issue.day) for issue in student.issues]


def test_one_lesson_twice_counts_once_and_is_listed():
    rows = PlatformRows(
        users=[STUDENT],
        user_lesson_progress=[
            Progress(1, 7, noon(3), None, 90),
            Progress(1, 7, noon(0, 1), noon(0), -3),
            Progress(1, 7, noon(5), datetime(1970, 1, 1, tzinfo=timezone.utc), 2),
        ],
    )
    snapshot = only_snapshot(rows)
    assert (snapshot.lessons_completed_count, snapshot.time_spent_minutes_today) == (1, 90)
    assert rows.active_students(UTC)[0].first_started_on == DAY
    assert issues(rows) == [
        ("1/7", "negative_minutes", DAY),
        ("1/7", "completed_before_started", DAY),
        ("1/7", "duplicate_progress", DAY),
        ("1/7", "implausible_timestamp", DAY - timedelta(days=5)),
    ]


def test_times_after_the_moment_do_not_exist():
    rows = PlatformRows(
        users=[STUDENT],
        user_lesson_progress=[Progress(1, 1, noon(0), noon(0, 1), 600), Progress(1, 2, noon(0, 1), None, 5)],
        quiz_attempts=[Attempt(1, 1, 1, 50.0, noon(0)), Attempt(2, 1, 1, 90.0, noon(0, 1))],
        exercise_submissions=[Exercise(1, 1, noon(0, 1))],
        moment=noon(0),
    )
    assert only_snapshot(rows) == Snapshot(1, DAY, 15.0, "SLOW", 50.0, 0, 600, 1, 0, DAY, 0)
    assert issues(rows) == [("1/1", "future_timestamp", DAY)]


def test_minutes_end_with_the_day_of_the_start():
    rows = PlatformRows(
        users=[STUDENT],
        user_lesson_progress=[Progress(1, n, noon(0, n), None, 10_080 + n) for n in range(2)],
    )
    assert only_snapshot(rows).time_spent_minutes_today == 720 + 660
    assert issues(rows) == [("1/1", "implausible_minutes", DAY)]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("UTC", date(2026, 3, 29), 24),
        ("Europe/Budapest", date(2026, 3, 29), 23),
        ("Europe/Budapest", date(2026, 10, 25), 25),
        ("America/New_York", date(2026, 3, 8), 23),
        ("America/Sao_Paulo", date(2017, 10, 15), 23),
        ("America/Sao_Paulo", date(2018, 2, 17), 25),
        ("America/Havana", date(2025, 11, 2), 25),
        ("America/Havana", date(2026, 3, 8), 23),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
        ("Asia/Kolkata", date(2026, 4, 5), 24),
        ("Pacific/Apia", date(2011, 12, 30), 0),
    ],
)
def test_the_length_of_a_day_follows_clock_changes(zone, day, hours):
    length = end_of_day(day, ZoneInfo(zone)) - start_of_day(day, ZoneInfo(zone))
    assert length == timedelta(hours=hours)


@pytest.mark.parametrize("zone", ["Europe/Budapest", "America/Sao_Paulo", "America/Havana", "America/St_Johns"])
def test_every_instant_lies_within_its_local_day(zone):
    for quarter in range(0, 366 * 24 * 4, 7):
        instant = datetime(2010, 1, 1, tzinfo=timezone.utc) + timedelta(minutes=15 * quarter + 1)
        day = local_day(instant, ZoneInfo(zone))
        assert start_of_day(day, ZoneInfo(zone)) <= instant < end_of_day(day, ZoneInfo(zone))


WEEK = date(2026, 3, 2)  # its Sunday, S, is the 8th


def test_a_student_without_any_start_gets_start_with_the_first_lesson():
    lessons = [
        Lesson(3, "third", "python", "1", None, True),
        Lesson(2, "second", "python", "1", 1, True),
        Lesson(1, "draft", "python", "1", 0, False),
        Lesson(9, "other level", "python", "2", 0, True),
    ]
    others = [User(n, "student", True, "python", "1") for n in range(2, 11)]
    nobody = PlatformRows(users=[STUDENT, *others], lessons=lessons)
    assert reference_week(nobody, WEEK, UTC) == []  # the cohort has not begun
    a_tenth = PlatformRows(
        users=[STUDENT, *others], lessons=lessons, user_lesson_progress=[Progress(10, 2, noon(2), noon(2), 1)]
    )
    first = {"lesson_id": 2, "lesson_title": "second"}
    assert reference_week(a_tenth, WEEK, UTC) == [
        *(Recommendation(n, "START_LEARNING", 80, first) for n in range(1, 10)),
        Recommendation(10, "CONTINUE_LEARNING", 70, {"lesson_id": 3, "lesson_title": "third"}),
    ]


@pytest.mark.parametrize(("days_ago", "has_begun"), [(30, True), (29, False)])
def test_a_cohort_has_begun_28_days_after_its_first_start(days_ago: int, has_begun: bool):
    users = [STUDENT, *(User(n, "student", True, "python", "1") for n in range(2, 30))]
    rows = PlatformRows(users=users, user_lesson_progress=[Progress(2, 1, noon(days_ago), None, 1)])
    assert bool(reference_week(rows, WEEK, UTC)) is has_begun


def test_one_busy_week_meets_three_rules_and_dismissals_are_left_out():
    rows = PlatformRows(
        users=[STUDENT],
        lessons=[Lesson(n, f"lesson {n}", "python", "1", n, n != 8) for n in range(1, 9)],
        user_lesson_progress=[
            Progress(1, 1, noon(50), noon(2), 1),
            *(Progress(1, n, noon(n), noon(n), 200) for n in (2, 3, 4)),  # 6 to 8 March, at noon
            *(Progress(1, n, noon(n), noon(n), 1) for n in (5, 6)),
        ],
        quizzes=[Quiz(n, lesson_id, None) for n, lesson_id in enumerate([4, 5, None, 6, 7, 5, 8, 99], start=10)],
        quiz_attempts=[
            Attempt(1, 1, 10, 10.0, noon(20)),
            Attempt(2, 1, 10, 60.0, noon(19)),  # passed since
            Attempt(3, 1, 11, 59.99, noon(19)),
            Attempt(4, 1, 12, 0.0, noon(19)),  # no lesson
            Attempt(5, 1, 13, 59.99, noon(19)),
            Attempt(6, 1, 14, 0.0, noon(32)),  # the day before S-29
            Attempt(7, 1, 15, 95.0, noon(4)),  # another quiz of lesson 5
            Attempt(8, 1, 16, 0.0, noon(4)),  # not published
            Attempt(9, 1, 17, 0.0, noon(4)),  # the lesson does not exist
            Attempt(10, 1, 13, float("nan"), noon(3)),  # not graded
        ],
        exercise_submissions=[Exercise(1, 1, noon(20))],
    )
    assert reference_week(rows, WEEK, UTC) == [
        Recommendation(1, "TAKE_BREAK", 95, {"total_minutes": 600}),
        Recommendation(1, "REVIEW_LESSON", 85, {"lesson_ids": [5, 6], "scores": [59.99, 59.99]}),
    ]
    dismissed = WeekRules(dismissals={(1, "TAKE_BREAK"), (2, "PRACTICE_MORE")}, dismissed_lessons={(1, 5)})
    assert reference_week(rows, WEEK, UTC, dismissed) == [
        Recommendation(1, "REVIEW_LESSON", 85, {"lesson_ids": [6], "scores": [59.99]}),
        Recommendation(1, "PRACTICE_MORE", 75, {"lessons_done": 6, "exercises_done": 0}),
        Recommendation(1, "CONTINUE_LEARNING", 70, {"lesson_id": 7, "lesson_title": "lesson 7"}),
    ]


def test_minutes_are_at_most_those_up_to_the_end_of_the_day_and_the_length_of_the_day():
    late = datetime(2026, 3, 8, 23, 50, 30, tzinfo=timezone.utc)
    rows = PlatformRows(
        users=[STUDENT],
        user_lesson_progress=[
            Progress(1, 1, late, None, 5_000),  # 9 whole minutes are left of the day
            Progress(1, 2, noon(3), None, 100),
            *(Progress(1, 10 + n, noon(4, -12), None, 900) for n in range(3)),  # 2,700 minutes in a day of 1,440
            Progress(1, 3, noon(5), None, 100),  # the fourth day
        ],
    )
    assert reference_week(rows, WEEK, UTC) == [Recommendation(1, "TAKE_BREAK", 95, {"total_minutes": 1_549})]


def test_resume_learning_after_fourteen_days_carries_the_next_lesson():
    lessons = [Lesson(1, "first", "python", "1", 1, True), Lesson(2, "second", "python", "1", 2, True)]
    progress = [Progress(1, 1, noon(20), noon(18), 1), Progress(1, 2, noon(17), None, 1)]
    rows = PlatformRows(users=[STUDENT], lessons=lessons, user_lesson_progress=progress)
    second = {"lesson_id": 2, "lesson_title": "second"}
    assert reference_week(rows, WEEK, UTC) == [
        Recommendation(1, "RESUME_LEARNING", 90, {"days_inactive": 15, **second})
    ]
    active_since = PlatformRows(
        users=[STUDENT],
        lessons=lessons,
        user_lesson_progress=progress,
        exercise_submissions=[Exercise(1, 1, noon(15))],  # 13 days before the Sunday
    )
    assert reference_week(active_since, WEEK, UTC) == [Recommendation(1, "CONTINUE_LEARNING", 70, second)]

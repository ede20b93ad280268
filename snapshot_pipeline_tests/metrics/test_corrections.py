"""Each kind of invalid row of docs/metrics.md has the right value, and is listed where the page says so."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from snapshot_pipeline.metrics.days import LocalDays
from snapshot_pipeline.metrics.snapshot import compute_snapshots
from snapshot_pipeline_tests.reference.history_frames import full_history
from snapshot_pipeline_tests.reference.rows import Attempt, Exercise, PlatformRows, Progress, User

ZONE = ZoneInfo("Europe/Budapest")
DAY = date(2026, 3, 10)
START = datetime(2026, 3, 9, 23, tzinfo=timezone.utc)
NOON = START + timedelta(hours=12)
END = START + timedelta(days=1)
MOMENT = END + timedelta(hours=8)
MINUTE, TICK = timedelta(minutes=1), timedelta(microseconds=1)
EARLIEST = datetime(2000, 1, 1, tzinfo=timezone.utc)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
LONG_AGO = Progress(1, 100, NOON - timedelta(days=50), None, 0)


def computed(
    *progress: Progress,
    attempts: list[Attempt] | None = None,
    exercises: list[Exercise] | None = None,
    day: date = DAY,
    score_maximum: float = 100,
    moment: datetime = MOMENT,
) -> tuple[dict[str, Any] | None, list[tuple[str, str, date]]]:
    """Return the snapshot of the only student, None if none is due, and key, kind and day of the listed rows."""
    rows = PlatformRows(
        users=[User(1, "student", True, None, None)],
        user_lesson_progress=list(progress),
        quiz_attempts=attempts or [],
        exercise_submissions=exercises or [],
        moment=moment,
        score_maximum=score_maximum,
    )
    batch = compute_snapshots(full_history(rows, ZONE), LocalDays(day, day, ZONE))
    assert batch.failures.empty
    snapshots = batch.published.to_dict("records")
    issues = zip(batch.issues["source_key"], batch.issues["issue"], batch.issues["day"].dt.date, strict=True)
    return (snapshots[0] if snapshots else None), sorted(issues)


def figures(*progress: Progress, **others: Any) -> tuple[int, int, date]:
    """Return lessons, minutes and the date of the last activity."""
    snapshot, _ = computed(*progress, **others)
    assert snapshot is not None
    return (
        snapshot["lessons_completed_count"],
        snapshot["time_spent_minutes_today"],
        snapshot["last_activity_date"].date(),
    )


@pytest.mark.parametrize(
    ("score", "average", "issue"),
    [
        (100.00000000000001, 100.0, None),
        (110.0, 100.0, None),
        (1e308, 100.0, None),
        (-0.01, 0.0, "negative_score"),
        (-1e308, 0.0, "negative_score"),
        (float("nan"), None, "non_finite_score"),
        (float("inf"), None, "non_finite_score"),
        (float("-inf"), None, "non_finite_score"),
        (None, None, None),
        (0.0, 0.0, None),
    ],
)
def test_scores_are_limited_to_0_to_100_and_not_graded_if_infinite(score, average, issue):
    snapshot, issues = computed(LONG_AGO, attempts=[Attempt(5, 1, 1, score, NOON)])
    assert snapshot is not None
    assert (None if snapshot["quiz_average"] != snapshot["quiz_average"] else snapshot["quiz_average"]) == average
    assert snapshot["quizzes_completed_count"] == 1
    assert issues == ([("5", issue, DAY)] if issue else [])


@pytest.mark.parametrize(
    ("maximum", "score", "average"),
    [(1, 0.825, 82.5), (1, 1.1, 100.0), (20, 13, 65.0), (20, -1, 0.0), (0.3, 0.1, 33.33)],
)
def test_a_score_is_a_percentage_of_full_marks(maximum, score, average):
    snapshot, _ = computed(LONG_AGO, attempts=[Attempt(5, 1, 1, score, NOON)], score_maximum=maximum)
    assert snapshot is not None
    assert snapshot["quiz_average"] == average


@pytest.mark.parametrize("minutes", [-1, -(2**31)])
def test_negative_minutes_are_0(minutes):
    row = Progress(1, 1, NOON, None, minutes)
    assert figures(row, Progress(1, 2, NOON, None, 7)) == (0, 7, DAY)
    assert computed(row)[1] == [("1/1", "negative_minutes", DAY)]


@pytest.mark.parametrize(
    ("minutes", "start", "counted", "issues"),
    [
        (720, NOON, 720, []),
        (721, NOON, 720, []),
        (10_080, NOON, 720, []),
        (10_081, NOON, 720, [("1/1", "implausible_minutes", DAY)]),
        (2**31 - 1, NOON, 720, [("1/1", "implausible_minutes", DAY)]),
        (10, END - 10 * MINUTE, 10, []),
        (10, END - 10 * MINUTE + TICK, 9, []),
        (10, END - TICK, 0, []),
        (1_441, START, 1_440, []),
    ],
)
def test_minutes_end_with_the_day_of_the_start(minutes, start, counted, issues):
    row = Progress(1, 1, start, None, minutes)
    assert figures(row) == (0, counted, DAY)
    assert computed(row)[1] == issues


@pytest.mark.parametrize(("day", "length"), [(DAY, 1_440), (date(2026, 3, 29), 1_380), (date(2025, 10, 26), 1_500)])
def test_the_minutes_of_a_day_are_at_most_its_length(day, length):
    start = datetime(day.year, day.month, day.day, tzinfo=ZONE).astimezone(timezone.utc)
    lessons = [Progress(1, n, start, None, 1_000) for n in range(3)]
    after = start + timedelta(days=2)
    assert figures(*lessons, day=day, moment=after)[1] == length
    assert computed(*lessons, day=day, moment=after)[1] == []


@pytest.mark.parametrize(
    ("difference", "issues"),
    [
        (TICK, []),
        (5 * MINUTE, []),
        (5 * MINUTE + TICK, [("1/1", "completed_before_started", DAY)]),
    ],
)
def test_a_lesson_completed_before_its_start_begins_with_its_completion(difference, issues):
    row = Progress(1, 1, NOON + difference, NOON, 720)
    assert figures(row) == (1, 720, DAY)
    assert computed(row)[1] == issues


def test_a_lesson_opened_again_is_activity_on_that_day_and_not_a_start():
    again = Progress(1, 1, NOON, NOON - timedelta(days=3), 40)
    assert figures(again) == (0, 0, DAY)
    assert figures(again, day=DAY - timedelta(days=3)) == (1, 40, DAY - timedelta(days=3))
    assert computed(again)[1] == [("1/1", "completed_before_started", DAY - timedelta(days=3))]


def test_a_lesson_completed_and_never_started_is_a_start():
    completed = Progress(1, 1, None, NOON, 20)
    assert figures(completed) == (1, 20, DAY)
    assert computed(completed)[1] == []
    assert computed(completed, day=DAY - timedelta(days=1))[0] is None


def test_a_lesson_that_is_there_twice_counts_once_as_completed():
    rows = [
        Progress(1, 1, NOON - timedelta(days=2), None, 90),  # not completed: its start counts for nothing
        Progress(1, 1, NOON, NOON + 30 * MINUTE, 10),
        Progress(1, 1, NOON, NOON + 20 * MINUTE, 5),
    ]
    for order in (rows, rows[::-1]):
        assert figures(*order) == (1, 90, DAY)
        assert computed(*order)[1] == [("1/1", "duplicate_progress", DAY)]
        assert computed(*order, day=DAY - timedelta(days=1))[0] is None


def test_a_row_without_a_valid_time_is_no_duplicate():
    counted = Progress(1, 1, NOON, None, 10)
    assert computed(counted, Progress(1, 1, None, None, 600), Progress(1, 1, EPOCH, None, 600))[1] == []
    assert figures(counted, Progress(1, 1, None, None, 600)) == (0, 10, DAY)


@pytest.mark.parametrize(
    ("started_at", "completed_at", "expected", "issue"),
    [
        (NOON, MOMENT, (0, 5, DAY), None),
        (NOON, MOMENT + TICK, (0, 5, DAY), "future_timestamp"),
        (MOMENT + TICK, NOON, (1, 5, DAY), "future_timestamp"),
        (NOON, EPOCH, (0, 5, DAY), "implausible_timestamp"),
        (EPOCH, NOON, (1, 5, DAY), "implausible_timestamp"),
        (EARLIEST - TICK, NOON, (1, 5, DAY), "implausible_timestamp"),
    ],
)
def test_a_time_that_cannot_be_is_null(started_at, completed_at, expected, issue):
    row = Progress(1, 1, started_at, completed_at, 5)
    assert figures(row) == expected
    assert computed(row)[1] == ([("1/1", issue, DAY)] if issue else [])


def test_the_first_instant_of_2000_is_a_valid_time():
    assert figures(Progress(1, 1, EARLIEST, NOON, 5)) == (1, 0, DAY)


@pytest.mark.parametrize("at", [MOMENT + TICK, EARLIEST - TICK, EPOCH])
def test_a_row_without_a_valid_time_is_ignored_and_not_listed(at):
    snapshot, issues = computed(
        LONG_AGO,
        Progress(1, 1, at, None, -5),
        Progress(1, 2, at, at, 20_000),
        attempts=[Attempt(1, 1, 1, -4.0, at)],
        exercises=[Exercise(1, 1, at)],
        day=DAY + timedelta(days=1),
    )
    assert snapshot is not None
    assert snapshot["last_activity_date"].date() == DAY - timedelta(days=50)
    assert (snapshot["quizzes_completed_count"], snapshot["exercises_submitted_count"]) == (0, 0)
    assert issues == []


def test_a_row_may_have_several_issues():
    row = Progress(1, 1, NOON + timedelta(hours=1), NOON, -1)
    assert computed(row)[1] == [("1/1", "completed_before_started", DAY), ("1/1", "negative_minutes", DAY)]

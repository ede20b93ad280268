"""The engagement score: the made-up cohort on which independent implementations agree, and the slow reference."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapshot_pipeline.metrics.engagement import WEIGHTS
from snapshot_pipeline.metrics.peer_comparison import is_paced
from snapshot_pipeline.store.tables import ENGAGEMENT_COLUMNS
from snapshot_pipeline_tests.pipeline.comparison import published_engagement
from snapshot_pipeline_tests.reference.cohort_frames import ranked
from snapshot_pipeline_tests.reference.engagement import reference_engagement
from snapshot_pipeline_tests.reference.rows import (
    Attempt,
    Exercise,
    Lesson,
    PlatformRows,
    Progress,
    Quiz,
    User,
)
from snapshot_pipeline_tests.reference.strategies import property_settings

GOLDEN = Path(__file__).parent / "engagement_golden"
DAY = date(2026, 3, 17)
UTC = ZoneInfo("UTC")


def assert_same(rows: PlatformRows, first: date, last: date, zone: ZoneInfo, batches: int = 1, blocks: int = 1) -> None:
    """Compare the code under test with the slow reference, on every day."""
    for day, found in ranked(rows, first, last, zone, batches, blocks).items():
        expected = expected_figures(rows, day, zone)
        assert found.keys() == expected.keys()
        for user_id, figures in expected.items():
            assert found[user_id] == figures, (user_id, day)


def expected_figures(rows: PlatformRows, day: date, zone: ZoneInfo) -> dict[int, dict[str, float | None]]:
    """Return the figures of the slow reference as `ranked` returns those of the code under test."""
    return {
        user_id: {
            "days_since_activity": engagement.days_since_activity,
            **dict(zip(ENGAGEMENT_COLUMNS, published_engagement(engagement), strict=True)),
        }
        for user_id, engagement in reference_engagement(rows, day, zone).items()
    }


def golden_rows() -> PlatformRows:
    """Read the six tables of the made-up cohort."""

    def table(name: str, convert: Callable[[dict[str, str]], object]) -> list[object]:
        with (GOLDEN / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            return [convert(row) for row in csv.DictReader(file)]

    def instant(text: str) -> datetime | None:
        return datetime.fromisoformat(text) if text else None

    def number(text: str) -> int | None:
        return int(float(text)) if text else None

    return PlatformRows(
        users=table(  # type: ignore[arg-type]
            "users",
            lambda row: User(
                int(row["id"]),
                row["role"],
                row["is_active"] == "True",
                row["current_specialization"] or None,
                row["current_level"] or None,
            ),
        ),
        lessons=table(  # type: ignore[arg-type]
            "lessons",
            lambda row: Lesson(
                int(row["id"]),
                row["title"],
                row["specialization_id"] or None,
                row["level_id"] or None,
                number(row["display_order"]),
                row["is_published"] == "True",
            ),
        ),
        user_lesson_progress=table(  # type: ignore[arg-type]
            "user_lesson_progress",
            lambda row: Progress(
                int(row["user_id"]),
                int(row["lesson_id"]),
                instant(row["started_at"]),
                instant(row["completed_at"]),
                number(row["time_spent_minutes"]),
            ),
        ),
        quizzes=table(  # type: ignore[arg-type]
            "quizzes", lambda row: Quiz(int(row["id"]), number(row["lesson_id"]), row["title"] or None)
        ),
        quiz_attempts=table(  # type: ignore[arg-type]
            "quiz_attempts",
            lambda row: Attempt(
                int(row["id"]),
                int(row["user_id"]),
                int(row["quiz_id"]),
                float(row["score"]) if row["score"] else None,
                instant(row["completed_at"]),
            ),
        ),
        exercise_submissions=table(  # type: ignore[arg-type]
            "exercise_submissions",
            lambda row: Exercise(int(row["id"]), int(row["user_id"]), instant(row["created_at"])),
        ),
    )


def test_made_up_cohort_has_the_agreed_values():
    with (GOLDEN / "expected_2026-03-17.csv").open(encoding="utf-8", newline="") as file:
        expected = {int(row["user_id"]): row for row in csv.DictReader(file)}
    found = ranked(golden_rows(), DAY, DAY, UTC)[DAY]
    assert expected.keys() <= found.keys()
    names = {name: f"engagement_{name}" for name in WEIGHTS}
    names |= {name: name for name in ("engagement_score", "days_since_activity")}
    for user_id, row in expected.items():
        for name, column in names.items():
            value = found[user_id][column]
            assert (value is None) == (row[name] == ""), (user_id, name)
            assert value is None or value == pytest.approx(float(row[name]), abs=5.1e-5), (user_id, name)


def test_made_up_cohort_equals_the_slow_reference():
    assert_same(golden_rows(), DAY, DAY, UTC)


def any_rows(generator: random.Random) -> PlatformRows:
    """Make a platform with two courses, up to 30 students, and attempts at all kinds of quizzes on few days."""
    start = datetime(2026, 1, 20, 12, tzinfo=timezone.utc)

    def moment() -> datetime:
        return start + timedelta(
            days=generator.choice([3, 20, 30, 40, 47, 50, 55, 56, 57]), hours=generator.randrange(9)
        )

    users = [
        User(number, "student", True, generator.choice(["a", "a", "a", "b", None]), "1")
        for number in range(generator.randrange(1, 31))
    ]
    attempts = [
        Attempt(
            number, user.id, generator.randrange(7), generator.choice([None, 0.0, 49.5, 50.0, 50.4, 100.0]), moment()
        )
        for number, user in enumerate(user for user in users for _ in range(generator.randrange(8)))
    ]
    return PlatformRows(
        users=users,
        lessons=[Lesson(number, "", "ab"[number % 2], "1", number, number < 4) for number in range(5)],
        user_lesson_progress=[
            Progress(user.id, lesson, moment(), generator.choice([None, moment()]), 5)
            for user in users
            for lesson in range(generator.randrange(4))
        ],
        quizzes=[Quiz(number, None if number > 4 else number, None) for number in range(7)],
        quiz_attempts=attempts,
        exercise_submissions=[Exercise(1, user.id, moment()) for user in users if generator.random() < 0.3],
    )


@property_settings(60)
@given(seed=st.integers(0, 2**32))
def test_engagement_of_any_rows_equals_the_slow_reference(seed: int):
    generator = random.Random(seed)  # noqa: S311
    batches, blocks = generator.randrange(1, 4), generator.randrange(1, 4)
    assert_same(any_rows(generator), DAY - timedelta(days=2), DAY, UTC, batches, blocks)


def test_a_day_alone_and_in_a_range_split_in_any_way_has_the_same_figures():
    rows, first = golden_rows(), DAY - timedelta(days=30)
    in_range = ranked(rows, first, DAY, UTC, batches=3, blocks=2)
    for day in (first, DAY - timedelta(days=9), DAY):
        assert in_range[day] == ranked(rows, day, day, UTC)[day]
    assert any(row["engagement_score"] is not None for row in in_range[DAY].values())


def test_quiz_is_paced_if_the_middle_half_of_its_first_attempts_lies_within_21_days():
    days = [0, 0, 10, 10, 10, 20, 20, 31, 90, 90]
    assert is_paced(np.array(days, dtype=np.float64))
    assert not is_paced(np.array([0, 0, *days[2:-3], 32, 90, 90], dtype=np.float64))
    assert not is_paced(np.zeros(9))

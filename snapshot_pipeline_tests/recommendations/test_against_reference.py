"""Property tests of `recommend`: it equals the slow reference, for any batch and row order; texts are not compared."""

from __future__ import annotations

import json
import random
from dataclasses import fields, replace
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from snapshot_pipeline.recommendations import WeekFacts, recommend
from snapshot_pipeline.recommendations.rules import RECOMMENDATION_TYPES
from snapshot_pipeline_tests.reference.days import end_of_day, start_of_day
from snapshot_pipeline_tests.reference.recommendations import Recommendation, reference_week
from snapshot_pipeline_tests.reference.rows import Attempt, Lesson, PlatformRows, Progress, Quiz, User
from snapshot_pipeline_tests.reference.strategies import (
    BUSY_BUT_INACTIVE,
    SNAPSHOT_FIGURES,
    WeekScenario,
    property_settings,
    snapshot_of,
    week_scenarios,
)
from snapshot_pipeline_tests.reference.week_frames import week_facts

COLUMNS = ["user_id", "recommendation_type", "priority", "title", "message", "metadata"]


def facts_of(scenario: WeekScenario) -> WeekFacts:
    return week_facts(scenario.rows, scenario.snapshots, scenario.week_start, scenario.zone, scenario.dismissals)


def as_recommendations(frame: pd.DataFrame) -> list[Recommendation]:
    return [
        Recommendation(int(row.user_id), str(row.recommendation_type), int(row.priority), row.metadata)
        for row in frame.itertuples(index=False)
    ]


def as_plain_rows(frame: pd.DataFrame) -> list[tuple[object, ...]]:
    return list(frame[COLUMNS].itertuples(index=False, name=None))


@property_settings(40)
@given(week_scenarios())
def test_recommendations_equal_the_reference(scenario):
    recommended = recommend(facts_of(scenario))
    assert as_recommendations(recommended) == reference_week(
        scenario.rows, scenario.snapshots, scenario.week_start, scenario.zone, set(scenario.dismissals)
    )
    for row in recommended.itertuples():
        assert json.loads(json.dumps(row.metadata)) == row.metadata
        assert row.title
        assert row.message


@property_settings(10)
@given(week_scenarios(), st.integers(0, 2**16))
def test_row_order_does_not_change_the_result(scenario, seed):
    facts = facts_of(scenario)
    frames = {field.name: getattr(facts, field.name) for field in fields(facts) if field.name != "week_start"}
    shuffled = {name: frame.sample(frac=1, random_state=seed + n) for n, (name, frame) in enumerate(frames.items())}
    assert as_plain_rows(recommend(replace(facts, **shuffled))) == as_plain_rows(recommend(facts))


@property_settings(10)
@given(week_scenarios(), st.integers(0, 3))
def test_a_batch_gets_the_same_recommendations_as_the_full_week(scenario, size):
    facts = facts_of(scenario)
    batch = facts.students.sort_values("user_id").head(size)
    alone = recommend(replace(facts, students=batch))
    full_week = recommend(facts)
    assert as_plain_rows(alone) == as_plain_rows(full_week[full_week["user_id"].isin(batch["user_id"])])


def test_many_students_at_the_thresholds_equal_the_reference():
    """Every rule applies often, and every instant is at the start or the end of a window."""
    zone, monday, sunday = ZoneInfo("Europe/Budapest"), date(2026, 3, 23), date(2026, 3, 29)
    generator = random.Random(1)  # noqa: S311
    microsecond = timedelta(microseconds=1)
    start, end = start_of_day(sunday - timedelta(days=29), zone), end_of_day(sunday, zone)
    instants = [start - microsecond, start, end - microsecond, end]
    orders = [None, 2, 1, 1, None, 2]
    rows = PlatformRows(
        lessons=[Lesson(90 - n, f"lesson {n}", "python", "1", order, True) for n, order in enumerate(orders)],
        quizzes=[Quiz(n, 90 - n, None) for n in range(5)] + [Quiz(5, 90, None), Quiz(6, None, None)],
    )
    snapshots = {}
    for user_id in range(400):
        rows.users.append(User(user_id, "student", True, "python", generator.choice(["1", "1", "1", "2"])))
        for lesson in generator.sample(rows.lessons, generator.choice([0, 3, 5, 6])):
            started_at, completed_at = generator.choice([None, *instants]), generator.choice([None, *instants])
            rows.user_lesson_progress.append(Progress(user_id, lesson.id, started_at, completed_at, 1))
        for n in generator.sample(range(20), generator.choice([0, 1, 4, 8])):
            score = generator.choice([0.0, 50.0, 69.99, 70.0, 100.0, None, float("nan")])
            attempt = Attempt(user_id * 20 + n, user_id, generator.randrange(7), score, generator.choice(instants))
            rows.quiz_attempts.append(attempt)
        for days_ago in range(15):
            figures = generator.choice(SNAPSHOT_FIGURES) if user_id % 2 else BUSY_BUT_INACTIVE
            day = sunday - timedelta(days=days_ago)
            snapshots[user_id, day] = snapshot_of(user_id, day, *figures)
    expected = reference_week(rows, snapshots, monday, zone)
    assert as_recommendations(recommend(week_facts(rows, snapshots, monday, zone))) == expected
    assert {row.recommendation_type for row in expected} == {kind.name for kind in RECOMMENDATION_TYPES}


def test_without_students_the_result_is_empty():
    recommended = recommend(week_facts(PlatformRows(), {}, date(2026, 3, 2), ZoneInfo("UTC")))
    assert list(recommended.columns) == COLUMNS
    assert recommended.empty

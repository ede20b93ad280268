"""Property tests of `recommend`: it equals the slow reference, for any batch and row order; texts are not compared."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from snapshot_pipeline.recommendations import WeekFacts, recommend
from snapshot_pipeline.recommendations.rules import RECOMMENDATION_TYPES
from snapshot_pipeline_tests.reference.days import end_of_day, start_of_day
from snapshot_pipeline_tests.reference.recommendations import Recommendation, reference_week
from snapshot_pipeline_tests.reference.rows import Attempt, Exercise, Lesson, PlatformRows, Progress, Quiz, User
from snapshot_pipeline_tests.reference.strategies import (
    WeekScenario,
    property_settings,
    week_scenarios,
)
from snapshot_pipeline_tests.reference.week_frames import week_facts

COLUMNS = ["user_id", "recommendation_type", "priority", "title", "message", "metadata"]


def facts_of(scenario: WeekScenario) -> WeekFacts:
    return week_facts(scenario.rows, scenario.week_start, scenario.zone, scenario.rules)


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
        scenario.rows, scenario.week_start, scenario.zone, scenario.rules
    )
    for row in recommended.itertuples():
        assert json.loads(json.dumps(row.metadata)) == row.metadata
        assert row.title
        assert row.message


@property_settings(10)
@given(week_scenarios(), st.integers(0, 2**16))
def test_row_order_does_not_change_the_result(scenario, seed):
    facts = facts_of(scenario)
    frames = {name: value for name, value in vars(facts).items() if isinstance(value, pd.DataFrame)}
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
    end = end_of_day(sunday, zone)
    starts = [start_of_day(sunday - timedelta(days=days), zone) for days in (2, 13, 27, 29)]
    instants = [*starts, *(start - microsecond for start in starts), end - microsecond, end]
    orders = [None, 2, 1, 1, None, 2]
    rows = PlatformRows(
        lessons=[Lesson(90 - n, f"lesson {n}", "python", "1", order, n != 4) for n, order in enumerate(orders)]
        + [Lesson(200 + n, f"lesson {n}", "data", "1", n, True) for n in range(3)],
        quizzes=[Quiz(n, 90 - n, None) for n in range(5)] + [Quiz(5, 90, None), Quiz(6, None, None)],
    )
    for user_id in range(300):
        course = generator.choice([("python", "1"), ("python", "2"), ("data", "1"), (None, "1"), ("", "1")])
        rows.users.append(User(user_id, "student", True, *course))
        if course[0] == "data" and user_id % 60:
            continue  # a cohort in which fewer than a tenth have started
        known = generator.choice([instants, [at for at in instants if at < starts[1]]])
        for lesson in generator.sample(range(80, 91), generator.choice([0, 3, 5, 11])):
            started_at, completed_at = generator.choice([None, *known]), generator.choice([None, *known])
            if user_id % 20 == 1:
                completed_at = starts[1]  # all of them on one of the last fourteen days
            minutes = generator.choice([1, 200, 600])
            rows.user_lesson_progress.append(Progress(user_id, lesson, started_at, completed_at, minutes))
        for n in generator.sample(range(20), generator.choice([0, 1, 4, 8])):
            score = generator.choice([0.0, 50.0, 59.994, 59.995, 60.0, 100.0, 110.0, None, float("nan")])
            attempt = Attempt(user_id * 20 + n, user_id, generator.randrange(7), score, generator.choice(known))
            rows.quiz_attempts.append(attempt)
        if course[1] == "1" and user_id % 3 == 0:
            exercises = [Exercise(user_id * 20 + n, user_id, generator.choice(known)) for n in range(2)]
            rows.exercise_submissions.extend(exercises)
    expected = reference_week(rows, monday, zone)
    assert as_recommendations(recommend(week_facts(rows, monday, zone))) == expected
    assert {row.recommendation_type for row in expected} == {kind.name for kind in RECOMMENDATION_TYPES}


def test_without_students_the_result_is_empty():
    recommended = recommend(week_facts(PlatformRows(), date(2026, 3, 2), ZoneInfo("UTC")))
    assert list(recommended.columns) == COLUMNS
    assert recommended.empty

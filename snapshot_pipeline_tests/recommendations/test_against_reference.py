"""Properties of `recommend`: it chooses what the slow reference chooses, however it is asked.

A difference here is a student who is told the wrong thing on Monday. The texts are not the reference's affair.
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import date
from zoneinfo import ZoneInfo

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from snapshot_pipeline.recommendations import WeekFacts, recommend
from snapshot_pipeline_tests.reference.recommendations import Recommendation, reference_week
from snapshot_pipeline_tests.reference.rows import PlatformRows
from snapshot_pipeline_tests.reference.strategies import WeekScenario, property_settings, week_scenarios
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


@property_settings(60)
@given(week_scenarios())
def test_every_student_is_recommended_what_the_reference_says(scenario):
    recommended = recommend(facts_of(scenario))
    assert as_recommendations(recommended) == reference_week(
        scenario.rows, scenario.snapshots, scenario.week_start, scenario.zone, set(scenario.dismissals)
    )
    for row in recommended.itertuples():
        assert json.loads(json.dumps(row.metadata)) == row.metadata
        assert row.title
        assert row.message


@property_settings(20)
@given(week_scenarios(), st.integers(0, 2**16))
def test_the_order_of_the_rows_changes_nothing(scenario, seed):
    facts = facts_of(scenario)
    frames = {one.name: getattr(facts, one.name) for one in fields(facts) if one.name != "week_start"}
    mixed = {name: frame.sample(frac=1, random_state=seed + n) for n, (name, frame) in enumerate(frames.items())}
    assert as_plain_rows(recommend(replace(facts, **mixed))) == as_plain_rows(recommend(facts))


@property_settings(20)
@given(week_scenarios(), st.integers(0, 3))
def test_a_batch_of_students_gets_what_its_students_get_among_all(scenario, size):
    facts = facts_of(scenario)
    batch = facts.students.sort_values("user_id").head(size)
    alone = recommend(replace(facts, students=batch))
    among_all = recommend(facts)
    assert as_plain_rows(alone) == as_plain_rows(among_all[among_all["user_id"].isin(batch["user_id"])])


def test_nobody_is_recommended_nothing():
    nobody = recommend(week_facts(PlatformRows(), {}, date(2026, 3, 2), ZoneInfo("UTC")))
    assert list(nobody.columns) == COLUMNS
    assert nobody.empty

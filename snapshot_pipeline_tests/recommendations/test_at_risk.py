"""Who is listed, for which reasons: the thresholds one by one, and any rows against the slow reference."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapshot_pipeline.metrics.engagement import MIN_PEERS, WEIGHTS, peers_of
from snapshot_pipeline.metrics.peer_comparison import compare_with_peers
from snapshot_pipeline.recommendations.at_risk import dormant_reason, reasons, states
from snapshot_pipeline_tests.metrics.test_engagement import DAY, UTC, any_rows, expected_figures, golden_rows
from snapshot_pipeline_tests.reference.cohort_frames import CohortFrames, cohorts_of
from snapshot_pipeline_tests.reference.engagement import reference_reasons
from snapshot_pipeline_tests.reference.rows import PlatformRows
from snapshot_pipeline_tests.reference.strategies import property_settings

NONE = np.nan


def computed_reasons(
    cohort: CohortFrames, figures: dict[int, dict[str, float | None]]
) -> dict[int, list[tuple[str, str]]]:
    """Return the reasons that each member would have on the list."""
    since = cohort.members["days_since_activity"].to_numpy(np.int64)
    if not cohort.exists or peers_of(since).sum() < MIN_PEERS:
        dormant = [[dormant_reason(int(days))] if days >= 28 else [] for days in since]
        found = dict(zip(cohort.members["user_id"], dormant, strict=True))
    else:
        compared = compare_with_peers(cohort.members, cohort.active, cohort.records).set_index("user_id", drop=False)
        found = {}
        for user_id in cohort.members["user_id"]:
            percentiles = {
                name: np.nan if (value := figures[user_id][f"engagement_{name}"]) is None else value for name in WEIGHTS
            }
            lost = {
                name: weight * (1 - (0.5 if np.isnan(percentiles[name]) else percentiles[name]))
                for name, weight in WEIGHTS.items()
            }
            found[user_id] = reasons(compared.loc[user_id].to_dict(), percentiles, lost, cohort.titles)
    return {user_id: [(reason.code, reason.text) for reason in given] for user_id, given in found.items()}


def assert_same(rows: PlatformRows) -> None:
    found: dict[int, list[tuple[str, str]]] = {}
    figures = expected_figures(rows, DAY, UTC)
    for cohort in cohorts_of(rows, DAY, UTC):
        found |= computed_reasons(cohort, figures)
    assert found == reference_reasons(rows, DAY, UTC)


def test_reasons_of_the_made_up_cohort_equal_the_slow_reference():
    assert_same(golden_rows())
    codes = {code for given in reference_reasons(golden_rows(), DAY, UTC).values() for code, _ in given}
    assert codes == {"DORMANT", "INACTIVE", "MISSED_QUIZZES", "LOW_RESULTS", "FEW_ACTIVE_DAYS", "BEHIND_PEERS"}


@property_settings(60)
@given(seed=st.integers(0, 2**32))
def test_reasons_of_any_rows_equal_the_slow_reference(seed: int):
    assert_same(any_rows(random.Random(seed)))  # noqa: S311


@pytest.mark.parametrize(
    ("since", "tenure", "score", "earlier", "state"),
    [
        (28, 3, NONE, [NONE] * 4, "dormant"),
        (27, 60, 19.99, [NONE] * 4, "listed"),
        (27, 60, 20.0, [NONE] * 4, None),
        (0, 7, 19.99, [NONE] * 4, "listed"),
        (0, 6, 19.99, [NONE] * 4, None),
        (0, 60, 29.99, [29.0, NONE, 25.0, 19.0], "listed"),
        (0, 60, 30.0, [19.0, NONE, NONE, NONE], None),
        (0, 60, 25.0, [30.0, 19.0, NONE, NONE], None),
        (0, 60, 25.0, [19.0, 30.0, NONE, NONE], "listed"),
        (0, 60, NONE, [19.0, NONE, NONE, NONE], None),
    ],
)
def test_state_of_a_student(since: int, tenure: int, score: float, earlier: list[float], state: str | None):
    assert states(np.array([since]), np.array([tenure]), np.array([score]), np.array([earlier])).tolist() == [state]

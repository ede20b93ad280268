"""Means, percentiles and labels computed from counted scores."""

from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from snapshot_pipeline.metrics.pace import learning_paces
from snapshot_pipeline.metrics.score_counts import ScoreCounts

hundredths = st.lists(st.integers(0, 10_000), min_size=1, max_size=60)


def counted(values: list[int]) -> ScoreCounts:
    scores = np.array(values) / 100
    return ScoreCounts.by_day(scores, np.zeros(len(values), dtype=np.int64), 1)[0]


@given(hundredths, st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
def test_percentiles_are_interpolated_as_in_numpy_and_postgresql(values: list[int], q: float):
    expected = float(np.quantile(np.array(values) / 100, q))
    assert abs((counted(values).percentile(q) or 0) - expected) < 1e-9


@given(hundredths)
def test_the_mean_equals_the_mean_of_the_scores(values: list[int]):
    assert abs((counted(values).mean or 0) - float(np.mean(np.array(values) / 100))) < 1e-9


@given(hundredths, hundredths)
def test_counts_of_batches_add_up_to_the_counts_of_all_students(first: list[int], second: list[int]):
    total = counted(first) + counted(second)
    assert total == counted(first + second)
    assert total.students == len(first) + len(second)


@given(hundredths)
def test_pickled_counts_are_small_and_unchanged(values: list[int]):
    pickled = pickle.dumps(counted(values))
    assert pickle.loads(pickled) == counted(values)  # noqa: S301  # our own bytes
    assert len(pickled) < 2_000


@given(hundredths)
def test_label_counts_equal_the_labels_of_the_scores(values: list[int]):
    labels = learning_paces(np.array(values) / 100).tolist()
    assert counted(values).by_label() == {
        name: labels.count(name) for name in ("SLOW", "MEDIUM", "FAST", "ACCELERATED")
    }


def test_days_are_counted_separately():
    first, second, third = ScoreCounts.by_day(np.array([1.0, 2.0, 2.0]), np.array([0, 2, 2]), 3)
    assert (first.students, second.students, third.students) == (1, 0, 2)
    assert third == ScoreCounts.of({2.0: 2})


def test_without_scores_mean_and_percentiles_are_none():
    assert ScoreCounts.none().mean is None
    assert ScoreCounts.none().percentile(0.5) is None

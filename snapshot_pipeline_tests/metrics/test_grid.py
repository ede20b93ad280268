"""Grids of students × days: events counted by day, and sums over windows."""

from __future__ import annotations

import numpy as np

from snapshot_pipeline.metrics.grid import count_by_day, inside, latest_by_day, sum_by_day, window_sums

SHAPE = (2, 5)


def test_events_before_and_after_the_grid_are_outside():
    assert inside(np.array([-1, 0, 4, 5]), SHAPE).tolist() == [False, True, True, False]


def test_events_are_counted_in_the_cell_of_their_student_and_day():
    students, days = np.array([0, 0, 1, 1, 0]), np.array([2, 2, 0, -1, 5])
    assert count_by_day(students, days, SHAPE).tolist() == [[0, 0, 2, 0, 0], [1, 0, 0, 0, 0]]


def test_large_integers_are_summed_exactly():
    large = 2**53
    sums = sum_by_day(np.array([0, 0, 1]), np.array([1, 1, 4]), np.array([large, 1, 7]), SHAPE)
    assert sums.tolist() == [[0, large + 1, 0, 0, 0], [0, 0, 0, 0, 7]]


def test_the_latest_event_is_carried_forward_from_its_day():
    students = np.array([0, 0, 0, 1, 1])
    days = np.array([-1, 2, 2, 3, 9])  # before the grid; twice on a day; after the grid
    assert latest_by_day(students, days, SHAPE).tolist() == [[0, 0, 2, 2, 2], [-1, -1, -1, 3, 3]]


def test_without_events_every_cell_is_empty():
    no_events = np.zeros(0, dtype=np.int64)
    assert latest_by_day(no_events, no_events, SHAPE).tolist() == [[-1] * 5] * 2
    assert count_by_day(no_events, no_events, SHAPE).sum() == 0


def test_a_window_ends_with_its_day_and_has_the_given_length():
    counts = np.array([[1, 2, 4, 8, 16]])
    assert window_sums(counts, np.array([[1, 2]])).tolist() == [[8, 24]]
    assert window_sums(counts, np.array([[4, 5]])).tolist() == [[15, 31]]

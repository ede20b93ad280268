"""How the students of a run are divided among those who work for it."""

from __future__ import annotations

import numpy as np
import pytest

from snapshot_pipeline.pipeline.batches import FEWEST_STUDENTS
from snapshot_pipeline.pipeline.executors import BatchExecutor


@pytest.mark.parametrize(
    ("students", "threads", "sizes"),
    [
        (100_000, 2, {12_500}),  # four for each thread
        (100_000, 1_000, {FEWEST_STUDENTS}),  # no crumbs
        (100_000, 0, {50_000}),  # no thread yet: the budget alone
        (0, 2, set()),
    ],
)
def test_a_cluster_gets_some_batches_for_each_of_its_threads(students: int, threads: int, sizes: set[int]):
    place = BatchExecutor(None, None, lambda: 2, threads * 4, 50_000 * 30)  # type: ignore[arg-type]
    batches = place.cut(np.arange(students, dtype=np.int64), 30)
    assert {len(batch.user_ids) for batch in batches} == sizes

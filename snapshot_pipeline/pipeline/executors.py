"""Where the batches of a run are worked on: by threads of this process, or by the workers of a cluster.

Put here: how many batches there are, and who works on them. Do not put here: a kind of cluster (`dask_cluster`), what
is done with a batch (`snapshots`, `recommendations`), or what keeps a worker from publishing what it may not
(`store.fences`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from snapshot_pipeline.pipeline.batches import Batch, BatchWork, cut, ignore_batch, map_batches, no_check
from snapshot_pipeline.settings import Settings

BATCHES_PER_THREAD = 4
"""Batches for each thread of a cluster, so that a slow one, or one that dies, does not leave the others idle."""

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class BatchExecutor:
    """Where the batches of one run are worked on.

    Attributes:
        executor: Works on batches.
        local_executor: Threads of this process, for what must not travel.
        most_at_once: How many batches the executor is given before the first of them is done.
        min_batches: How many batches there should be at least, so that nobody stands idle.
        cells: The budget of one batch.
    """

    executor: Executor
    local_executor: Executor
    most_at_once: Callable[[], int]
    min_batches: int
    cells: int

    def cut(self, user_ids: NDArray[np.int64], cells_per_student: int) -> list[Batch]:
        """Cut students into batches within the budget, and small enough that everybody has some."""
        return cut(user_ids, cells_per_student, self.cells, self.min_batches)

    def map_batches(
        self,
        batches: Sequence[Batch],
        work: BatchWork[Kind],
        check_lock: Callable[[], None] = no_check,
        batch_done: Callable[[Batch], None] = ignore_batch,
    ) -> Iterator[Kind]:
        """Work on all batches here, see `batches.map_batches`."""
        return map_batches(batches, work, self.executor, check_lock, self.most_at_once, batch_done)


@contextmanager
def open_executor(settings: Settings) -> Iterator[BatchExecutor]:
    """The place that the settings ask for; what has not begun is given up at the end.

    Raises:
        dask_cluster.ClusterError: The cluster cannot be used: Dask is not installed here, or versions differ.
        dask_cluster.ClusterLostError: No scheduler answers, or no worker is there.
    """
    if settings.dask_scheduler is None:
        with open_local_executor(settings) as place:
            yield place
        return
    from snapshot_pipeline.pipeline.dask_cluster.cluster import open_cluster

    with open_cluster(settings.dask_scheduler) as cluster, ThreadPoolExecutor(1) as local_executor:
        min_batches = cluster.threads * BATCHES_PER_THREAD
        yield BatchExecutor(
            cluster, local_executor, lambda: max(cluster.threads, 1) * 2, min_batches, settings.batch_rows
        )


@contextmanager
def open_local_executor(settings: Settings) -> Iterator[BatchExecutor]:
    """Threads of this process, whatever the settings ask for: for what is too small to travel."""
    with ThreadPoolExecutor(settings.workers) as pool:
        yield BatchExecutor(pool, pool, lambda: settings.workers * 2, settings.workers, settings.batch_rows)

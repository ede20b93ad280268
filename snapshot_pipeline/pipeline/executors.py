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

from snapshot_pipeline.pipeline.batches import Batch, BatchWork, cut, ignore_batch, keep_nothing, work_through
from snapshot_pipeline.settings import Settings

BATCHES_PER_THREAD = 4
"""Batches for each thread of a cluster, so that a slow one, or one that dies, does not leave the others idle."""

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Workplace:
    """Where the batches of one run are worked on.

    Attributes:
        executor: Works on batches.
        aside: Threads of this process, for what must not travel.
        most_at_once: How many batches the executor is given before the first of them is done.
        lanes: How many batches there should be at least, so that nobody stands idle.
        cells: The budget of one batch.
    """

    executor: Executor
    aside: Executor
    most_at_once: Callable[[], int]
    lanes: int
    cells: int

    def cut(self, user_ids: NDArray[np.int64], cells_per_student: int) -> list[Batch]:
        """Cut students into batches within the budget, and small enough that everybody has some."""
        return cut(user_ids, cells_per_student, self.cells, self.lanes)

    def work_through(
        self,
        batches: Sequence[Batch],
        work: BatchWork[Kind],
        keep_held: Callable[[], None] = keep_nothing,
        batch_done: Callable[[Batch], None] = ignore_batch,
    ) -> Iterator[Kind]:
        """Work on all batches here, see `batches.work_through`."""
        return work_through(batches, work, self.executor, keep_held, self.most_at_once, batch_done)


@contextmanager
def open_workplace(settings: Settings) -> Iterator[Workplace]:
    """The place that the settings ask for; what has not begun is given up at the end.

    Raises:
        dask_cluster.ClusterError: The cluster cannot be used: Dask is not installed here, or versions differ.
        dask_cluster.ClusterLostError: No scheduler answers, or no worker is there.
    """
    if settings.dask_scheduler is None:
        with open_local_workplace(settings) as place:
            yield place
        return
    from snapshot_pipeline.pipeline.dask_cluster import open_cluster

    with open_cluster(settings.dask_scheduler) as cluster, ThreadPoolExecutor(1) as aside:
        lanes = cluster.threads * BATCHES_PER_THREAD
        yield Workplace(cluster, aside, lambda: max(cluster.threads, 1) * 2, lanes, settings.batch_cells)


@contextmanager
def open_local_workplace(settings: Settings) -> Iterator[Workplace]:
    """Threads of this process, whatever the settings ask for: for what is too small to travel."""
    with ThreadPoolExecutor(settings.workers) as pool:
        yield Workplace(pool, pool, lambda: settings.workers * 2, settings.workers, settings.batch_cells)

"""Batches of students: split them to a memory budget, process them in parallel, isolate students that raise."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Generic, Protocol, TypeVar

import adbc_driver_manager
import numpy as np
import psycopg2
from numpy.typing import NDArray
from sqlalchemy.exc import SQLAlchemyError

from snapshot_pipeline.errors import SnapshotPipelineError, truncate_middle
from snapshot_pipeline.platform.reads import UserRange
from snapshot_pipeline.postgres.errors import DATA_EXCEPTION, retry_transient
from snapshot_pipeline.settings import Settings

MAX_ISOLATED = 1_000
"""If more students of one batch raise, the fault is in the code and not in their data."""

MIN_STUDENTS = 1_000
"""Smaller batches are not worth a transaction, even if a thread is idle."""

SAMPLE_SIZE = 200
"""Number of students whose source rows are counted to estimate those of all."""

EVENTS_PER_ROW = 4
"""Source rows that take as much memory as one computed row, over all stages."""

MAX_ERROR_LENGTH = 500
"""Characters of an error message to keep: some repeat the whole statement."""

LOCK_CHECK_SECONDS = 2.0
"""How often a run checks its lock while no batch finishes."""

BATCHES_PER_THREAD = 4
"""Batches per thread of a cluster, so that a slow or dead worker does not leave the others idle."""

# Control characters, line separators, and marks that change the direction of the surrounding text.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

Result_co = TypeVar("Result_co", covariant=True)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Batch:
    """Students that are processed together.

    Attributes:
        user_ids: int64, ascending, shape (students,), at least one.
    """

    user_ids: NDArray[np.int64]

    @property
    def range(self) -> UserRange:
        """From the first id to the last; no active student of another batch is in it."""
        return UserRange(int(self.user_ids[0]), int(self.user_ids[-1]))

    def halves(self) -> tuple[Batch, Batch]:
        """The two halves of a batch of at least two students."""
        middle = len(self.user_ids) // 2
        return Batch(self.user_ids[:middle]), Batch(self.user_ids[middle:])


class BatchWork(Protocol[Result_co]):
    """What to do with a batch; picklable, so that it can run in another process."""

    @property
    def name(self) -> str:
        """Name for dashboards and errors, e.g. `snapshots 2026-01-01…2026-01-31`."""

    def __call__(self, batch: Batch) -> Result_co:
        """Process the students of the batch and publish the result."""

    def fail(self, batch: Batch, error: Exception) -> Result_co:
        """Record that the computation of this single student raised `error`."""


class SystematicError(SnapshotPipelineError):
    """So many students raise that their data cannot be the reason; the message quotes the last error."""

    quotes_rows = True


@dataclass(frozen=True)
class Progress:
    """Progress of a run.

    Attributes:
        parts: What the parts are: batches, failures, chunks of days.
        rows: Student-days in the parts done.
        total_rows: Student-days in all parts.
    """

    done: int
    total: int
    parts: str
    rows: int
    total_rows: int


ProgressListener = Callable[[Progress], None]
"""Called before the first part and after each."""


def ignore_progress(progress: Progress) -> None:
    """A listener that does nothing."""


class BatchProgress:
    """Counts finished batches for a listener, which it calls at once with zero.

    Args:
        total: Number of batches; one that is processed twice counts twice.
        total_rows: Student-days to compute.
    """

    def __init__(self, listener: ProgressListener, total: int, total_rows: int) -> None:
        self._listener, self._total, self._total_rows = listener, total, total_rows
        self._done, self._rows = 0.0, 0.0
        listener(Progress(0, total, "batches", 0, total_rows))

    def add(self, rows: float, batches: float = 1) -> None:
        """Count a finished batch, or a part of one."""
        self._done += batches
        self._rows += rows
        done = int(self._done + 1e-6)  # parts of a batch add up to one
        self._listener(Progress(done, self._total, "batches", round(self._rows), self._total_rows))


def progress_per_batch(listener: ProgressListener, batches: Sequence[Batch]) -> Callable[[Batch], None]:
    """Report that nothing is done yet; returns a function to be called with each batch when its students are done."""
    progress = BatchProgress(listener, len(batches), sum(len(batch.user_ids) for batch in batches))
    return lambda batch: progress.add(len(batch.user_ids))


def sample_students(user_ids: NDArray[np.int64]) -> list[int]:
    """About `SAMPLE_SIZE` of the students, evenly spread."""
    step = max(1, len(user_ids) // SAMPLE_SIZE)
    sample: list[int] = user_ids[::step].tolist()
    return sample


def memory_per_student(rows: int, events: float) -> int:
    """Memory that a student takes in a batch, in computed rows, the unit of SNAPSHOT_BATCH_ROWS.

    Args:
        rows: Rows computed for each student.
        events: Source rows read for each student, on average.
    """
    return rows + math.ceil(events / EVENTS_PER_ROW)


def split(user_ids: NDArray[np.int64], per_student: int, batch_rows: int, min_batches: int) -> list[Batch]:
    """Split students into batches of equal size, so that memory stays within the budget.

    As few batches as possible, since each scans the same days of the platform; but at least `min_batches`, unless they
    would be very small.

    Args:
        per_student: `memory_per_student`.
        batch_rows: The budget of one batch, SNAPSHOT_BATCH_ROWS.
        min_batches: How many batches are processed at the same time.
    """
    students, min_batches = len(user_ids), max(min_batches, 1)
    max_students = max(1, batch_rows // per_student)
    count = max(-(-students // max_students), min(min_batches, students // MIN_STUDENTS), 1 if students else 0)
    # In rounds of `min_batches`, so that the last round takes as long as the others.
    if count > min_batches:
        count = min(-(-count // min_batches) * min_batches, students)
    return [Batch(part) for part in np.array_split(user_ids, count)] if count else []


@dataclass(frozen=True)
class BatchExecutor:
    """Processes the batches of a run, on threads of this process or on a cluster.

    Attributes:
        executor: Processes batches.
        local_executor: Threads of this process, for work that cannot be pickled.
        max_submitted: How many batches may be submitted at the same time, now.
        min_batches: How many batches keep all threads busy.
        batch_rows: The memory budget of one batch, in rows.
    """

    executor: Executor
    local_executor: Executor
    max_submitted: Callable[[], int]
    min_batches: int
    batch_rows: int

    def split(self, user_ids: NDArray[np.int64], per_student: int) -> list[Batch]:
        """Split students into batches within the budget, and enough of them to keep all threads busy; see `split`."""
        return split(user_ids, per_student, self.batch_rows, self.min_batches)

    def map_batches(
        self,
        batches: Sequence[Batch],
        work: BatchWork[Result],
        check_lock: Callable[[], None] = lambda: None,
        batch_done: Callable[[Batch], None] = lambda _: None,
    ) -> Iterator[Result]:
        """Process all batches in parallel, and yield each result when it is ready; see `map_tasks`."""
        yield from self.map_tasks((BatchTask(batch, work) for batch in batches), check_lock, batch_done)

    def map_tasks(
        self,
        tasks: Iterable[BatchTask[Result]],
        check_lock: Callable[[], None] = lambda: None,
        batch_done: Callable[[Batch], None] = lambda _: None,
    ) -> Iterator[Result]:
        """Process tasks in parallel, and yield each result when it is ready; take a task when it can be submitted.

        A batch that raises because of its students' data is halved until the students that raise are isolated. A
        database error is no student's fault: if it is transient, the whole batch is retried, since it is published in
        one transaction; otherwise the batches that have not started are canceled, and the error is raised.

        Args:
            check_lock: Called every few seconds and before each result, to check that the run still holds its lock; if
                it raises, the batches that have not started are canceled.
            batch_done: Called with each batch after its results; an isolated student has a result of its own.
        """
        waiting = iter(tasks)
        running: dict[Future[list[Result]], Batch] = {}
        try:
            while True:
                for task in islice(waiting, max(self.max_submitted() - len(running), 0)):
                    running[self.executor.submit(task)] = task.batch
                if not running:
                    return
                done, _ = wait(running, timeout=LOCK_CHECK_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    results = future.result()
                    retry_transient(check_lock)
                    yield from results
                    batch_done(running.pop(future))
                if not done:
                    retry_transient(check_lock)
        finally:
            for future in running:
                future.cancel()


@contextmanager
def open_executor(settings: Settings) -> Iterator[BatchExecutor]:
    """The executor that the settings name: threads of this process, or a Dask cluster.

    Raises:
        dask_cluster.ClusterError: The cluster cannot be used: Dask is not installed here, or versions differ.
        dask_cluster.ClusterLostError: No scheduler answers, or there is no worker.
    """
    if settings.dask_scheduler is None:
        with open_local_executor(settings) as executor:
            yield executor
        return
    from snapshot_pipeline.pipeline.dask_cluster.cluster import open_cluster

    with open_cluster(settings.dask_scheduler) as cluster, ThreadPoolExecutor(settings.workers) as local_executor:
        yield BatchExecutor(
            cluster,
            local_executor,
            max_submitted=lambda: max(cluster.threads, 1) * 2,
            min_batches=cluster.threads * BATCHES_PER_THREAD,
            batch_rows=settings.batch_rows,
        )


@contextmanager
def open_local_executor(settings: Settings) -> Iterator[BatchExecutor]:
    """Threads of this process, whatever the settings name: for runs too small for a cluster."""
    with ThreadPoolExecutor(settings.workers) as pool:
        yield BatchExecutor(pool, pool, lambda: settings.workers * 2, settings.workers, settings.batch_rows)


@dataclass(frozen=True)
class FunctionWork(Generic[Result]):
    """Work whose two functions can be pickled, such as methods of another work."""

    name: str
    process: Callable[[Batch], Result]
    on_error: Callable[[Batch, Exception], Result]

    def __call__(self, batch: Batch) -> Result:
        """Process the students of the batch."""
        return self.process(batch)

    def fail(self, batch: Batch, error: Exception) -> Result:
        """Handle the error of this single student."""
        return self.on_error(batch, error)


@dataclass(frozen=True)
class BatchTask(Generic[Result]):
    """A batch and its work; picklable."""

    batch: Batch
    work: BatchWork[Result]

    @property
    def name(self) -> str:
        """Name for dashboards and errors."""
        users = self.batch.range
        return f"{self.work.name}, students {users.first}\u2013{users.last}"

    def __call__(self) -> list[Result]:
        """Process the batch; isolate the students that raise."""
        results: list[Result] = []
        isolated = 0
        waiting = [self.batch]
        while waiting:
            part = waiting.pop()
            try:
                results.append(retry_transient(self.work, part))
            except Exception as error:  # an error in one student's data must not stop the others
                if not is_data_error(error):
                    raise
                if len(part.user_ids) > 1:
                    waiting.extend(reversed(part.halves()))
                    continue
                isolated += 1
                if isolated > MAX_ISOLATED:
                    raise SystematicError(
                        f"more than {MAX_ISOLATED} students of one batch failed, the last one with "
                        f"{type(error).__name__}: {error}; the cause is the code or the database rather than their "
                        "data, so nothing more of this batch is published; please report it"
                    ) from error
                results.append(retry_transient(self.work.fail, part, error))
        return results


def is_data_error(error: Exception) -> bool:
    """Whether an error can be caused by a student's data, rather than by the database, the machine or a setting."""
    if isinstance(error, adbc_driver_manager.Error):
        return (error.sqlstate or "").startswith(DATA_EXCEPTION)
    return not isinstance(error, (SnapshotPipelineError, SQLAlchemyError, psycopg2.Error, OSError, MemoryError))


def one_line(error: Exception) -> str:
    """Class and message of an error in one line, for the table of failures; a long one is cut in the middle.

    The message may quote text of students, so unprintable characters are replaced.
    """
    line = f"{type(error).__name__}: {' '.join(_UNPRINTABLE.sub(' ', str(error)).split())}"
    return truncate_middle(line, MAX_ERROR_LENGTH)

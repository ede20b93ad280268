"""Students in batches: cut to a budget, worked through side by side, taken apart when one raises.

Put here: what is the same for every kind of batch. Do not put here: what is done with one (`snapshots`,
`recommendations`).
"""

from __future__ import annotations

import math
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, Protocol, TypeVar

import adbc_driver_manager
import numpy as np
import psycopg2
from numpy.typing import NDArray
from sqlalchemy.exc import SQLAlchemyError

from snapshot_pipeline.errors import SnapshotPipelineError, truncate_middle
from snapshot_pipeline.platform.reads import UserRange
from snapshot_pipeline.postgres.errors import retry_transient

MOST_ISOLATED = 1_000
"""How many students of one batch may raise before it is taken for a fault of the code and not of their data."""

FEWEST_STUDENTS = 1_000
"""Students that are not cut into several batches just to have work for every lane."""

SAMPLED_STUDENTS = 200
"""How many students are asked how much there is to read of them."""

EVENTS_PER_CELL = 4
"""How many rows that are read take the memory of one that is made, of all its stages."""

LONGEST_MESSAGE = 500
"""Characters of an error that are kept: some repeat the whole statement."""

KEEP_SECONDS = 2.0
"""How often a run looks after what it has to keep, while no batch is done."""

_DATA_EXCEPTION = "22"  # SQLSTATE class: a value does not fit, which is the row's fault and not the database's

# Control characters, line separators, and the marks that reverse the direction of what stands around them.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

Result = TypeVar("Result", covariant=True)
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Batch:
    """Some students, worked on together.

    Attributes:
        user_ids: Their ids, int64, ascending, shape (students,), at least one.
    """

    user_ids: NDArray[np.int64]

    @property
    def range(self) -> UserRange:
        """From the first id to the last; no other batch has an active student in it."""
        return UserRange(int(self.user_ids[0]), int(self.user_ids[-1]))

    def halves(self) -> tuple[Batch, Batch]:
        """The two halves of a batch of two students or more."""
        middle = len(self.user_ids) // 2
        return Batch(self.user_ids[:middle]), Batch(self.user_ids[middle:])


class BatchWork(Protocol[Result]):
    """What is done with a batch. Picklable, so that it can travel to another process."""

    @property
    def name(self) -> str:
        """What it is, for whoever watches, e.g. `snapshots 2026-01-01…2026-01-31`."""

    def __call__(self, batch: Batch) -> Result:
        """Work on the students of the batch and publish what comes of it."""

    def fail(self, batch: Batch, error: Exception) -> Result:
        """Note that the computation of this one student raised `error`."""


class SystematicError(SnapshotPipelineError):
    """So many students raise the same way that their data cannot be the reason; the message quotes the last one's."""

    quotes_rows = True


def sample_of(user_ids: NDArray[np.int64]) -> list[int]:
    """Some hundred students from all over, by whose events those of all are judged."""
    every = max(1, len(user_ids) // SAMPLED_STUDENTS)
    sample: list[int] = user_ids[::every].tolist()
    return sample


def cells_per_student(rows: int, events: float) -> int:
    """What a student weighs in the budget of a batch.

    Args:
        rows: How many rows are made of each student.
        events: How many of the platform's rows are read for it.
    """
    return rows + math.ceil(events / EVENTS_PER_CELL)


def cut(user_ids: NDArray[np.int64], cells_per_student: int, cells: int, min_batches: int) -> list[Batch]:
    """Cut students into batches of one size, so that memory stays within a budget.

    As few as possible, since each batch looks through the same days of the platform; but one for each lane, so that all
    of them have work, unless that made batches that are hardly worth a transaction.

    Args:
        user_ids: int64, ascending, shape (students,).
        cells_per_student: What one student weighs; see the function of this name.
        cells: The budget of one batch.
        min_batches: How many batches are worked on at a time.
    """
    students, min_batches = len(user_ids), max(min_batches, 1)
    most = max(1, cells // cells_per_student)
    wanted = max(-(-students // most), min(min_batches, students // FEWEST_STUDENTS), 1 if students else 0)
    # In rounds of one batch a lane: the last round is as long as the others.
    full = -(-wanted // min_batches) * min_batches if wanted > min_batches else wanted
    return [Batch(part) for part in np.array_split(user_ids, full)] if full else []


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        done: Parts that are done: batches, failures, stretches of days.
        total: All of them.
        parts: What they are.
        rows: Rows that these stand for: students times days.
        of_rows: The rows of all parts.
    """

    done: int
    total: int
    parts: str
    rows: int
    of_rows: int


ProgressListener = Callable[[Progress], None]
"""Called before the first part and after each."""


def ignore_progress(progressed: Progress) -> None:
    """For a run that nobody watches."""


def ignore_batch(batch: Batch) -> None:
    """For batches that nobody counts."""


def progress_per_batch(
    progress: ProgressListener, batches: Sequence[Batch], rows_per_student: int
) -> Callable[[Batch], None]:
    """Tell how far a run is: now, that nothing is done yet, and by what is returned, which each batch done is given.

    Args:
        progress: Who is told.
        batches: All batches of the run.
        rows_per_student: How many rows are made of each student: the days.
    """
    of_rows = sum(len(batch.user_ids) for batch in batches) * rows_per_student
    told = Progress(0, len(batches), "batches", 0, of_rows)
    progress(told)

    def tell(batch: Batch) -> None:
        nonlocal told
        told = replace(told, done=told.done + 1, rows=told.rows + len(batch.user_ids) * rows_per_student)
        progress(told)

    return tell


def no_check() -> None:
    """What is done between batches where nothing has to be kept."""


def map_batches(
    batches: Sequence[Batch],
    work: BatchWork[Kind],
    executor: Executor,
    check_lock: Callable[[], None] = no_check,
    most_at_once: Callable[[], int] = lambda: sys.maxsize,
    batch_done: Callable[[Batch], None] = ignore_batch,
) -> Iterator[Kind]:
    """Work on all batches, side by side, and hand out what comes of each as it is done.

    A batch that raises for a reason of its students' data is halved until the students that raise stand alone. A fault
    of the database is nobody's data: one that passes makes the batch be tried again as a whole, since it is published
    in one transaction; for any other the batches that have not begun are given up, and the error is raised.

    Args:
        batches: The batches.
        work: What is done with each.
        executor: Where.
        check_lock: Called every few seconds, and before anything is handed out, e.g. to see that the run still holds
            its lock; raises if not, which gives up the batches that have not begun.
        most_at_once: How many batches the executor is given before the first of them is done.
        batch_done: Told each batch after all that came of it was handed out; of one that was taken apart several do.
    """
    waiting = deque(BatchTask(batch, work) for batch in batches)
    running: dict[Future[list[Kind]], Batch] = {}
    try:
        while waiting or running:
            while waiting and len(running) < most_at_once():
                task = waiting.popleft()
                running[executor.submit(task)] = task.batch
            done, _ = wait(running, timeout=KEEP_SECONDS, return_when=FIRST_COMPLETED)
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


@dataclass(frozen=True)
class BatchTask(Generic[Kind]):
    """A batch and what is done with it; picklable, so that it can travel.

    Attributes:
        batch: The students.
        work: What is done with them.
    """

    batch: Batch
    work: BatchWork[Kind]

    @property
    def name(self) -> str:
        """What it is, for whoever watches."""
        users = self.batch.range
        return f"{self.work.name}, students {users.first}\u2013{users.last}"

    def __call__(self) -> list[Kind]:
        """Work on the batch; isolate the students that raise."""
        results: list[Kind] = []
        isolated = 0
        waiting = [self.batch]
        while waiting:
            part = waiting.pop()
            try:
                results.append(retry_transient(partial(self.work, part)))
            except Exception as error:  # whatever one student's data raises must not stop the others
                if not is_about_a_student(error):
                    raise
                if len(part.user_ids) > 1:
                    waiting.extend(reversed(part.halves()))
                    continue
                isolated += 1
                if isolated > MOST_ISOLATED:
                    raise SystematicError(
                        f"more than {MOST_ISOLATED} students of one batch raise, the last one "
                        f"{type(error).__name__}: {error}; that is a fault of the code or of the database rather than "
                        "of their data, so nothing more of this batch is published; please report it"
                    ) from error
                results.append(retry_transient(partial(self.work.fail, part, error)))
        return results


def is_about_a_student(error: Exception) -> bool:
    """Whether an error can come from one student's data, rather than from the database, the machine or a setting."""
    if isinstance(error, adbc_driver_manager.Error):
        return (error.sqlstate or "").startswith(_DATA_EXCEPTION)
    machine = (SnapshotPipelineError, SQLAlchemyError, psycopg2.Error, OSError, MemoryError)
    return not isinstance(error, machine)


def one_line(error: Exception) -> str:
    """The kind of an error and its message, as the table of failures shows it; a long one is cut in its middle.

    The message may repeat what a student has typed: it is made one line of text that stays within itself.
    """
    line = f"{type(error).__name__}: {' '.join(_UNPRINTABLE.sub(' ', str(error)).split())}"
    return truncate_middle(line, LONGEST_MESSAGE)

"""Students in batches: cut to a budget, worked through side by side, taken apart when one raises.

Put here: what is the same for every kind of batch. Do not put here: what is done with one (`snapshots`,
`recommendations`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import adbc_driver_manager
import numpy as np
import psycopg2
from numpy.typing import NDArray
from sqlalchemy.exc import SQLAlchemyError

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.passing_errors import patiently
from snapshot_pipeline.platform.reads import UserRange

MOST_ISOLATED = 1_000
"""How many students of one batch may raise before it is taken for a fault of the code and not of their data."""

FEWEST_STUDENTS = 1_000
"""Students that are not cut into several batches just to have work for every lane."""

SAMPLED_STUDENTS = 200

EVENTS_PER_CELL = 4
"""How many rows that are read take the memory of one that is made, of all its stages."""

LONGEST_MESSAGE = 500
"""Characters of an error that are kept: some repeat the whole statement."""

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


def cut(user_ids: NDArray[np.int64], cells_per_student: int, cells: int, lanes: int) -> list[Batch]:
    """Cut students into batches of one size, so that memory stays within a budget.

    As few as possible, since each batch looks through the same days of the platform; but one for each lane, so that all
    of them have work, unless that made batches that are hardly worth a transaction.

    Args:
        user_ids: int64, ascending, shape (students,).
        cells_per_student: What one student weighs; see the function of this name.
        cells: The budget of one batch.
        lanes: How many batches are worked on at a time.
    """
    students = len(user_ids)
    most = max(1, cells // cells_per_student)
    wanted = max(-(-students // most), min(lanes, students // FEWEST_STUDENTS), 1 if students else 0)
    # In rounds of one batch a lane: the last round is as long as the others.
    full = -(-wanted // lanes) * lanes if wanted > lanes else wanted
    return [Batch(part) for part in np.array_split(user_ids, full)] if full else []


def may_always_begin() -> None:
    """What stands before a try that nothing stands in the way of."""


def work_through(
    batches: Sequence[Batch],
    work: BatchWork[Kind],
    executor: Executor,
    may_begin: Callable[[], None] = may_always_begin,
) -> Iterator[Kind]:
    """Work on all batches, side by side, and hand out what comes of each as it is done.

    A batch that raises for a reason of its students' data is halved until the students that raise stand alone. A fault
    of the database is nobody's data: one that passes makes the batch be tried again as a whole, since it is published
    in one transaction; for any other the batches that have not begun are given up, and the error is raised.

    Args:
        batches: The batches.
        work: What is done with each.
        executor: Where.
        may_begin: Called before each try of a batch, e.g. to see that the run still holds its lock; raises if not.
    """
    futures = [executor.submit(_isolating, batch, work, may_begin) for batch in batches]
    try:
        for future in as_completed(futures):
            yield from future.result()
    finally:
        for future in futures:
            future.cancel()


def _isolating(batch: Batch, work: BatchWork[Kind], may_begin: Callable[[], None]) -> list[Kind]:
    def publish(part: Batch) -> Kind:
        may_begin()
        return work(part)

    def publish_failure(part: Batch, error: Exception) -> Kind:
        may_begin()
        return work.fail(part, error)

    results: list[Kind] = []
    isolated = 0
    waiting = [batch]
    while waiting:
        part = waiting.pop()
        try:
            results.append(patiently(partial(publish, part)))
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
                    f"{type(error).__name__}: {error}; that is a fault of the code or of the database rather than of "
                    "their data, so nothing more of this batch is published; please report it"
                ) from error
            results.append(patiently(partial(publish_failure, part, error)))
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
    kept = (LONGEST_MESSAGE - 3) // 2
    return line if len(line) <= LONGEST_MESSAGE else f"{line[:kept]} … {line[-kept:]}"


Progress = Callable[[int, int], None]
"""Called with the batches done and the batches in all."""

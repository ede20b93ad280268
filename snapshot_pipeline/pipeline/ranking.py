"""Compute batches, rank the cohorts of their students, which span batches, and publish them.

SnapshotWork.compute ──▶ Spool ──▶ CohortRanking ──▶ SnapshotWork.publish
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import date
from functools import partial

import numpy as np

from snapshot_pipeline.metrics.days import LocalDays, contiguous_ranges
from snapshot_pipeline.metrics.engagement import (
    BlockSource,
    CohortRanking,
    Engagement,
    Members,
    Participation,
    QuizBlock,
    QuizRecords,
)
from snapshot_pipeline.metrics.grid import Ints
from snapshot_pipeline.pipeline.batches import (
    Batch,
    BatchExecutor,
    BatchProgress,
    BatchTask,
    FunctionWork,
    ProgressListener,
    Result,
    memory_per_student,
    sample_students,
)
from snapshot_pipeline.pipeline.day_reports import DayReport
from snapshot_pipeline.pipeline.snapshot_work import ComputedBatch, SnapshotWork
from snapshot_pipeline.pipeline.spool import Spool
from snapshot_pipeline.platform.reads import PlatformReader
from snapshot_pipeline.postgres.errors import retry_transient

MAX_RANKED = 12_000_000
"""Student-days that are computed before they are ranked and published: about 0.2 GB in memory, 2 GB in the spool."""

RECORDS_PER_BLOCK = 8_000_000
"""Source rows of the students whose quizzes are ranked at once."""

MAX_RECORDS_IN_MEMORY = 40_000_000
"""With more source rows the quiz records are kept in files."""


ATTEMPT_WEIGHT = 6
"""Source rows that take as much memory as an attempt whose quiz is ranked: it is copied and sorted."""


def events_to_rank(reader: PlatformReader, user_ids: Ints, days: LocalDays) -> float:
    """Mean number of source rows read for each student, by the memory that they take."""
    sample = sample_students(user_ids)
    attempts = reader.attempts_per_student(sample, days.end)
    return reader.events_per_student(sample, days.window_start, days.end) + ATTEMPT_WEIGHT * attempts


def publish_ranked(
    executor: BatchExecutor,
    work: SnapshotWork,
    user_ids: Ints,
    events: float,
    check_lock: Callable[[], None],
    progress: ProgressListener,
) -> Iterator[DayReport]:
    """Compute, rank and publish all active students; yields the reports of each batch.

    Long ranges of many students are split into shorter ranges of days, which changes no figure.

    Args:
        events: See `events_to_rank`.
    """
    ranges = [replace(work, days=days) for days in split_days(work.days, len(user_ids))]
    batches_of = [executor.split(user_ids, memory_per_student(part.days.count, events)) for part in ranges]
    counter = BatchProgress(progress, 2 * sum(map(len, batches_of)), work.days.count * len(user_ids))
    for part, batches in zip(ranges, batches_of, strict=True):
        yield from _publish_range(executor, part, batches, events, check_lock, counter)


def _publish_range(
    executor: BatchExecutor,
    work: SnapshotWork,
    batches: Sequence[Batch],
    events: float,
    check_lock: Callable[[], None],
    counter: BatchProgress,
) -> Iterator[DayReport]:
    """Compute, rank and publish the batches; each counts half when it is computed and half when it is published."""
    days = work.days.count
    firsts = np.array([batch.user_ids[0] for batch in batches], dtype=np.int64)

    def count_computed(batch: Batch) -> None:
        counter.add(len(batch.user_ids) * days / 2)

    def count_published(part: Batch) -> None:
        whole = batches[int(np.searchsorted(firsts, part.user_ids[0], side="right")) - 1]
        counter.add(len(part.user_ids) * days / 2, len(part.user_ids) / len(whole.user_ids))

    with ranked_batches(executor, work, batches, events, check_lock, count_computed) as computed:
        tasks = (BatchTask(Batch(batch.user_ids), _publication(work, batch)) for batch in computed)
        for reports in executor.map_tasks(tasks, check_lock, count_published):
            yield from reports


def publish_engagement(
    executor: BatchExecutor,
    work: SnapshotWork,
    user_ids: Ints,
    events: float,
    check_lock: Callable[[], None],
) -> Iterator[tuple[LocalDays, Ints]]:
    """Rank cohorts again; every other column keeps what is stored.

    Args:
        user_ids: All active students of these cohorts.
        events: See `events_to_rank`.

    Yields:
        Some days, and how many rows were ranked otherwise on each of them.
    """
    for days in split_days(work.days, len(user_ids)):
        part = replace(work, days=days)
        batches = executor.split(user_ids, memory_per_student(days.count, events))
        with ranked_batches(executor, part, batches, events, check_lock) as computed:
            tasks = (BatchTask(Batch(batch.user_ids), _engagement_publication(part, batch)) for batch in computed)
            for reranked in executor.map_tasks(tasks, check_lock):
                yield days, reranked


@contextmanager
def ranked_batches(
    executor: BatchExecutor,
    work: SnapshotWork,
    batches: Sequence[Batch],
    events: float,
    check_lock: Callable[[], None],
    batch_done: Callable[[Batch], None] = lambda _: None,
) -> Iterator[Iterable[ComputedBatch]]:
    """Compute batches that together hold every active member of their cohorts, and rank the cohorts.

    Args:
        events: See `events_to_rank`.

    Yields:
        The computed batches with their engagement. A student whose computation raised is a batch with a failure.
    """
    expected = sum(len(batch.user_ids) for batch in batches) * events
    compute = replace(work, reads_participation=True)
    compute_only = FunctionWork(work.name, compute.compute, compute.failure)
    with closing(Spool[_Unranked]()) as computed, closing(RecordStore(expected)) as records:
        participations: list[Participation] = []
        for batch in executor.map_batches(batches, compute_only, check_lock, batch_done):
            participation = batch.snapshots.participation
            if participation is not None:
                records.append(participation.records)
                participations.append(participation.without_records())
            snapshots = replace(batch.snapshots, participation=None)
            computed.append((replace(batch, snapshots=snapshots), participation is not None))
        yield _with_engagement(computed, _rank(executor, work, participations, records, check_lock))


def _rank(
    executor: BatchExecutor,
    work: SnapshotWork,
    participations: Sequence[Participation],
    records: RecordStore,
    check_lock: Callable[[], None],
) -> Engagement:
    if not participations:
        return Engagement.none(0, work.days.count)
    members = Members(participations)
    ranking = CohortRanking(members, records.blocks(members, executor.local_executor), work.days.first)
    if work.days.count == 1:
        ranking.rank_day(0, executor.local_executor.map)
        return ranking.engagement
    days = [executor.local_executor.submit(ranking.rank_day, number) for number in range(work.days.count)]
    try:
        for day in days:
            day.result()
            retry_transient(check_lock)
    finally:
        for day in days:
            day.cancel()
    return ranking.engagement


class RecordStore:
    """The quiz records of a run, in blocks of quizzes: in memory, or in files if there are many.

    Args:
        expected: About how many source rows the students have, of which records are a part.
    """

    def __init__(self, expected: float) -> None:
        self._in_memory = expected <= MAX_RECORDS_IN_MEMORY
        count = max(1, math.ceil(expected / RECORDS_PER_BLOCK))
        self._parts: list[list[QuizRecords] | Spool[QuizRecords]] = [
            [] if self._in_memory else Spool() for _ in range(count)
        ]

    def append(self, records: QuizRecords) -> None:
        for part, its_records in zip(self._parts, records.split(len(self._parts)), strict=True):
            part.append(its_records)

    def blocks(self, members: Members, pool: Executor) -> Sequence[BlockSource]:
        """The blocks; read again each time that they are loaded if they are not in memory."""
        blocks = [_UnreadBlock(part, members) for part in self._parts]
        return list(pool.map(_UnreadBlock.load, blocks)) if self._in_memory else blocks

    def close(self) -> None:
        """Delete the files."""
        for part in self._parts:
            if isinstance(part, Spool):
                part.close()


@dataclass(frozen=True)
class _UnreadBlock:
    records: Iterable[QuizRecords]
    members: Members

    def load(self) -> QuizBlock:
        return QuizBlock.of(list(self.records), self.members)


_Unranked = tuple[ComputedBatch, bool]
"""A computed batch, and whether its students are ranked: not if the computation raised."""


def _with_engagement(computed: Iterable[_Unranked], engagement: Engagement) -> Iterator[ComputedBatch]:
    first = 0
    for batch, is_ranked in computed:
        last = first + (len(batch.user_ids) if is_ranked else 0)
        yield replace(batch, engagement=engagement.of_students(slice(first, last)))
        first = last


def split_days(days: LocalDays, students: int) -> list[LocalDays]:
    """Split a range of days into ranges of at most `MAX_RANKED` student-days, or of one day."""
    dates: list[date] = days.dates.tolist()
    ranges = contiguous_ranges(dates, max(1, MAX_RANKED // max(1, students)))
    return [LocalDays(first, last, days.zone) for first, last in ranges]


def _publication(work: SnapshotWork, computed: ComputedBatch) -> FunctionWork[list[DayReport]]:
    """Publish a computed batch, or the half that is left of it; a student whose figures are refused has failed."""
    name = f"publication {work.days.first}\u2026{work.days.last}"
    return FunctionWork(name, partial(_publish, work.publish, computed), work.fail)


def _engagement_publication(work: SnapshotWork, computed: ComputedBatch) -> FunctionWork[Ints]:
    """Publish only the engagement columns: how many rows were ranked otherwise, by day."""
    name = f"engagement {work.days.first}\u2026{work.days.last}"
    return FunctionWork(name, partial(_publish, work.publish_engagement, computed), _raise)


def _publish(publish: Callable[[ComputedBatch], Result], computed: ComputedBatch, batch: Batch) -> Result:
    return publish(computed.of_students(batch.user_ids))


def _raise(batch: Batch, error: Exception) -> Ints:
    """Raise the error: a rank does not come from a student's data alone."""
    raise error

"""Batches: an error in one student's data fails only that student; a database error fails the run."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import adbc_driver_manager
import numpy as np
import psycopg2
import pytest
from sqlalchemy import select, text

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.metrics.days import LocalDays
from snapshot_pipeline.pipeline import batches as batches_module
from snapshot_pipeline.pipeline.batches import (
    MIN_STUDENTS,
    Batch,
    BatchExecutor,
    BatchWork,
    Progress,
    SystematicError,
    memory_per_student,
    progress_per_batch,
    sample_students,
    split,
)
from snapshot_pipeline.pipeline.day_reports import DayReport
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.reasons import BY_HAND
from snapshot_pipeline.pipeline.snapshot_work import SnapshotWork
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.pipeline.source import open_source
from snapshot_pipeline.postgres import errors as postgres_errors
from snapshot_pipeline.postgres.errors import is_transient
from snapshot_pipeline.store.locks import exclusive_days
from snapshot_pipeline.store.months import ensure_partitions
from snapshot_pipeline_tests.pipeline.installations import SUNDAY, execute, installation_on, published, raising_for
from snapshot_pipeline_tests.reference.reading import read_rows
from snapshot_pipeline_tests.reference.snapshots import reference_day
from snapshot_pipeline_tests.waiting import wait_for


def ids(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


@pytest.mark.parametrize(
    ("per_student", "batch_rows", "sizes"),
    [(30, 90, [3, 2, 2]), (30, 119, [3, 2, 2]), (30, 210, [7]), (30, 1_000_000, [7]), (30, 1, [1] * 7)],
)
def test_a_batch_is_as_large_as_the_budget_allows(per_student, batch_rows, sizes):
    students = ids(2, 3, 5, 7, 11, 13, 17)
    batches = split(students, per_student, batch_rows, min_batches=1)
    assert [len(batch.user_ids) for batch in batches] == sizes
    assert np.concatenate([batch.user_ids for batch in batches]).tolist() == students.tolist()


def test_no_students_make_no_batch():
    assert split(ids(), 30, 100, min_batches=2) == []


def test_no_batch_is_empty_when_rounds_are_filled_up():
    sizes = [len(batch.user_ids) for batch in split(np.arange(62), 30, 30, min_batches=4)]
    assert sizes == [1] * 62


@pytest.mark.parametrize(
    ("students", "batch_rows", "batches"),
    [(1_999, 10**9, 1), (2_000, 10**9, 2), (30_000, 10**9, 3), (30_000, 30 * 8_000, 6), (30_000, 30 * 5_000, 6)],
)
def test_batches_keep_all_threads_busy_to_the_end(students, batch_rows, batches):
    sizes = [len(batch.user_ids) for batch in split(np.arange(students), 30, batch_rows, min_batches=3)]
    assert len(sizes) == batches
    assert max(sizes) - min(sizes) <= 1


def test_events_add_to_the_memory_of_a_student():
    assert memory_per_student(1, 0) == 1
    assert memory_per_student(300, 200.5) == 351


def test_the_sample_is_spread_over_all_students():
    sample = sample_students(np.arange(0, 100_000, 7))
    assert 200 <= len(sample) <= 400
    assert sample[0] == 0
    assert sample[-1] > 99_000
    assert sample_students(ids(3, 4)) == [3, 4]
    assert sample_students(ids()) == []


def test_ranges_do_not_overlap_and_halves_are_complete():
    first, second = split(ids(2, 3, 90, 91, 200), 1, 3, min_batches=1)
    assert (first.range.first, first.range.last, second.range.first, second.range.last) == (2, 90, 91, 200)
    assert [half.user_ids.tolist() for half in first.halves()] == [[2], [3, 90]]


@dataclass
class WorkThatRaises:
    """Raises if one of `raises` is in the batch; records the processed and failed students."""

    raises: dict[int, Exception]
    processed: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)

    def __call__(self, batch: Batch) -> int:
        for user_id in batch.user_ids.tolist():
            if user_id in self.raises:
                raise self.raises[user_id]
        self.processed += batch.user_ids.tolist()
        return len(batch.user_ids)

    def fail(self, batch: Batch, error: Exception) -> int:
        (user_id,) = batch.user_ids.tolist()
        self.failed[user_id] = str(error)
        return 0


def process(
    batches: Sequence[Batch],
    work: BatchWork[Any],
    threads: int = 2,
    batch_done: Callable[[Batch], None] = lambda _: None,
) -> list[Any]:
    with ThreadPoolExecutor(threads) as pool:
        executor = BatchExecutor(pool, pool, lambda: sys.maxsize, min_batches=1, batch_rows=1)
        return list(executor.map_batches(batches, work, batch_done=batch_done))


def process_students(work: WorkThatRaises, students: int = 100, size: int = 40) -> list[int]:
    return process(split(np.arange(students, dtype=np.int64), 1, size, min_batches=1), work)


def test_only_students_that_raise_fail_each_with_its_message():
    work = WorkThatRaises({3: ValueError("three"), 4: KeyError("four"), 39: ValueError("last"), 77: ValueError("77")})
    assert sum(process_students(work)) == 96
    assert sorted(work.processed) == [number for number in range(100) if number not in work.raises]
    assert work.failed == {3: "three", 4: "'four'", 39: "last", 77: "77"}


def test_a_halved_batch_counts_once_in_the_progress():
    reported: list[Progress] = []
    batches = split(np.arange(100, dtype=np.int64), 1, 40, min_batches=1)
    work = WorkThatRaises({3: ValueError("three"), 77: ValueError("77")})
    results = process(batches, work, 1, progress_per_batch(reported.append, batches))
    assert len(results) > len(batches)
    totals = [(progress.done, progress.total, progress.total_rows) for progress in reported]
    assert totals == [(number, 3, 100) for number in range(4)]
    rows = np.cumsum([len(batch.user_ids) for batch in batches]).tolist()
    assert [progress.rows for progress in reported] == [0, *rows]


@pytest.mark.parametrize(
    "error",
    [
        psycopg2.OperationalError("server closed the connection"),
        OSError("no space left"),
        MemoryError(),
        SnapshotPipelineError("a setting"),
        adbc_driver_manager.OperationalError("lost", status_code=adbc_driver_manager.AdbcStatusCode.IO),
        adbc_driver_manager.ProgrammingError(
            "no such table", status_code=adbc_driver_manager.AdbcStatusCode.NOT_FOUND, sqlstate="42P01"
        ),
    ],
)
def test_errors_not_caused_by_data_stop_the_run(error: Exception, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(postgres_errors, "MAX_ATTEMPTS", 1)
    work = WorkThatRaises({7: error})
    with pytest.raises(type(error)):
        process_students(work)
    assert work.failed == {}


def test_too_many_failures_in_a_batch_stop_the_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batches_module, "MAX_ISOLATED", 10)
    every_student = {number: ValueError("always") for number in range(100)}
    with pytest.raises(
        SystematicError, match="more than 10 students of one batch failed, the last one with ValueError"
    ):
        process_students(WorkThatRaises(every_student))
    ten_a_batch = {number: ValueError("always") for number in [*range(10), *range(40, 50)]}
    assert sum(process_students(WorkThatRaises(ten_a_batch), students=80)) == 60


@dataclass(frozen=True)
class SnapshotWorkThatRaises(SnapshotWork):
    """The real work, with an error for certain students."""

    raises_for: frozenset[int] = frozenset()

    def __call__(self, batch: Batch) -> list[DayReport]:
        failing = self.raises_for & set(batch.user_ids.tolist())
        if failing:
            raise ValueError(f"cannot compute {min(failing)}")
        return super().__call__(batch)


@pytest.fixture
def small(installation: Installation) -> Installation:
    """A fifth of the sample's students, so that isolating a student needs few halvings."""
    execute(installation.engine.url, "UPDATE users SET is_active = false WHERE id % 5 > 0")
    return installation


def test_two_students_that_raise_do_not_affect_the_others(small: Installation):
    installation = small
    settings = installation.settings
    days = LocalDays(SUNDAY, SUNDAY, settings.zone)
    due = reference_day(read_rows(installation.engine, "public"), SUNDAY, settings.zone)
    first, second = due.published[0].user_id, due.published[20].user_id
    with installation.engine.connect() as connection:
        active = [row.user.id for row in read_rows(connection, "public").active_students(settings.zone)]
    issues = installation.store.data_issues
    listed = {"source_table": "quiz_attempts", "source_key": "7", "issue": "negative_score", "detail": "score -1"}
    seen = {"day": SUNDAY, "first_seen_at": datetime.now(timezone.utc), "last_seen_at": datetime.now(timezone.utc)}
    with installation.engine.begin() as connection:
        connection.execute(issues.insert().values(**listed, **seen, user_id=first))
    with exclusive_days(installation.engine, "public", SUNDAY, SUNDAY, "a run", 5) as lock:
        ensure_partitions(installation.engine, installation.store, SUNDAY, SUNDAY)
        work = SnapshotWorkThatRaises(
            installation.uri,
            open_source(installation, None),
            lock.lease,
            days,
            datetime.now(timezone.utc),
            "a run",
            BY_HAND,
            raises_for=frozenset({first, second}),
        )
        reports = [day for part in process(split(ids(*active), 30, 1_000, min_batches=1), work) for day in part]
    tables = published(installation)
    others = [row.user_id for row in due.published if row.user_id not in {first, second}]
    assert tables["performance_snapshots"]["user_id"].to_pylist() == others
    failures = {row["user_id"]: (row["reason"], row["detail"]) for row in tables["snapshot_failures"].to_pylist()}
    assert failures[first] == ("unexpected_error", f"ValueError: cannot compute {first}")
    assert failures[second] == ("unexpected_error", f"ValueError: cannot compute {second}")
    assert len(failures) == len(due.failures) + 2
    assert sum(report.failures["unexpected_error"] for report in reports) == 2
    assert sum(report.published for report in reports) == len(others)
    with installation.engine.connect() as connection:
        kept = connection.execute(select(issues.c.source_key).where(issues.c.user_id == first)).scalars().all()
    assert kept == ["7"], "nothing of an earlier run is lost"


def test_a_student_that_raises_fails_from_the_first_start_on(small: Installation):
    installation = small
    zone = installation.settings.zone
    newcomer = text(
        "SELECT user_id, min(started_at) FROM user_lesson_progress JOIN users ON users.id = user_id "
        "WHERE is_active AND upper(role) = 'STUDENT' GROUP BY user_id HAVING min(started_at) < :sunday "
        "ORDER BY min(started_at) DESC LIMIT 1"
    )
    with installation.engine.connect() as connection:
        failing, started = connection.execute(newcomer, {"sunday": SUNDAY}).one()
    first_day = started.astimezone(zone).date()
    with raising_for([failing]):
        run_days(installation, first_day - timedelta(days=2), SUNDAY, "newcomer")
    failures = published(installation)["snapshot_failures"].to_pylist()
    failed_on = [row["snapshot_date"] for row in failures if row["user_id"] == failing]
    assert failed_on == [first_day + timedelta(days=n) for n in range((SUNDAY - first_day).days + 1)]
    assert all("\n" not in row["detail"] and len(row["detail"]) <= 500 for row in failures)


@pytest.fixture
def stalled(installation: Installation) -> Iterator[Installation]:
    """An installation whose failures cannot be written, because their table is locked."""
    with installation.engine.connect() as connection:
        connection.execute(text("LOCK TABLE snapshot_failures IN ACCESS EXCLUSIVE MODE"))
        yield installation


def test_a_terminated_connection_is_no_students_failure(stalled: Installation, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(postgres_errors, "MAX_ATTEMPTS", 1)
    errors: list[Exception] = []

    def run() -> None:
        try:
            with installation_on(stalled.engine.url) as own:
                run_days(own, SUNDAY, SUNDAY, "ended")
        except Exception as error:  # noqa: BLE001  # the test checks it
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    _terminate_waiting_session(stalled)
    thread.join(30)
    (error,) = errors
    assert isinstance(error, SnapshotPipelineError)
    assert is_transient(error)
    assert "connection" in str(error)
    with stalled.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM performance_snapshots")).scalar_one() == 0


def _terminate_waiting_session(installation: Installation) -> None:
    query = text(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'snapshot_failures'::regclass AND NOT granted"
    )

    def terminated() -> bool | None:
        with installation.engine.connect() as connection:
            return connection.execute(query).scalar() or None

    wait_for(terminated, "a run waits for the table", 10, 0.05)


def test_a_batch_whose_commit_got_no_answer_is_published_once(small: Installation):
    """The first publication of a day skips the comparison; a retry finds its own rows."""
    days = LocalDays(SUNDAY, SUNDAY, small.settings.zone)
    with exclusive_days(small.engine, "public", SUNDAY, SUNDAY, "a run", 5) as lock:
        ensure_partitions(small.engine, small.store, SUNDAY, SUNDAY)
        source, now = open_source(small, None), datetime.now(timezone.utc)
        work = SnapshotWork(small.uri, source, lock.lease, days, now, "a run", BY_HAND, is_first=True)
        with source.session() as reader:
            batch = Batch(reader.active_student_ids())
        (once,), (again,) = work(batch), work(batch)
    assert once == again
    assert once.restated == 0
    assert published(small)["performance_snapshots"].num_rows == once.published > 0


@pytest.mark.parametrize(
    ("students", "threads", "sizes"),
    [
        (100_000, 2, {12_500}),  # four per thread
        (100_000, 1_000, {MIN_STUDENTS}),  # the minimum size
        (100_000, 0, {50_000}),  # no thread yet: limited by the row budget only
        (0, 2, set()),
    ],
)
def test_a_cluster_gets_several_batches_per_thread(students: int, threads: int, sizes: set[int]):
    executor = BatchExecutor(None, None, lambda: 2, threads * 4, 50_000 * 30)  # type: ignore[arg-type]
    batches = executor.split(np.arange(students, dtype=np.int64), 30)
    assert {len(batch.user_ids) for batch in batches} == sizes

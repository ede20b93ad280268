"""A student whose data raises costs nobody else a snapshot; a fault of the database is put on no student."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import adbc_driver_manager
import numpy as np
import psycopg2
import pytest
from sqlalchemy import select, text

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.metrics.days import LocalDays
from snapshot_pipeline.pipeline import batches as batches_module
from snapshot_pipeline.pipeline.batches import (
    Batch,
    Progress,
    SystematicError,
    cells_per_student,
    cut,
    map_batches,
    progress_per_batch,
    sample_of,
)
from snapshot_pipeline.pipeline.day_reports import DayReport
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.reasons import BY_HAND
from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshots import SnapshotWork, run_days
from snapshot_pipeline.pipeline.source import open_source
from snapshot_pipeline.postgres import errors as postgres_errors
from snapshot_pipeline.postgres.errors import is_transient
from snapshot_pipeline.store.locks import exclusive_days
from snapshot_pipeline.store.months import ensure_partitions
from snapshot_pipeline_tests.pipeline.installations import MONDAY, SUNDAY, execute, installation_on, published
from snapshot_pipeline_tests.reference.reading import read_rows
from snapshot_pipeline_tests.reference.snapshots import reference_day


def ids(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


@pytest.mark.parametrize(
    ("cells_per_student", "cells", "sizes"),
    [(30, 90, [3, 2, 2]), (30, 119, [3, 2, 2]), (30, 210, [7]), (30, 1_000_000, [7]), (30, 1, [1] * 7)],
)
def test_a_batch_holds_as_many_students_as_the_budget_allows_and_at_least_one(cells_per_student, cells, sizes):
    students = ids(2, 3, 5, 7, 11, 13, 17)
    batches = cut(students, cells_per_student, cells, min_batches=1)
    assert [len(batch.user_ids) for batch in batches] == sizes
    assert np.concatenate([batch.user_ids for batch in batches]).tolist() == students.tolist()


def test_nobody_makes_no_batch():
    assert cut(ids(), 30, 100, min_batches=2) == []


@pytest.mark.parametrize(
    ("students", "cells", "batches"),
    [(1_999, 10**9, 1), (2_000, 10**9, 2), (30_000, 10**9, 3), (30_000, 30 * 8_000, 6), (30_000, 30 * 5_000, 6)],
)
def test_every_lane_has_a_batch_and_the_last_round_is_as_long_as_the_others(students, cells, batches):
    cut_up = cut(np.arange(students), 30, cells, min_batches=3)
    sizes = [len(batch.user_ids) for batch in cut_up]
    assert len(sizes) == batches
    assert max(sizes) - min(sizes) <= 1


def test_a_student_whose_many_events_are_read_weighs_more():
    assert cells_per_student(1, 0) == 1
    assert cells_per_student(300, 200.5) == 351


def test_the_sample_has_students_from_all_over():
    sample = sample_of(np.arange(0, 100_000, 7))
    assert 200 <= len(sample) <= 400
    assert sample[0] == 0
    assert sample[-1] > 99_000
    assert sample_of(ids(3, 4)) == [3, 4]
    assert sample_of(ids()) == []


def test_the_ranges_of_two_batches_do_not_overlap_and_halves_lose_nobody():
    one, two = cut(ids(2, 3, 90, 91, 200), 1, 3, min_batches=1)
    assert (one.range.first, one.range.last, two.range.first, two.range.last) == (2, 90, 91, 200)
    assert [half.user_ids.tolist() for half in one.halves()] == [[2], [3, 90]]


@dataclass
class WorkThatRaises:
    """Raises when one of `raises` is in the batch; remembers what came of whom."""

    raises: dict[int, Exception]
    worked: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)

    def __call__(self, batch: Batch) -> int:
        for user_id in batch.user_ids.tolist():
            if user_id in self.raises:
                raise self.raises[user_id]
        self.worked += batch.user_ids.tolist()
        return len(batch.user_ids)

    def fail(self, batch: Batch, error: Exception) -> int:
        (user_id,) = batch.user_ids.tolist()
        self.failed[user_id] = str(error)
        return 0


def worked_through(work: WorkThatRaises, students: int = 100, size: int = 40) -> list[int]:
    with ThreadPoolExecutor(2) as pool:
        return list(map_batches(cut(np.arange(students, dtype=np.int64), 1, size, min_batches=1), work, pool))


def test_only_the_students_that_raise_fail_each_with_the_own_message():
    work = WorkThatRaises({3: ValueError("three"), 4: KeyError("four"), 39: ValueError("last"), 77: ValueError("77")})
    assert sum(worked_through(work)) == 96
    assert sorted(work.worked) == [number for number in range(100) if number not in work.raises]
    assert work.failed == {3: "three", 4: "'four'", 39: "last", 77: "77"}


def test_a_batch_that_is_taken_apart_counts_once_and_what_is_done_never_passes_the_total():
    told: list[Progress] = []
    batches = cut(np.arange(100, dtype=np.int64), 1, 40, min_batches=1)
    work = WorkThatRaises({3: ValueError("three"), 77: ValueError("77")})
    with ThreadPoolExecutor(1) as pool:
        done = progress_per_batch(told.append, batches, rows_per_student=30)
        results = list(map_batches(batches, work, pool, batch_done=done))
    assert len(results) > len(batches)
    assert [(one.done, one.total, one.of_rows) for one in told] == [(number, 3, 3_000) for number in range(4)]
    assert [one.rows for one in told] == [0, *np.cumsum([len(batch.user_ids) * 30 for batch in batches]).tolist()]


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
def test_what_is_nobodys_data_stops_the_run(error: Exception, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(postgres_errors, "MAX_ATTEMPTS", 1)
    work = WorkThatRaises({7: error})
    with pytest.raises(type(error)):
        worked_through(work)
    assert work.failed == {}


def test_so_many_failures_that_the_code_must_be_wrong_stop_the_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batches_module, "MOST_ISOLATED", 10)
    everybody = {number: ValueError("always") for number in range(100)}
    with pytest.raises(SystematicError, match="more than 10 students of one batch raise, the last one ValueError"):
        worked_through(WorkThatRaises(everybody))
    ten_a_batch = {number: ValueError("always") for number in [*range(10), *range(40, 50)]}
    assert sum(worked_through(WorkThatRaises(ten_a_batch), students=80)) == 60


@dataclass(frozen=True)
class SnapshotWorkThatRaises(SnapshotWork):
    """The real work, with a defect that shows for certain students."""

    raises_for: frozenset[int] = frozenset()

    def __call__(self, batch: Batch) -> list[DayReport]:
        unlucky = self.raises_for & set(batch.user_ids.tolist())
        if unlucky:
            raise ValueError(f"cannot digest {min(unlucky)}")
        return super().__call__(batch)


@pytest.fixture
def small(installation: Installation) -> Installation:
    """A fifth of the sample's students, so that not many halves have to be tried."""
    execute(installation.engine.url, "UPDATE users SET is_active = false WHERE id % 5 > 0")
    return installation


def test_the_day_of_everybody_else_is_published_when_the_computation_of_two_raises(small: Installation):
    installation = small
    settings = installation.settings
    days = LocalDays(SUNDAY, SUNDAY, settings.zone)
    due = reference_day(read_rows(installation.engine, "public"), SUNDAY, settings.zone)
    one, two = due.published[0].user_id, due.published[20].user_id
    with installation.engine.connect() as connection:
        active = [row.user.id for row in read_rows(connection, "public").active_students(settings.zone)]
    with (
        exclusive_days(installation.engine, "public", SUNDAY, SUNDAY, "a run", 5) as lock,
        ThreadPoolExecutor(2) as pool,
    ):
        ensure_partitions(installation.engine, installation.store, SUNDAY, SUNDAY)
        work = SnapshotWorkThatRaises(
            installation.uri,
            open_source(installation, None),
            lock.lease,
            days,
            datetime.now(timezone.utc),
            "a run",
            BY_HAND,
            raises_for=frozenset({one, two}),
        )
        reports = [day for part in map_batches(cut(ids(*active), 30, 1_000, min_batches=1), work, pool) for day in part]
    tables = published(installation)
    others = [row.user_id for row in due.published if row.user_id not in {one, two}]
    assert tables["performance_snapshots"]["user_id"].to_pylist() == others
    failures = {row["user_id"]: (row["reason"], row["detail"]) for row in tables["snapshot_failures"].to_pylist()}
    assert failures[one] == ("unexpected_error", f"ValueError: cannot digest {one}")
    assert failures[two] == ("unexpected_error", f"ValueError: cannot digest {two}")
    assert len(failures) == len(due.failures) + 2
    assert sum(report.failures["unexpected_error"] for report in reports) == 2
    assert sum(report.published for report in reports) == len(others)


def test_a_number_too_large_for_any_column_fails_its_student_alone(small: Installation):
    """Nothing is patched: a platform that keeps minutes as `numeric` can hold what no snapshot can."""
    installation = small
    url = installation.engine.url
    zone = installation.settings.zone
    due = reference_day(read_rows(installation.engine, "public"), SUNDAY, zone)
    unlucky = due.published[7].user_id
    execute(
        url,
        "ALTER TABLE user_lesson_progress ALTER time_spent_minutes TYPE numeric",
        f"UPDATE user_lesson_progress SET time_spent_minutes = 1e30 WHERE user_id = {unlucky}",  # noqa: S608
    )
    run_days(installation, SUNDAY, SUNDAY, "too large")
    tables = published(installation)
    assert tables["performance_snapshots"]["user_id"].to_pylist() == [
        row.user_id for row in due.published if row.user_id != unlucky
    ]
    (failure,) = (row for row in tables["snapshot_failures"].to_pylist() if row["user_id"] == unlucky)
    assert failure["reason"] == "unexpected_error"
    assert "bigint out of range" in failure["detail"]


def test_a_student_that_raises_fails_on_no_day_before_the_first_start(small: Installation):
    installation = small
    zone = installation.settings.zone
    newcomer = text(
        "SELECT user_id, min(started_at) FROM user_lesson_progress JOIN users ON users.id = user_id "
        "WHERE is_active AND upper(role) = 'STUDENT' GROUP BY user_id HAVING min(started_at) < :sunday "
        "ORDER BY min(started_at) DESC LIMIT 1"
    )
    with installation.engine.connect() as connection:
        unlucky, started = connection.execute(newcomer, {"sunday": SUNDAY}).one()
    began = started.astimezone(zone).date()
    execute(
        installation.engine.url,
        "ALTER TABLE user_lesson_progress ALTER time_spent_minutes TYPE numeric",
        f"UPDATE user_lesson_progress SET time_spent_minutes = 1e30 WHERE user_id = {unlucky}",  # noqa: S608
    )
    run_days(installation, began - timedelta(days=2), SUNDAY, "newcomer")
    failures = published(installation)["snapshot_failures"].to_pylist()
    failed_on = [row["snapshot_date"] for row in failures if row["user_id"] == unlucky]
    assert failed_on == [began + timedelta(days=n) for n in range((SUNDAY - began).days + 1)]
    assert all("\n" not in row["detail"] and len(row["detail"]) <= 500 for row in failures)


def test_a_student_whose_week_raises_keeps_the_recommendations_of_before(small: Installation):
    installation = small
    url = installation.engine.url
    run_days(installation, SUNDAY, SUNDAY, "days")
    first = run_week(installation, MONDAY, "week")
    recommendations = installation.store.adaptive_recommendations
    with installation.engine.connect() as connection:
        newest = "SELECT user_id FROM quiz_attempts JOIN users ON users.id = user_id WHERE is_active AND quiz_id > 9 "
        unlucky = connection.execute(text(f"{newest} ORDER BY completed_at DESC")).scalar()
    execute(
        url,
        "ALTER TABLE quiz_attempts ALTER score TYPE numeric",
        f"UPDATE quiz_attempts SET score = 1e400 WHERE user_id = {unlucky}",  # noqa: S608
    )
    query = select(recommendations).where(recommendations.c.user_id == unlucky)
    with installation.engine.connect() as connection:
        before = connection.execute(query).all()
    again = run_week(installation, MONDAY, "week")
    with installation.engine.connect() as connection:
        assert connection.execute(query).all() == before
    assert before
    assert list(again.failed) == [unlucky]
    assert "out of range" in again.failed[unlucky]
    assert again.receivers == first.receivers


@pytest.fixture
def stalled(installation: Installation) -> Iterator[Installation]:
    """An installation whose failures cannot be written, because somebody holds their table, until the test ends it."""
    with installation.engine.connect() as connection:
        connection.execute(text("LOCK TABLE snapshot_failures IN ACCESS EXCLUSIVE MODE"))
        yield installation


def test_a_connection_that_the_database_ends_is_put_on_no_student(
    stalled: Installation, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(postgres_errors, "MAX_ATTEMPTS", 1)
    errors: list[Exception] = []

    def run() -> None:
        try:
            with installation_on(stalled.engine.url) as own:
                run_days(own, SUNDAY, SUNDAY, "ended")
        except Exception as error:  # noqa: BLE001  # whatever it is, the test looks at it
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    _end_who_waits_for_the_table(stalled)
    thread.join(30)
    (error,) = errors
    assert isinstance(error, SnapshotPipelineError)
    assert is_transient(error)
    assert "connection" in str(error)
    with stalled.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM performance_snapshots")).scalar_one() == 0


def _end_who_waits_for_the_table(installation: Installation) -> None:
    query = text(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'snapshot_failures'::regclass AND NOT granted"
    )
    pause = threading.Event()
    for _ in range(200):
        with installation.engine.connect() as connection:
            if connection.execute(query).scalar():
                return
        pause.wait(0.05)
    pytest.fail("no run has come to the table")


def test_a_batch_whose_commit_was_answered_by_nobody_is_published_once(small: Installation):
    """The first publication of a day compares with nothing; one that is tried again finds its own rows."""
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

"""Reading the platform from a streaming replica: the same rows, and never a day that it does not have completely."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import URL

from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.late_data import changed_days
from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.recompute import recompute_day
from snapshot_pipeline.pipeline.retry import retry_failed
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.pipeline.source import open_source
from snapshot_pipeline.platform import replication
from snapshot_pipeline.platform.contract import check_platform
from snapshot_pipeline.platform.replication import ReplicaBehindError
from snapshot_pipeline.postgres import errors as postgres_errors
from snapshot_pipeline.postgres.errors import DatabaseError, is_transient
from snapshot_pipeline.store.days import DayCount, RecordedRun, record_days
from snapshot_pipeline.store.source_states import SourceState
from snapshot_pipeline_tests.integration.database_faults.faults import wait_for
from snapshot_pipeline_tests.integration.replica.conftest import Pair
from snapshot_pipeline_tests.integration.replica.servers import await_replay, query
from snapshot_pipeline_tests.pipeline.installations import (
    MONDAY,
    SUNDAY,
    differences,
    execute,
    installation_on,
    published,
    raising_for,
    recommended,
    students_started_before,
)


def reading_from_replica(pair: Pair, **settings: object) -> AbstractContextManager[Installation]:
    source = pair.standby.render_as_string(hide_password=False)
    return installation_on(pair.primary, source_database_url=source, **settings)


def test_replica_gives_the_rows_of_the_primary_and_serves_every_read(pair: Pair):
    """The primary's rows are changed while the replica is paused, so that a read from the primary would be noticed."""
    pair.pause()
    lessons = "UPDATE user_lesson_progress SET time_spent_minutes = time_spent_minutes {} 7"
    execute(pair.primary, lessons.format("+"))
    try:
        with reading_from_replica(pair) as installation:
            with raising_for(students_started_before(pair.primary, SUNDAY, 1)):
                run_days(installation, SUNDAY, SUNDAY, "from the replica")
            assert retry_failed(installation, None, None, "retry").days
            run_week(installation, MONDAY, "from the replica")
            assert differences({**published(installation), **recommended(installation)}, pair.expected) == []
            assert not recompute_day(installation, SUNDAY, "rebuild").differs
            assert changed_days(installation, SUNDAY, SUNDAY) == []
    finally:
        execute(pair.primary, lessons.format("-"))


def test_run_waits_for_a_lagging_replica_and_reads_the_new_rows(pair: Pair):
    pair.pause()
    execute(pair.primary, "CREATE TABLE mark ()")
    with reading_from_replica(pair) as installation, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(open_source, installation, datetime.now(timezone.utc))
        assert not _is_done_within(waiting, 1.5)
        pair.resume()
        with waiting.result(20).session() as reader:
            assert reader.position() is not None
        assert query(pair.standby, "SELECT to_regclass('mark') IS NOT NULL")
    execute(pair.primary, "DROP TABLE mark")


def _is_done_within(future: Future[object], seconds: float) -> bool:
    try:
        future.result(seconds)
    except TimeoutError:
        return False
    return True


def test_lagging_replica_is_a_one_line_error_with_lag_and_cause(pair: Pair):
    pair.pause()
    execute(pair.primary, "UPDATE users SET is_active = is_active")
    until = datetime.now(timezone.utc)
    with reading_from_replica(pair, replica_wait_seconds=0.2) as installation:
        with pytest.raises(ReplicaBehindError) as caught:
            open_source(installation, until)
        message = str(caught.value)
        assert f"is behind the end of the last day to be read, {until:%Y-%m-%d %H:%M:%S} UTC" in message
        assert "lacks" in message
        assert "its replay is paused: SELECT pg_wal_replay_resume()" in message
        assert "\n" not in message
        assert pair.standby.password not in message
        assert is_transient(caught.value)  # so that Dagster retries later


def test_day_or_week_incomplete_on_the_replica_is_an_error(pair: Pair):
    """The day ends in the future, so no replica can have it completely."""
    today = datetime.now(timezone.utc).date()
    with reading_from_replica(pair, replica_wait_seconds=0.2, timezone="UTC", start_date=today) as installation:
        with pytest.raises(ReplicaBehindError):
            run_days(installation, today, today, "too early")
        assert published(installation)["snapshot_days"].num_rows == 0
        monday = today - timedelta(days=today.weekday())
        sunday = DayCount(monday + timedelta(days=6), 1, 0)
        run = RecordedRun(datetime.now(timezone.utc), "an earlier run", {}, number=1, newest=1)
        with installation.engine.begin() as connection:
            record_days(connection, installation.store, run, [sunday], {sunday.day: SourceState()})
        with pytest.raises(ReplicaBehindError):
            run_week(installation, monday, "too early")


def test_replica_of_an_idle_primary_is_up_to_date(pair: Pair):
    """At night nothing may be committed for hours; a replica that has everything written so far is up to date."""
    with reading_from_replica(pair, replica_wait_seconds=5) as installation:
        await_replay(pair.primary, pair.standby)
        until = datetime.now(timezone.utc)
        assert query(pair.standby, "SELECT pg_last_xact_replay_timestamp()") < until
        assert open_source(installation, until).position is not None
        # A time that the primary's clock has not reached: the primary may still write rows before it.
        with pytest.raises(ReplicaBehindError):
            replication.await_replay(installation.source_engine, installation.engine, until + timedelta(hours=1), 0.2)


def test_batch_is_not_read_from_a_second_replica_with_more_lag(pair: Pair):
    """One host name may stand for several replicas: each must have what the first one had."""
    with reading_from_replica(pair) as installation:
        source = open_source(installation, datetime.now(timezone.utc) - timedelta(days=1))
        with source.session() as reader:
            assert len(reader.active_student_ids())
            later = source.not_before(reader)
        assert later.position is not None
        pair.pause()
        execute(pair.primary, "UPDATE users SET is_active = is_active")
        ahead = type(later)(**{**vars(later), "position": query(pair.primary, "SELECT pg_current_wal_lsn()::text")})
        with pytest.raises(ReplicaBehindError, match="has not replayed"), ahead.session():
            pytest.fail("an earlier state was read")
        pair.resume()
        wait_for(lambda: query(pair.standby, f"SELECT pg_last_wal_replay_lsn() >= '{ahead.position}'"), "caught up")
        with ahead.session() as reader:
            assert len(reader.active_student_ids())


def test_read_cancelled_by_a_recovery_conflict_is_transient(pair: Pair):
    """A conflict with recovery: the primary has vacuumed rows that the read still needs."""
    with without_standby_delay(pair.standby), reading_from_replica(pair) as installation:
        source = open_source(installation, datetime.now(timezone.utc) - timedelta(days=1))

        def read() -> None:
            with source.session() as reader:
                for _ in range(20):  # VACUUM skips a page that is in use
                    reader.active_student_ids()
                    execute(pair.primary, "UPDATE users SET is_active = is_active")
                    query(pair.primary, "VACUUM users")
                    await_replay(pair.primary, pair.standby)

        with pytest.raises(DatabaseError) as caught:
            read()
        assert is_transient(caught.value)
        assert "hot_standby_feedback" in str(caught.value)
        assert f":{pair.standby.port}/" in str(caught.value)


@contextmanager
def without_standby_delay(standby: URL) -> Iterator[None]:
    """Let a replica cancel conflicting reads at once; by default it waits 30 seconds."""
    query(standby, "ALTER SYSTEM SET max_standby_streaming_delay = '50ms'")
    query(standby, "SELECT pg_reload_conf()")
    yield
    query(standby, "ALTER SYSTEM RESET max_standby_streaming_delay")
    query(standby, "SELECT pg_reload_conf()")


def test_error_for_an_unreachable_source_names_the_source(pair: Pair, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(postgres_errors, "MAX_ATTEMPTS", 1)
    unreachable = pair.standby.set(port=1).render_as_string(hide_password=False)
    with (
        installation_on(pair.primary, source_database_url=unreachable) as installation,
        pytest.raises(DatabaseError, match=r"cannot connect to .*127\.0\.0\.1:1/platform") as caught,
    ):
        open_source(installation, None)
    assert pair.standby.password not in str(caught.value)


def test_platform_check_reads_the_replica(pair: Pair):
    pair.pause()
    execute(pair.primary, "ALTER TABLE lessons RENAME TO old_lessons")
    try:
        with reading_from_replica(pair) as installation:
            on_replica = check_platform(installation.source_engine, "public")
            on_primary = check_platform(installation.engine, "public")
    finally:
        execute(pair.primary, "ALTER TABLE old_lessons RENAME TO lessons")
    assert [finding.table for finding in on_replica if finding.severity == "error"] == []
    assert [finding.table for finding in on_primary if finding.severity == "error"] == ["lessons"]

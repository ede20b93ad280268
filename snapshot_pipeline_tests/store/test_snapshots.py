"""Publishing replaces exactly the computed student-days, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import delete, insert, literal_column, select

from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.store.days import (
    DayCount,
    RecordedRun,
    day_counts,
    last_day_count_before,
    record_changes,
    record_days,
)
from snapshot_pipeline.store.failures import OpenFailures, failures_by_reason
from snapshot_pipeline.store.snapshot_queries import mean_pace_by_day
from snapshot_pipeline.store.snapshots import Publication, PublicationScope, replace_snapshots
from snapshot_pipeline.store.source_states import SourceState, changed_blocks, read_fingerprints, read_states
from snapshot_pipeline.store.tables import ENGAGEMENT_COLUMNS
from snapshot_pipeline_tests.store.conftest import Store

DAY = date(2026, 3, 10)
YESTERDAY, TOMORROW = DAY - timedelta(days=1), DAY + timedelta(days=1)
NOW = datetime(2026, 3, 11, 0, 5, tzinfo=timezone.utc)


def state(fingerprint: str, *digests: int) -> SourceState:
    """Return rows of two blocks of students."""
    return SourceState(fingerprint, np.array(digests or (1, 2), dtype=np.int64))


STATES = {YESTERDAY: state("1 started=1:7"), DAY: state("1 started=2:8")}

StudentDays = Sequence[tuple[int, date]]


def snapshots(student_days: StudentDays, pace_score: float = 50.0) -> pd.DataFrame:
    """Return published rows, one per student-day, all with the same pace."""
    count = len(student_days)
    return pd.DataFrame(
        {
            "user_id": np.array([user_id for user_id, _ in student_days], dtype=np.int64),
            "snapshot_date": np.array([day for _, day in student_days], dtype="datetime64[s]"),
            "pace_score": np.full(count, pace_score),
            "learning_pace": np.full(count, "MEDIUM", dtype=object),
            "quiz_average": np.full(count, np.nan),
            "lessons_completed_count": np.ones(count, dtype=np.int64),
            "time_spent_minutes_today": np.full(count, 3_000_000_000, dtype=np.int64),
            "quizzes_completed_count": np.zeros(count, dtype=np.int64),
            "exercises_submitted_count": np.zeros(count, dtype=np.int64),
            "last_activity_date": np.array([day for _, day in student_days], dtype="datetime64[s]"),
            "days_since_activity": np.zeros(count, dtype=np.int64),
        }
    )


def failures(student_days: StudentDays, reason: str = "unexpected_error") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "user_id": np.array([user_id for user_id, _ in student_days], dtype=np.int64),
            "snapshot_date": np.array([day for _, day in student_days], dtype="datetime64[s]"),
            "reason": np.full(len(student_days), reason, dtype=object),
            "detail": np.full(len(student_days), "ValueError: cannot compute", dtype=object),
        }
    )


def publish(
    store: Store,
    users: Sequence[int],
    published: pd.DataFrame,
    failed: pd.DataFrame | None = None,
    days: tuple[date, date] = (DAY, DAY),
    at: datetime = NOW,
) -> Publication:
    computed = PublicationScope(np.array(users, dtype=np.int64), *days, at, "a run", "by hand")
    with bulk.transaction(store.uri) as connection:
        return replace_snapshots(
            connection, store.tables, computed, published, failures([]) if failed is None else failed
        )


def paces(store: Store) -> dict[tuple[int, date], float]:
    table = store.tables.performance_snapshots
    with store.engine.connect() as connection:
        rows = connection.execute(select(table.c.user_id, table.c.snapshot_date, table.c.pace_score))
        return {(user_id, day): pace for user_id, day, pace in rows}


def open_failures(store: Store) -> dict[tuple[int, date], str]:
    table = store.tables.snapshot_failures
    with store.engine.connect() as connection:
        rows = connection.execute(select(table.c.user_id, table.c.snapshot_date, table.c.reason))
        return {(user_id, day): reason for user_id, day, reason in rows}


def test_every_column_is_stored_as_computed(store: Store):
    publish(store, [1], snapshots([(1, DAY)], pace_score=33.33))
    with store.engine.connect() as connection:
        (row,) = connection.execute(select(store.tables.performance_snapshots)).mappings()
    assert dict(row) == {
        "user_id": 1,
        "snapshot_date": DAY,
        "pace_score": 33.33,
        "learning_pace": "MEDIUM",
        "quiz_average": None,
        "lessons_completed_count": 1,
        "time_spent_minutes_today": 3_000_000_000,
        "quizzes_completed_count": 0,
        "exercises_submitted_count": 0,
        "last_activity_date": DAY,
        "days_since_activity": 0,
        **dict.fromkeys(ENGAGEMENT_COLUMNS),
        "computed_at": NOW,
    }


def test_only_computed_students_and_days_are_replaced(store: Store):
    all_student_days = [(user_id, day) for user_id in (1, 2, 3) for day in (YESTERDAY, DAY, TOMORROW)]
    publish(store, [1, 2, 3], snapshots(all_student_days, 10.0), days=(YESTERDAY, TOMORROW))
    publish(store, [1, 3], snapshots([(1, DAY), (3, DAY)], 20.0))
    changed = {(1, DAY), (3, DAY)}
    assert paces(store) == {student_day: 20.0 if student_day in changed else 10.0 for student_day in all_student_days}


def test_failed_student_keeps_the_snapshot_of_an_earlier_run(store: Store):
    publish(store, [1, 2], snapshots([(1, DAY), (2, DAY)], 10.0))
    publish(store, [1, 2], snapshots([(2, DAY)], 20.0), failures([(1, DAY)]))
    assert paces(store) == {(1, DAY): 10.0, (2, DAY): 20.0}
    assert open_failures(store) == {(1, DAY): "unexpected_error"}


def test_failed_day_of_a_range_keeps_its_snapshot_and_others_are_replaced(store: Store):
    days = (YESTERDAY, TOMORROW)
    publish(store, [1], snapshots([(1, YESTERDAY), (1, DAY), (1, TOMORROW)], 10.0), days=days)
    publish(store, [1], snapshots([(1, YESTERDAY), (1, TOMORROW)], 20.0), failures([(1, DAY)]), days)
    assert paces(store) == {(1, YESTERDAY): 20.0, (1, DAY): 10.0, (1, TOMORROW): 20.0}


def test_later_success_deletes_only_the_failure_of_its_student_day(store: Store):
    student_days = [(1, YESTERDAY), (1, DAY), (2, DAY)]
    publish(store, [1, 2], snapshots([]), failures(student_days), (YESTERDAY, DAY))
    publish(store, [1], snapshots([(1, DAY)]))
    assert open_failures(store).keys() == {(1, YESTERDAY), (2, DAY)}
    assert paces(store).keys() == {(1, DAY)}


def test_failure_with_another_reason_replaces_the_first(store: Store):
    publish(store, [1], snapshots([]), failures([(1, DAY)]))
    publish(store, [1], snapshots([]), failures([(1, DAY)], "another_error"))
    assert open_failures(store) == {(1, DAY): "another_error"}


def test_student_no_longer_computed_keeps_everything(store: Store):
    publish(store, [1, 2], snapshots([(1, DAY)], 10.0), failures([(2, DAY)]))
    publish(store, [3], snapshots([(3, DAY)], 20.0))
    assert paces(store) == {(1, DAY): 10.0, (3, DAY): 20.0}
    assert open_failures(store).keys() == {(2, DAY)}


def test_student_who_had_not_started_by_the_day_loses_the_row(store: Store):
    """The first start was moved to a later day: there is neither a snapshot nor a failure."""
    publish(store, [1, 2], snapshots([(1, DAY)]), failures([(2, DAY)]))
    publish(store, [1, 2], snapshots([]))
    assert paces(store) == {}
    assert open_failures(store) == {}


def test_readers_see_old_rows_until_all_new_ones_are_committed(store: Store):
    publish(store, [1, 2], snapshots([(1, DAY), (2, DAY)], 10.0))
    computed = PublicationScope(np.array([1, 2]), DAY, DAY, NOW, "a run", "by hand")
    with bulk.transaction(store.uri) as connection:
        replace_snapshots(connection, store.tables, computed, snapshots([(1, DAY)], 20.0), failures([(2, DAY)]))
        assert paces(store) == {(1, DAY): 10.0, (2, DAY): 10.0}
        assert open_failures(store) == {}
    assert paces(store) == {(1, DAY): 20.0, (2, DAY): 10.0}


def test_error_during_publication_changes_nothing(store: Store):
    publish(store, [1, 2], snapshots([(1, DAY)], 10.0), failures([(2, DAY)]))
    both = snapshots([(1, DAY), (2, DAY)], 20.0)
    with pytest.raises(KeyboardInterrupt):
        _publish_and_stop(store, both)
    assert paces(store) == {(1, DAY): 10.0}
    assert open_failures(store).keys() == {(2, DAY)}


def _publish_and_stop(store: Store, published: pd.DataFrame) -> None:
    with bulk.transaction(store.uri) as connection:
        computed = PublicationScope(np.array([1, 2]), DAY, DAY, NOW, "a run", "by hand")
        replace_snapshots(connection, store.tables, computed, published, failures([]))
        raise KeyboardInterrupt


def test_row_refused_by_the_table_changes_nothing(store: Store):
    publish(store, [1], snapshots([(1, DAY)], 10.0))
    duplicates = snapshots([(1, DAY), (1, DAY)], 20.0)
    with pytest.raises(Exception, match="duplicate key"):
        publish(store, [1], duplicates)
    assert paces(store) == {(1, DAY): 10.0}


def test_thousands_of_students_over_weeks_are_replaced_at_once(store: Store):
    students = list(range(1, 2_001))
    days = (DAY, DAY + timedelta(days=13))
    student_days = [(user_id, DAY + timedelta(days=n)) for user_id in students for n in range(14)]
    for pace in (10.0, 20.0):
        publish(store, students, snapshots(student_days, pace), days=days)
    assert set(paces(store).values()) == {20.0}
    assert len(paces(store)) == len(student_days)


def test_later_run_replaces_the_recorded_counts_of_a_day(store: Store):
    with store.engine.begin() as connection:
        record_days(connection, store.tables, run_of(1), [DayCount(YESTERDAY, 9, 1), DayCount(DAY, 0, 0)], STATES)
        record_days(connection, store.tables, run_of(2), [DayCount(YESTERDAY, 10, 0)], STATES)
        counts = day_counts(connection, store.tables, YESTERDAY, TOMORROW)
        before_day = last_day_count_before(connection, store.tables, DAY)
        before_yesterday = last_day_count_before(connection, store.tables, YESTERDAY)
    assert counts == [DayCount(YESTERDAY, 10, 0), DayCount(DAY, 0, 0)]
    assert (before_day, before_yesterday) == (DayCount(YESTERDAY, 10, 0), None)
    assert [count.success_rate for count in counts] == [1.0, None]
    assert replace(counts[0], failed=30).success_rate == 0.25


def test_publication_counts_how_many_students_more_are_published_and_failed(store: Store):
    def counts(publication: Publication) -> tuple[int, int]:
        return publication.more_published.item(), publication.more_failed.item()

    both = [(1, DAY), (2, DAY)]
    assert counts(publish(store, [1, 2, 3], snapshots(both), failures([(3, DAY)]))) == (2, 1)
    assert counts(publish(store, [1, 2, 3], snapshots(both), failures([(3, DAY)]))) == (0, 0)
    failed_later = publish(store, [1, 2, 3], snapshots([(1, DAY)]), failures([(2, DAY), (3, DAY)]))
    assert counts(failed_later) == (-1, 1)  # its row stays and does not count
    assert counts(publish(store, [1, 2, 3], snapshots([*both, (3, DAY)]))) == (2, -2)


def test_status_counts_open_failures_and_averages_the_pace(store: Store):
    published = pd.concat([snapshots([(1, DAY)], 10.0), snapshots([(2, DAY)], 20.0)])
    publish(store, [1, 2, 3], published, failures([(3, DAY)]))
    with store.engine.connect() as connection:
        assert failures_by_reason(connection, store.tables, DAY, DAY) == [
            OpenFailures("unexpected_error", 1, NOW, 1, 3)
        ]
        assert mean_pace_by_day(connection, store.tables, YESTERDAY, DAY) == {DAY: 15.0}


LATER = NOW + timedelta(days=1)


def row_versions(store: Store) -> dict[tuple[int, date], tuple[str, str, datetime]]:
    """Return `xmin` and `ctid` of each snapshot, which change when it is written, and its `computed_at`."""
    table = store.tables.performance_snapshots
    columns = (literal_column("xmin::text"), literal_column("ctid::text"), table.c.computed_at)
    with store.engine.connect() as connection:
        rows = connection.execute(select(table.c.user_id, table.c.snapshot_date, *columns))
        return {(user_id, day): version for user_id, day, *version in rows}  # type: ignore[misc]


def restatements(store: Store) -> list[tuple[int, date, str, str | None, str | None]]:
    table = store.tables.snapshot_restatements
    columns = (table.c.user_id, table.c.snapshot_date, table.c.column_name, table.c.old_value, table.c.new_value)
    with store.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(select(*columns).order_by(*columns[:3]))]


def test_unchanged_row_is_not_written(store: Store):
    """No dead row is left and `computed_at` stays, so computing three more days each night costs no writes."""
    student_days = [(user_id, day) for user_id in (1, 2) for day in (YESTERDAY, DAY)]
    publish(store, [1, 2], snapshots(student_days), days=(YESTERDAY, DAY))
    before = row_versions(store)
    publication = publish(store, [1, 2], snapshots(student_days), days=(YESTERDAY, DAY), at=LATER)
    assert row_versions(store) == before
    assert publication.restated.tolist() == [0, 0]
    assert restatements(store) == []


def test_only_the_changed_row_of_many_is_written(store: Store):
    student_days = [(user_id, DAY) for user_id in range(1, 50)]
    publish(store, range(1, 50), snapshots(student_days))
    before = row_versions(store)
    again = snapshots(student_days)
    again.loc[again["user_id"] == 7, "pace_score"] = 51.0
    publication = publish(store, range(1, 50), again, at=LATER)
    after = row_versions(store)
    assert {student_day for student_day in after if after[student_day] != before[student_day]} == {(7, DAY)}
    assert after[7, DAY][2] == LATER
    assert publication.restated.tolist() == [1]
    assert restatements(store) == [(7, DAY, "pace_score", "50", "51")]


def test_restatement_records_run_and_reason(store: Store):
    publish(store, [1], snapshots([(1, DAY)]))
    publish(store, [1], snapshots([(1, DAY)], 51.0), at=LATER)
    with store.engine.connect() as connection:
        (row,) = connection.execute(select(store.tables.snapshot_restatements)).mappings()
    assert (row["restated_at"], row["run_id"], row["reason"]) == (LATER, "a run", "by hand")


@pytest.mark.parametrize(
    "column",
    [
        "pace_score",
        "learning_pace",
        "quiz_average",
        "lessons_completed_count",
        "time_spent_minutes_today",
        "quizzes_completed_count",
        "exercises_submitted_count",
        "last_activity_date",
        "days_since_activity",
    ],
)
def test_change_in_any_column_is_restated(store: Store, column: str):
    publish(store, [1], snapshots([(1, DAY)]))
    changed = snapshots([(1, DAY)])
    new = {"learning_pace": "FAST", "last_activity_date": pd.Timestamp(YESTERDAY)}.get(column, 17)
    changed[column] = changed[column].astype(object)
    changed[column] = new
    changed[column] = changed[column].astype(snapshots([(1, DAY)])[column].dtype)
    publish(store, [1], changed, at=LATER)
    ((user_id, day, name, old, value),) = restatements(store)
    assert (user_id, day, name) == (1, DAY, column)
    assert old != value


def test_deleted_row_is_restated_and_inserted_row_is_not(store: Store):
    publish(store, [1, 2], snapshots([(1, DAY)]))
    publication = publish(store, [1, 2], snapshots([(2, DAY)]), at=LATER)
    ((user_id, _, name, old, new),) = restatements(store)
    assert (user_id, name, new) == (1, "*", None)
    assert '"pace_score": "50"' in str(old)
    assert publication.restated.tolist() == [1]


def test_rolled_back_change_is_not_restated(store: Store):
    publish(store, [1], snapshots([(1, DAY)], 10.0))
    with pytest.raises(KeyboardInterrupt):
        _publish_and_stop(store, snapshots([(1, DAY)], 20.0))
    assert restatements(store) == []


def test_repeated_failure_keeps_first_seen_at_and_counts_attempts(store: Store):
    table = store.tables.snapshot_failures
    times = [NOW + timedelta(days=n) for n in range(3)]
    for time, reason in zip(times, ["unexpected_error", "unexpected_error", "another_error"], strict=True):
        publish(store, [1, 2], snapshots([(2, DAY)]), failures([(1, DAY)], reason), at=time)
    with store.engine.connect() as connection:
        (row,) = connection.execute(select(table)).mappings()
    assert (row["first_seen_at"], row["last_seen_at"], row["attempts"]) == (times[0], times[2], 3)
    assert (row["reason"], row["computed_at"]) == ("another_error", times[2])


def test_failure_that_recurs_after_recovery_starts_anew(store: Store):
    table = store.tables.snapshot_failures
    publish(store, [1], snapshots([]), failures([(1, DAY)]))
    recovered = publish(store, [1], snapshots([(1, DAY)]), at=LATER)
    assert (recovered.more_published.tolist(), recovered.more_failed.tolist()) == ([1], [-1])
    publish(store, [1], snapshots([]), failures([(1, DAY)]), at=LATER)
    with store.engine.connect() as connection:
        (row,) = connection.execute(select(table)).mappings()
    assert (row["first_seen_at"], row["attempts"]) == (LATER, 1)


def run_of(number: int) -> RecordedRun:
    """Return a run that was the newest when it had begun to read."""
    return RecordedRun(NOW, f"run {number}", {"formula": 1}, number, newest=number)


def test_change_on_a_day_computed_alone_keeps_the_next_day_pending(store: Store):
    counts = [DayCount(YESTERDAY, 1, 0), DayCount(DAY, 1, 0)]
    tomorrow = {TOMORROW: state("1 started=3:9")}
    with store.engine.begin() as connection:
        record_days(connection, store.tables, run_of(1), counts, STATES)
        record_days(connection, store.tables, run_of(2), [DayCount(TOMORROW, 1, 0)], tomorrow)
        record_days(connection, store.tables, run_of(3), counts, STATES)
        unchanged = fingerprints({**STATES, **tomorrow})
        assert read_fingerprints(connection, store.tables, YESTERDAY, TOMORROW) == unchanged
        changed = {YESTERDAY: state("1 started=2:99", 1, 99)}
        record_days(connection, store.tables, run_of(4), counts[:1], changed)
        assert read_fingerprints(connection, store.tables, YESTERDAY, TOMORROW) == {
            **unchanged,
            **fingerprints(changed),
            DAY: None,
        }
        # Only the students of the second block are concerned.
        known = read_states(connection, store.tables, [DAY])[DAY]
        blocks = changed_blocks(known, STATES[DAY])
        assert blocks is not None
        assert blocks.tolist() == [False, True]


def fingerprints(states: dict[date, SourceState]) -> dict[date, str | None]:
    return {day: of_day.fingerprint for day, of_day in states.items()}


@pytest.mark.parametrize("is_first", [True, False], ids=["days without a row", "days computed before"])
def test_only_a_run_begun_later_clears_the_mark_of_a_late_change(store: Store, is_first: bool):
    """Run 2 on the later days has read before the change that run 3 on the earlier day finds, and records after it."""
    earlier, later = {YESTERDAY: state("1 started=3:7", 1, 3)}, {DAY: state("1 started=4:8")}
    with store.engine.begin() as connection:
        connection.execute(insert(store.tables.run_leases), [lease(number) for number in (2, 3)])
        record_days(connection, store.tables, run_of(1), *yesterday(2))
        if not is_first:
            record_days(connection, store.tables, run_of(1), [DayCount(DAY, 1, 0)], later)
        record_days(connection, store.tables, run_of(3), [DayCount(YESTERDAY, 1, 0)], earlier)
        record_days(connection, store.tables, run_of(2), [DayCount(DAY, 1, 0)], later)
        assert read_fingerprints(connection, store.tables, DAY, DAY) == {DAY: None}
        record_days(connection, store.tables, run_of(4), [DayCount(DAY, 1, 0)], later)
        assert read_fingerprints(connection, store.tables, DAY, DAY) == fingerprints(later)


def test_run_that_began_after_a_change_was_read_is_not_marked(store: Store):
    """As in a backfill of several runs at once, where each day is computed for the first time."""
    later = {DAY: state("1 started=4:8")}
    with store.engine.begin() as connection:
        connection.execute(insert(store.tables.run_leases), [lease(number) for number in (1, 2)])
        record_days(connection, store.tables, run_of(2), [DayCount(DAY, 1, 0)], later)
        record_days(connection, store.tables, run_of(1), *yesterday(2))
        assert read_fingerprints(connection, store.tables, DAY, DAY) == fingerprints(later)


def test_late_run_keeps_the_mark_of_a_change_that_was_recorded_meanwhile(store: Store):
    """It has computed the students of the first block; another run on an earlier day marks those of the second."""
    before, now = state("1 started=4:8", 1, 2), state("1 started=4:9", 3, 2)
    with store.engine.begin() as connection:
        record_days(connection, store.tables, run_of(1), *yesterday(2))
        record_days(connection, store.tables, run_of(1), [DayCount(DAY, 1, 0)], {DAY: before})
        changed = {DAY: np.array([True, False])}
        counts, _ = yesterday(2)
        record_days(connection, store.tables, run_of(2), counts, {YESTERDAY: state("1 started=2:99", 1, 99)})
        record_changes(connection, store.tables, run_of(3), DAY, {DAY: now}, changed)
        left = changed_blocks(read_states(connection, store.tables, [DAY])[DAY], now)
        assert left is not None
        assert left.tolist() == [False, True]
        record_changes(connection, store.tables, run_of(4), DAY, {DAY: now}, {DAY: left})
        assert read_fingerprints(connection, store.tables, DAY, DAY) == fingerprints({DAY: now})


def test_changes_are_kept_only_while_a_run_may_have_missed_them(store: Store):
    changes = store.tables.late_changes
    with store.engine.begin() as connection:
        connection.execute(insert(store.tables.run_leases), [lease(number) for number in (2, 3)])
        record_days(connection, store.tables, run_of(3), *yesterday(3))
        assert connection.execute(select(changes.c.first_day, changes.c.run_number)).all() == [(DAY, 3)]
        connection.execute(delete(store.tables.run_leases))
        record_days(connection, store.tables, run_of(4), *yesterday(5))
        assert connection.execute(select(changes)).all() == []


def yesterday(rows: int) -> tuple[list[DayCount], dict[date, SourceState]]:
    return [DayCount(YESTERDAY, 1, 0)], {YESTERDAY: state(f"1 started={rows}:7")}


def lease(number: int) -> dict[str, object]:
    return {
        "number": number,
        "token": f"token {number}",
        "space": "performance_snapshots",
        "first": 1,
        "last": 2,
        "owner": "a run",
    }

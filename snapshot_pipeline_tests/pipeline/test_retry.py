"""A retry computes only failed student-days: those that no longer raise are published; counts are exact."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, literal_column, select

from snapshot_pipeline.pipeline.batches import Progress
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.retry import FailedRange, contiguous_ranges, failed_ranges, retry_failed
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.store.days import DayCount, day_counts
from snapshot_pipeline.store.failures import failing_students
from snapshot_pipeline.store.tables import ENGAGEMENT_COLUMNS
from snapshot_pipeline_tests.pipeline.comparison import compare_days
from snapshot_pipeline_tests.pipeline.installations import COMPUTED, SUNDAY, execute, published, raising_for

DAY = timedelta(days=1)
FIRST = COMPUTED[0]


def test_consecutive_days_with_the_same_students_are_one_range():
    a, b = (1, 5), (5,)
    failing = {FIRST: a, FIRST + DAY: a, FIRST + 2 * DAY: b, FIRST + 4 * DAY: b, FIRST + 5 * DAY: b}
    assert failed_ranges(failing) == [
        FailedRange(FIRST, FIRST + DAY, a),
        FailedRange(FIRST + 2 * DAY, FIRST + 2 * DAY, b),
        FailedRange(FIRST + 4 * DAY, FIRST + 5 * DAY, b),
    ]
    assert contiguous_ranges(list(failing)) == [(FIRST, FIRST + 2 * DAY), (FIRST + 4 * DAY, FIRST + 5 * DAY)]
    assert failed_ranges({}) == contiguous_ranges([]) == []


def counts(installation: Installation) -> dict[date, DayCount]:
    with installation.engine.connect() as connection:
        return {count.day: count for count in day_counts(connection, installation.store, FIRST, SUNDAY)}


def failing(installation: Installation) -> dict[date, tuple[int, ...]]:
    with installation.engine.connect() as connection:
        return failing_students(connection, installation.store, None, None)


def row_versions(installation: Installation) -> dict[tuple[int, date], tuple[str, str]]:
    """Return `xmin` and `ctid` of each snapshot, which change when it is written."""
    table = installation.store.performance_snapshots
    columns = (table.c.user_id, table.c.snapshot_date, literal_column("xmin::text"), literal_column("ctid::text"))
    with installation.engine.connect() as connection:
        return {(user_id, day): (xmin, ctid) for user_id, day, xmin, ctid in connection.execute(select(*columns))}


def figures(installation: Installation) -> dict[tuple[int, date], tuple[Any, ...]]:
    """Return the figures of each snapshot that depend on the student alone."""
    table = installation.store.performance_snapshots
    columns = [column for column in table.c if column.name not in (*ENGAGEMENT_COLUMNS, "computed_at")]
    with installation.engine.connect() as connection:
        return {(row.user_id, row.snapshot_date): tuple(row) for row in connection.execute(select(*columns))}


def test_retry_publishes_fixed_students_and_touches_no_others(failed: Installation):
    before, failed_before, figures_before = counts(failed), failing(failed), figures(failed)
    still_raising = failed_before[SUNDAY][::2]
    with raising_for(still_raising):
        run = retry_failed(failed, None, None, "retry")
    after, failed_after = counts(failed), failing(failed)
    assert [day.day for day in run.days] == sorted(failed_before)
    assert failed_after == dict.fromkeys(COMPUTED, still_raising)
    for day in run.days:
        old, new = before[day.day], after[day.day]
        assert new.failed == len(failed_after.get(day.day, ()))
        assert new.published == old.published + len(failed_before[day.day]) - new.failed
        assert day.retried == len(failed_before[day.day])
        assert day.report is not None
        assert day.report.count == new
        assert set(day.report.failures) == {"unexpected_error"}
    changed = {key for key, row in figures(failed).items() if figures_before.get(key) != row}
    assert changed
    assert changed <= {(user_id, day) for day, user_ids in failed_before.items() for user_id in user_ids}
    retry_failed(failed, None, None, "again")
    assert failing(failed) == {}
    assert compare_days(failed, COMPUTED).differences == []


def test_retry_does_not_hide_late_data_of_other_students(failed: Installation):
    days = failed.store.snapshot_days
    query = select(days.c.snapshot_date, days.c.source_fingerprint, days.c.run_id, days.c.computed_at)
    with failed.engine.connect() as connection:
        before = connection.execute(query).all()
    retry_failed(failed, None, None, "retry")
    with failed.engine.connect() as connection:
        assert connection.execute(query).all() == before


def test_repeated_failure_counts_attempts_and_keeps_first_seen_at(failed: Installation):
    table = failed.store.snapshot_failures
    columns = (table.c.user_id, table.c.snapshot_date, table.c.first_seen_at, table.c.attempts)
    with failed.engine.connect() as connection:
        before = connection.execute(select(*columns).order_by(*columns[:2])).all()
    with raising_for(failing(failed)[SUNDAY]):
        retry_failed(failed, SUNDAY, SUNDAY, "retry")
    with failed.engine.connect() as connection:
        after = connection.execute(select(*columns).order_by(*columns[:2])).all()
    assert after == [with_one_more_attempt(row) if row[1] == SUNDAY else row for row in before]


def with_one_more_attempt(row: Any) -> tuple[Any, ...]:
    return (*row[:3], row[3] + 1)


def test_only_the_requested_days_are_computed(failed: Installation):
    before = failing(failed)
    run = retry_failed(failed, SUNDAY, None, "retry")
    after = failing(failed)
    assert [day.day for day in run.days] == [SUNDAY]
    assert after == {day: user_ids for day, user_ids in before.items() if day < SUNDAY}


def test_retry_deletes_failures_of_students_who_left(failed: Installation):
    before = failing(failed)
    leaver, stays = before[SUNDAY][0], before[SUNDAY][1]
    execute(failed.engine.url, f"UPDATE users SET is_active = false WHERE id = {leaver}")  # noqa: S608
    with raising_for(before[SUNDAY]):
        run = retry_failed(failed, None, None, "retry")
    after = failing(failed)
    assert all(leaver not in user_ids for user_ids in after.values())
    assert stays in after[SUNDAY]
    assert sum(day.deleted_failures for day in run.days) == sum(leaver in user_ids for user_ids in before.values()) > 0
    assert all(count.failed == len(after.get(day, ())) for day, count in counts(failed).items())


def test_full_run_deletes_failures_of_students_who_left(failed: Installation):
    leaver, *others = failing(failed)[SUNDAY]
    execute(failed.engine.url, f"UPDATE users SET is_active = false WHERE id = {leaver}")  # noqa: S608
    with raising_for(others):
        run_days(failed, SUNDAY, SUNDAY, "again")
    assert failing(failed)[SUNDAY] == tuple(others)
    assert counts(failed)[SUNDAY].failed == len(others)


def test_counts_are_right_when_a_run_is_interrupted_before_it_records_its_days(computed: Installation):
    before = counts(computed)
    raising = published(computed)["performance_snapshots"]["user_id"].unique().to_pylist()[:6]

    def interrupt(progress: Progress) -> None:
        if progress.done == progress.total:
            raise KeyboardInterrupt

    with raising_for(raising), pytest.raises(KeyboardInterrupt):
        run_days(computed, FIRST, SUNDAY, "interrupted", interrupt)
    interrupted, failing_now = counts(computed), failing(computed)
    assert failing_now[SUNDAY] == tuple(raising)
    for day, count in interrupted.items():
        assert count.failed == len(failing_now.get(day, ()))
        assert count.students == before[day].students
    leaver, *others = raising
    execute(computed.engine.url, f"UPDATE users SET is_active = false WHERE id = {leaver}")  # noqa: S608
    with raising_for(others[:2]):
        retry_failed(computed, None, None, "retry")
    assert counts(computed)[SUNDAY] == replace(before[SUNDAY], published=before[SUNDAY].published - 3, failed=2)
    execute(computed.engine.url, f"UPDATE users SET is_active = true WHERE id = {leaver}")  # noqa: S608
    run_days(computed, FIRST, SUNDAY, "whole")
    assert counts(computed) == before


def test_retry_without_failures_does_nothing(failed: Installation):
    assert retry_failed(failed, FIRST - 30 * DAY, FIRST - 20 * DAY, "retry").days == []


def test_retry_on_an_unrecorded_day_does_not_record_it(failed: Installation):
    """An interrupted run left a failure but no row in `snapshot_days`."""
    day, table = FIRST - DAY, failed.store.snapshot_failures
    student = published(failed)["performance_snapshots"]["user_id"][0].as_py()
    with failed.engine.begin() as connection:
        now = func.now()
        row = {"user_id": student, "snapshot_date": day, "reason": "unexpected_error", "detail": "x", "attempts": 1}
        times = {"computed_at": now, "first_seen_at": now, "last_seen_at": now}
        connection.execute(insert(table).values(**row, **times))
    (retried,) = retry_failed(failed, day, day, "retry").days
    assert (retried.report, retried.retried) == (None, 1)
    with failed.engine.connect() as connection:
        assert day_counts(connection, failed.store, day, day) == []


@pytest.mark.parametrize("batch_rows", [800, 1_500_000])
def test_parallel_batches_and_one_batch_give_the_same_counts(failed: Installation, batch_rows: int):
    small = replace(failed, settings=failed.settings.model_copy(update={"batch_rows": batch_rows, "workers": 4}))
    still_raising = failing(failed)[SUNDAY][::2]
    with raising_for(still_raising):
        retry_failed(small, None, None, "retry")
    assert failing(failed) == dict.fromkeys(COMPUTED, still_raising)
    assert {count.failed for count in counts(failed).values()} == {len(still_raising)}
    retry_failed(small, None, None, "again")
    assert compare_days(failed, [SUNDAY]).differences == []

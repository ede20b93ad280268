"""Recomputing a stored day reports altered rows, and distinguishes them from rows that late data will change."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, func, select, update

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.recompute import StoredDifference, random_computed_day, recompute_day
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.store.locks import exclusive_days
from snapshot_pipeline_tests.pipeline.installations import (
    COMPUTED,
    SUNDAY,
    execute,
    installation_on,
    published,
    raising_for,
)
from snapshot_pipeline_tests.pipeline.test_late_data import CHANGED, change_a_past_day


def a_student(installation: Installation) -> int:
    table = installation.store.performance_snapshots
    failed = select(installation.store.snapshot_failures.c.user_id)
    query = select(func.min(table.c.user_id)).where(table.c.snapshot_date == SUNDAY, table.c.user_id.not_in(failed))
    with installation.engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


def test_recompute_matches_every_computed_day(computed: Installation):
    before = published(computed)
    for day in (COMPUTED[0], SUNDAY):
        result = recompute_day(computed, day, "check")
        assert (result.differs, result.changed_days) == (False, [])
        assert result.students > 250
    assert published(computed) == before


def test_altered_figure_is_reported_with_both_values(computed: Installation):
    table, student = computed.store.performance_snapshots, a_student(computed)
    with computed.engine.begin() as connection:
        where = (table.c.user_id == student, table.c.snapshot_date == SUNDAY)
        stored = connection.execute(select(table.c.lessons_completed_count).where(*where)).scalar_one()
        connection.execute(update(table).where(*where).values(lessons_completed_count=77))
    result = recompute_day(computed, SUNDAY, "check")
    assert result.columns == {"lessons_completed_count": 1}
    assert result.examples == [StoredDifference(student, "lessons_completed_count", "77", str(stored))]
    assert result.changed_days == []


def test_removed_and_added_rows_are_reported(failed: Installation):
    table, student = failed.store.performance_snapshots, a_student(failed)
    failures = failed.store.snapshot_failures
    with failed.engine.begin() as connection:
        connection.execute(delete(table).where(table.c.user_id == student, table.c.snapshot_date == SUNDAY))
        removed = connection.execute(
            delete(failures).where(failures.c.snapshot_date == SUNDAY).returning(failures.c.user_id)
        ).all()
    with raising_for([user_id for (user_id,) in removed]):
        result = recompute_day(failed, SUNDAY, "check")
    assert len(removed) > 0
    assert result.columns == {"failure": len(removed)}
    assert (result.unpublished, result.rows_missing) == (1, 1)


def test_late_data_is_distinguished_from_tampering(computed: Installation):
    change_a_past_day(computed)
    result = recompute_day(computed, SUNDAY, "check")
    assert result.columns
    assert CHANGED in result.changed_days
    run_days(computed, result.changed_days[0], SUNDAY, "late")
    assert not recompute_day(computed, SUNDAY, "check").differs


def test_newly_active_student_without_a_row_is_no_difference(computed: Installation):
    url, student = computed.engine.url, a_student(computed)
    with computed.engine.begin() as connection:
        table = computed.store.performance_snapshots
        connection.execute(delete(table).where(table.c.user_id == student))
    execute(url, f"UPDATE users SET is_active = false WHERE id = {student}")  # noqa: S608
    run_days(computed, SUNDAY, SUNDAY, "without")
    execute(url, f"UPDATE users SET is_active = true WHERE id = {student}")  # noqa: S608
    result = recompute_day(computed, SUNDAY, "check")
    assert (result.columns, result.unpublished, result.rows_missing) == ({}, 1, 0)


def test_seed_determines_the_chosen_day(computed: Installation):
    days = {seed: random_computed_day(computed, seed) for seed in map(str, range(40))}
    assert all(random_computed_day(computed, seed) == day for seed, day in days.items())
    assert set(days.values()) == set(COMPUTED)


def test_day_locked_by_a_run_is_not_compared(computed: Installation):
    with (
        exclusive_days(computed.engine, "public", SUNDAY, SUNDAY, "run one", 5),
        installation_on(computed.engine.url, run_lock_seconds=0.2) as installation,
        pytest.raises(SnapshotPipelineError, match="run one"),
    ):
        recompute_day(installation, SUNDAY, "check")

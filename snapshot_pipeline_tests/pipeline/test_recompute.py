"""A day computed again by lot: what was tampered with is found, and what only waits for its next run is told apart."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, func, select, update

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.recompute import StoredDifference, random_computed_day, recompute_day
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.store.locks import exclusive_days
from snapshot_pipeline_tests.pipeline.installations import COMPUTED, SUNDAY, execute, installation_on, published
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
        found = recompute_day(computed, day, "check")
        assert (found.differs, found.changed_days) == (False, [])
        assert found.students > 250
    assert published(computed) == before


def test_altered_figure_is_reported_with_both_values(computed: Installation):
    table, student = computed.store.performance_snapshots, a_student(computed)
    with computed.engine.begin() as connection:
        where = (table.c.user_id == student, table.c.snapshot_date == SUNDAY)
        stored = connection.execute(select(table.c.lessons_completed_count).where(*where)).scalar_one()
        connection.execute(update(table).where(*where).values(lessons_completed_count=77))
    found = recompute_day(computed, SUNDAY, "check")
    assert found.columns == {"lessons_completed_count": 1}
    assert found.examples == [StoredDifference(student, "lessons_completed_count", "77", str(stored))]
    assert found.changed_days == []


def test_removed_and_added_rows_are_reported(computed: Installation):
    table, student = computed.store.performance_snapshots, a_student(computed)
    failures = computed.store.snapshot_failures
    with computed.engine.begin() as connection:
        connection.execute(delete(table).where(table.c.user_id == student, table.c.snapshot_date == SUNDAY))
        removed = connection.execute(
            delete(failures).where(failures.c.snapshot_date == SUNDAY).returning(failures.c.user_id)
        ).all()
    found = recompute_day(computed, SUNDAY, "check")
    assert len(removed) > 0
    assert found.columns == {"failure": len(removed)}
    assert (found.unpublished, found.rows_missing) == (1, 1)


def test_late_data_is_distinguished_from_tampering(computed: Installation):
    change_a_past_day(computed)
    found = recompute_day(computed, SUNDAY, "check")
    assert found.columns
    assert CHANGED in found.changed_days
    run_days(computed, found.changed_days[0], SUNDAY, "late")
    assert not recompute_day(computed, SUNDAY, "check").differs


def test_newly_active_student_without_a_row_is_no_difference(computed: Installation):
    url, student = computed.engine.url, a_student(computed)
    with computed.engine.begin() as connection:
        table = computed.store.performance_snapshots
        connection.execute(delete(table).where(table.c.user_id == student))
    execute(url, f"UPDATE users SET is_active = false WHERE id = {student}")  # noqa: S608
    run_days(computed, SUNDAY, SUNDAY, "without")
    execute(url, f"UPDATE users SET is_active = true WHERE id = {student}")  # noqa: S608
    found = recompute_day(computed, SUNDAY, "check")
    assert (found.columns, found.unpublished, found.rows_missing) == ({}, 1, 0)


def test_seed_determines_the_chosen_day(computed: Installation):
    drawn = {seed: random_computed_day(computed, seed) for seed in map(str, range(40))}
    assert all(random_computed_day(computed, seed) == day for seed, day in drawn.items())
    assert set(drawn.values()) == set(COMPUTED)


def test_day_locked_by_a_run_is_not_compared(computed: Installation):
    with (
        exclusive_days(computed.engine, "public", SUNDAY, SUNDAY, "run one", 5),
        installation_on(computed.engine.url, run_lock_seconds=0.2) as installation,
        pytest.raises(SnapshotPipelineError, match="run one"),
    ):
        recompute_day(installation, SUNDAY, "check")

"""A run over days that are there already must not be planned as if they were not: it would take hours for minutes."""

from __future__ import annotations

from datetime import date

from sqlalchemy import text

from snapshot_pipeline.store.months import ensure_partitions
from snapshot_pipeline.store.statistics import has_snapshots, refresh_statistics
from snapshot_pipeline_tests.store.conftest import Store
from snapshot_pipeline_tests.store.months import put_snapshots

JANUARY, FEBRUARY = date(2026, 1, 15), date(2026, 2, 15)


def rows_known(store: Store, name: str) -> int:
    with store.engine.connect() as connection:
        return int(connection.execute(text(f"SELECT reltuples FROM pg_class WHERE relname = '{name}'")).scalar_one())  # noqa: S608


def test_days_without_a_snapshot_are_told_from_days_with_one(store: Store):
    ensure_partitions(store.engine, store.tables, JANUARY, FEBRUARY)
    assert not has_snapshots(store.engine, store.tables, JANUARY, FEBRUARY)
    put_snapshots(store.engine, store.tables, JANUARY)
    assert has_snapshots(store.engine, store.tables, JANUARY, FEBRUARY)
    assert not has_snapshots(store.engine, store.tables, date(2026, 1, 16), FEBRUARY)


def test_only_the_months_asked_for_are_looked_at_and_those_that_are_known_are_not_looked_at_again(store: Store):
    ensure_partitions(store.engine, store.tables, JANUARY, FEBRUARY)
    put_snapshots(store.engine, store.tables, JANUARY)
    put_snapshots(store.engine, store.tables, FEBRUARY)
    assert rows_known(store, "performance_snapshots_2026_01") == -1
    assert refresh_statistics(store.engine, store.tables, JANUARY, JANUARY) == ["performance_snapshots_2026_01"]
    assert rows_known(store, "performance_snapshots_2026_01") == 2
    assert rows_known(store, "performance_snapshots_2026_02") == -1
    assert refresh_statistics(store.engine, store.tables, JANUARY, JANUARY) == []

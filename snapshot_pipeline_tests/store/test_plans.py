"""Queries read only the months they ask for, and by an index, so three years of snapshots are as fast as one month."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import (
    URL,
    ColumnElement,
    Engine,
    Executable,
    ExecutionContext,
    create_engine,
    event,
    func,
    select,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.pool import NullPool

from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.postgres.urls import adbc_uri
from snapshot_pipeline.store.changes import StudentDayIndex
from snapshot_pipeline.store.migrate import migrate
from snapshot_pipeline.store.months import ensure_partitions
from snapshot_pipeline.store.retention import RetentionLimits, delete_expired_rows
from snapshot_pipeline.store.snapshot_queries import mean_pace_by_day
from snapshot_pipeline.store.snapshots import PublicationScope, read_published, replace_snapshots
from snapshot_pipeline.store.tables import StoreTables
from snapshot_pipeline_tests.pipeline.installations import new_database
from snapshot_pipeline_tests.store.months import fill
from snapshot_pipeline_tests.waiting import wait_for

STUDENTS = 300
FIRST, LAST = date(2024, 1, 1), date(2026, 12, 31)
DAY = date(2025, 6, 15)
JUNE, JULY = "performance_snapshots_2025_06", "performance_snapshots_2025_07"
TABLES = StoreTables.of("public")
SNAPSHOTS = TABLES.performance_snapshots


@pytest.fixture(scope="module")
def years(server_url: URL) -> Iterator[Engine]:
    """A database with three years (36 months) of snapshots of 300 students."""
    with new_database(server_url) as url:
        engine = create_engine(url, poolclass=NullPool)
        migrate(engine, "public")
        ensure_partitions(engine, TABLES, FIRST, LAST)
        fill(engine, STUDENTS, FIRST, LAST)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
        yield engine


def scans(engine: Engine, query: Executable) -> Counter[tuple[str, str]]:
    """Return how often the plan of a query scans each table, by table and kind of scan."""
    compiled = query.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})  # type: ignore[attr-defined]
    with engine.connect() as connection:
        plan = connection.execute(text(f"EXPLAIN (FORMAT JSON) {compiled}")).scalar_one()
    return Counter(_scans(plan[0]["Plan"]))


def _scans(node: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "Relation Name" in node and node["Node Type"].endswith("Scan"):
        yield node["Relation Name"], node["Node Type"]
    for child in node.get("Plans", []):
        yield from _scans(child)


def tables_scanned_by_index(plan: Counter[tuple[str, str]]) -> set[str]:
    """Assert that every table is scanned by an index; return the tables."""
    by_index = {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}
    assert {kind for _, kind in plan} <= by_index, plan
    return {name for name, _ in plan}


ONE_STUDENT = SNAPSHOTS.c.user_id == 7


@pytest.mark.parametrize(
    ("condition", "months"),
    [
        (ONE_STUDENT & SNAPSHOTS.c.snapshot_date.between(DAY, DAY + timedelta(days=20)), {JUNE, JULY}),
        (SNAPSHOTS.c.snapshot_date == DAY, {JUNE}),
    ],
    ids=["days of a student", "all students of a day"],
)
def test_days_read_only_their_months_by_index(years: Engine, condition: ColumnElement[bool], months: set[str]):
    assert tables_scanned_by_index(scans(years, select(SNAPSHOTS).where(condition))) == months


def test_all_days_of_a_student_read_each_month_once_by_index(years: Engine):
    plan = scans(years, select(SNAPSHOTS).where(ONE_STUDENT))
    assert len(tables_scanned_by_index(plan)) == len(plan) == 36


def test_newest_day_is_found_by_index(years: Engine):
    tables_scanned_by_index(scans(years, select(func.max(SNAPSHOTS.c.snapshot_date))))


def scanned_since(engine: Engine, since: Counter[str]) -> set[str]:
    """Return the months that any session has scanned since the counts `since`."""
    wait_for(lambda: is_only_session(engine) or None, "the other sessions have ended, and so sent their statistics", 10)
    return {name for name, count in scan_counts(engine).items() if count > since[name]}


def is_only_session(engine: Engine) -> bool:
    others = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND backend_type IN ('client backend', 'parallel worker')"
    )
    with engine.connect() as connection:
        return connection.execute(others).scalar_one() == 0


def scan_counts(engine: Engine) -> Counter[str]:
    query = text(
        "SELECT relname, coalesce(seq_scan, 0) + coalesce(idx_scan, 0) FROM pg_stat_user_tables "
        "WHERE relname LIKE 'performance_snapshots%'"
    )
    with engine.connect() as connection:
        return Counter({name: count for name, count in connection.execute(query)})


def test_comparison_reads_only_its_months(years: Engine):
    before = scan_counts(years)
    with bulk.transaction(adbc_uri(years.url)) as connection:
        for _ in range(10):  # the server switches to a generic plan after five executions
            read_published(connection, TABLES, StudentDayIndex(np.arange(1, 100), DAY, DAY))
    with years.connect() as session:
        assert mean_pace_by_day(session, TABLES, DAY, DAY) == {DAY: 42.5}
    assert scanned_since(years, before) == {JUNE}


def test_publishing_touches_only_its_months(years: Engine):
    """Publishing reads the stored rows, deletes those that differ and inserts the new ones."""
    figures = {
        "pace_score": 50.0,
        "learning_pace": "MEDIUM",
        "quiz_average": np.nan,
        "lessons_completed_count": np.int32(1),
        "time_spent_minutes_today": 30,
        "quizzes_completed_count": np.int32(0),
        "exercises_submitted_count": np.int32(1),
        "days_since_activity": np.int32(0),
    }
    user_ids = np.arange(1, STUDENTS + 1, dtype=np.int64)
    days = np.full(STUDENTS, np.datetime64(DAY, "s"))
    published = pd.DataFrame({"user_id": user_ids, "snapshot_date": days, **figures, "last_activity_date": days})
    failures = pd.DataFrame({"user_id": user_ids[:0], "snapshot_date": days[:0], "reason": [], "detail": []})
    computed = PublicationScope(user_ids, DAY, DAY, datetime.now(timezone.utc), "a run", "by hand")
    before = scan_counts(years)
    with bulk.transaction(adbc_uri(years.url)) as connection:
        publication = replace_snapshots(connection, TABLES, computed, published, failures.astype({"reason": object}))
    assert publication.restated.tolist() == [2 * STUDENTS]  # the pace and the quiz average
    assert scanned_since(years, before) == {JUNE}


def test_deleting_expired_rows_reads_only_the_partly_expired_month(years: Engine):
    """Each statement is explained just before it is executed."""
    limit, plans = date(2024, 1, 11), []

    def explain(_c: Any, cursor: Any, statement: str, parameters: Any, _e: ExecutionContext, _m: bool) -> None:
        if re.match(r"DELETE FROM \S*performance_snapshots ", statement):
            with years.connect() as connection:
                plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
            plans.append(plan[0]["Plan"])

    event.listen(years, "before_cursor_execute", explain)
    long_ago = datetime(2000, 1, 1, tzinfo=timezone.utc)
    deleted = delete_expired_rows(years, TABLES, RetentionLimits(long_ago, long_ago, limit))
    assert deleted["performance_snapshots"] == 10 * STUDENTS
    assert plans
    for plan in plans:
        assert {name for name, _ in _scans(plan)} == {"performance_snapshots_2024_01"}

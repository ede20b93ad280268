"""Test databases, installations on them, and the published rows as Arrow tables."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import date, timedelta
from functools import lru_cache
from itertools import zip_longest
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from sqlalchemy import URL, Engine, Select, Table, Text, cast, create_engine, select, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.metrics.days import LocalDays
from snapshot_pipeline.metrics.events import StudentHistory
from snapshot_pipeline.metrics.snapshot import SnapshotBatch, compute_snapshots
from snapshot_pipeline.pipeline.installation import Installation, open_installation
from snapshot_pipeline.platform.sample import SampleOptions
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.settings import load_settings

ZONE = ZoneInfo("Europe/Budapest")

MONDAY = date(2025, 10, 27)
"""The last week of the sample; the clocks are set back on the day before it starts."""

SUNDAY = date(2025, 11, 2)
"""The last day of the sample."""

COMPUTED = [date(2025, 10, 26) + timedelta(days=n) for n in range(8)]
"""The last eight days of the sample, starting with the day of 25 hours; computed in `computed_template`."""

SAMPLE = SampleOptions(students=300, days=60, seed=4, until=date(2025, 11, 3), bad_rate=0.05, zone=ZONE)

# Times of computation, counts of attempts, fingerprints and generated ids differ from run to run; nothing else may.
_NOT_COMPARED = {"computed_at", "run_id", "run_number", "id", "created_at", "source_fingerprint", "source_digests"} | {
    "first_seen_at",
    "last_seen_at",
    "attempts",
}


@contextmanager
def new_database(server_url: URL, template: URL | None = None) -> Iterator[URL]:
    """Create a database, empty or a copy of `template`, which must have no connections; drop it at the end."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    like = f' TEMPLATE "{template.database}"' if template else ""
    how = " STRATEGY FILE_COPY" if _keeps_files_in_memory(server_url) else ""
    server = _administration(server_url)
    with server.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"{like}{how}'))
    try:
        yield server_url.set(database=name)
    finally:
        with server.connect() as connection:
            connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))


@lru_cache
def _administration(server_url: URL) -> Engine:
    """The session in which a process creates and drops databases."""
    return create_engine(server_url, isolation_level="AUTOCOMMIT", pool_pre_ping=True)


@lru_cache
def _keeps_files_in_memory(server_url: URL) -> bool:
    """Whether the files of a database are copied faster than their pages are written to the log, as is the default."""
    in_memory = "SELECT current_setting('data_directory') LIKE '/dev/shm/%'"
    knows_strategies = "current_setting('server_version_num')::int >= 150000"
    with _administration(server_url).connect() as connection:
        return bool(connection.scalar(text(f"{in_memory} AND {knows_strategies}")))


def installation_on(url: URL, **settings: Any) -> AbstractContextManager[Installation]:
    """Open an installation on a database, with the time zone Budapest unless `settings` override it."""
    all_settings = {"timezone": ZONE.key, "start_date": date(2014, 1, 1), **settings}
    return open_installation(load_settings(database_url=url.render_as_string(hide_password=False), **all_settings))


def execute(url: URL, *statements: str) -> None:
    """Run statements in one transaction."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


@contextmanager
def raising_for(user_ids: Collection[int]) -> Iterator[None]:
    """Within the block, the computation of each of these students raises; in this process only."""

    def compute(history: StudentHistory, days: LocalDays) -> SnapshotBatch:
        raised = set(user_ids) & set(history.students["user_id"].tolist())
        if raised:
            raise ValueError(f"cannot compute {min(raised)}")
        return compute_snapshots(history, days)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("snapshot_pipeline.pipeline.snapshot_work.compute_snapshots", compute)
        yield


def students_started_before(url: URL, day: date, count: int) -> list[int]:
    """Return the ids of a few active students with a lesson started before a day, ascending."""
    query = text(
        "SELECT DISTINCT users.id FROM users JOIN user_lesson_progress ON user_id = users.id "
        "WHERE is_active AND upper(role) = 'STUDENT' AND started_at BETWEEN '2000-01-01' AND :day ORDER BY 1 LIMIT :n"
    )
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        return list(connection.execute(query, {"day": day, "n": count}).scalars())


Tables = dict[str, pa.Table]


def rows_of(installation: Installation, *tables: Table) -> Tables:
    """Return all rows of some of our tables, ordered by key, without the columns that differ from run to run."""
    with bulk.transaction(installation.uri) as connection:
        return {table.name: bulk.fetch(connection, _all_rows(table)) for table in tables}


def _all_rows(table: Table) -> Select[Any]:
    compared = [cast(column, Text).label(column.name) if column.name == "metadata" else column for column in table.c]
    key = ("user_id", "snapshot_date", "week_start", "recommendation_type")
    order = [table.columns[name] for name in key if name in table.columns]
    return select(*(column for column in compared if column.name not in _NOT_COMPARED)).order_by(*order)


def published(installation: Installation) -> Tables:
    """Return all snapshots, failures and recorded days, by table."""
    store = installation.store
    return rows_of(installation, store.performance_snapshots, store.snapshot_failures, store.snapshot_days)


def recommended(installation: Installation) -> Tables:
    """Return all recommendations."""
    return rows_of(installation, installation.store.adaptive_recommendations)


def differences(left: Tables, right: Tables) -> list[tuple[Any, Any]]:
    """Return the first few pairs of rows that differ in any digit; [] if all are equal."""
    pairs: list[tuple[Any, Any]] = []
    for name in left.keys() | right.keys():
        if not left[name].equals(right[name]):
            rows = zip_longest(left[name].to_pylist(), right[name].to_pylist())
            pairs += [pair for pair in rows if pair[0] != pair[1]][:5]
    return pairs
